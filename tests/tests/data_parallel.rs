//! Training on several devices of one machine is training on one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use forgeling::data::ImageBatch;
use forgeling::device::DeviceList;
use forgeling::nn::Network;
use forgeling::parallel::{Contribution, DataParallel, ParallelConfig, ParallelEvent, Shares};
use forgeling::train::{Adam, AdamConfig, Optimizer, Sgd, SgdConfig};
use forgeling::{Device, DeviceChoice, Error, ErrorKind, Readback, Result};
use forgeling_tests::networks::{neurons, norm, with_change};
use forgeling_tests::parallel_work::{
    EXAMPLES, Prototypes, RATE, STEPS, classify, config, encoder, episodes, examples, mlp, values,
};
use forgeling_tests::{assert_close, gpus};

/// How far parameters may be from those of one device: sums in another order, 50 times.
const TOLERANCE: f32 = 1e-5;

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn cpus(count: usize) -> Vec<Device> {
    vec![cpu(); count]
}

fn sgd() -> Sgd {
    Sgd::new(SgdConfig {
        momentum: 0.5,
        ..Default::default()
    })
    .unwrap()
}

fn adam() -> Adam {
    Adam::new(AdamConfig::default()).unwrap()
}

/// The same steps on one device, without anything of several ones.
fn alone(mut optimizer: impl Optimizer, device: &Device, rate: f64) -> (Vec<f32>, Vec<f64>) {
    let mut mlp = mlp(0, device).unwrap();
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let own = classify(&mlp, examples(step, 0..EXAMPLES), device).unwrap();
        let [loss] = pollster::block_on(Readback::new().with(own.loss).run()).unwrap();
        losses.push(f64::from(loss[0]));
        mlp = optimizer.step(rate, mlp, own.gradients);
    }
    (values(&mlp), losses)
}

fn together(
    optimizer: impl Optimizer + 'static,
    devices: &[Device],
    config: ParallelConfig,
    rate: f64,
) -> (Vec<f32>, Vec<f64>, Vec<ParallelEvent>) {
    let model = mlp(0, &devices[0]).unwrap();
    let mut training = DataParallel::new(&model, &optimizer, devices, config).unwrap();
    let work = Arc::new(classify);
    let (mut losses, mut events) = (Vec::new(), Vec::new());
    for step in 0..STEPS {
        let batch = examples(step, 0..EXAMPLES);
        let done = training.step(&work, &batch, rate).unwrap();
        assert_eq!(done.shares.iter().sum::<usize>(), EXAMPLES);
        assert!(done.finite && done.examples == EXAMPLES && done.metrics.len() == 1);
        losses.push(done.loss);
        events.extend(done.events);
    }
    (values(&training.model().unwrap()), losses, events)
}

/// Lists of devices that are tested, and one to compare with.
fn lists() -> Vec<(String, Vec<Device>, Device)> {
    let cpu = cpu();
    let mut lists = Vec::new();
    for count in [1, 2, 4] {
        lists.push((format!("{count} CPU replicas"), cpus(count), cpu.clone()));
    }
    for gpu in gpus() {
        let another = || pollster::block_on(gpu.open_another()).unwrap();
        let name = gpu.info().name.clone();
        let four = vec![gpu.clone(), another(), another(), another()];
        lists.push((format!("two of {name}"), four[..2].to_vec(), gpu.clone()));
        lists.push((format!("four of {name}"), four, gpu.clone()));
        let mixed = vec![cpu.clone(), gpu.clone()];
        lists.push((format!("CPU and {name}"), mixed, cpu.clone()));
    }
    lists
}

#[test]
fn parameters_are_those_of_one_device() {
    for (name, devices, single) in lists() {
        let (expected, losses) = alone(sgd(), &single, RATE);
        let (got, got_losses, events) = together(sgd(), &devices, config(), RATE);
        assert_close(&name, &got, &expected, TOLERANCE);
        for (got, expected) in got_losses.iter().zip(&losses) {
            assert!((got - expected).abs() < 1e-4, "{name}: {got}, {expected}");
        }
        assert!(losses[STEPS - 1] < 0.7 * losses[0], "{losses:?}");
        eprintln!("{name}: {events:?}");
    }
}

#[test]
fn runs_on_cpu_replicas_are_the_same_bit_for_bit() {
    let run = || together(adam(), &cpus(4), config(), 0.01);
    let first = run();
    // Replicas were compared exactly every ten steps, and nothing had to be said.
    assert_eq!(first.2, []);
    for _ in 0..3 {
        assert_eq!(run(), first);
    }
}

#[test]
fn devices_of_other_kinds_keep_together() {
    let mixed: Vec<_> = lists()
        .into_iter()
        .filter(|l| l.0.contains("and"))
        .collect();
    for (name, devices, _) in mixed {
        let shares = Some(Shares::BySpeed { every: 5 });
        let config = ParallelConfig { shares, ..config() };
        let (_, losses, events) = together(adam(), &devices, config, 0.01);
        assert!(losses[STEPS - 1] < 0.7 * losses[0], "{name}: {losses:?}");
        let planned = |event: &&ParallelEvent| matches!(event, ParallelEvent::Planned { .. });
        assert!(events.iter().filter(planned).count() > 5, "{events:?}");
        eprintln!("{name}: {events:?}");
    }
}

#[test]
fn shares_may_be_empty_and_batches_too_small() {
    let model = mlp(0, &cpu()).unwrap();
    let mut training = DataParallel::new(&model, &sgd(), &cpus(4), config()).unwrap();
    let mut optimizer = sgd();
    let mut expected = model;
    for (step, count) in [3, 1, 9, 2].into_iter().enumerate() {
        let batch = examples(step, 0..count);
        let done = training.step(&Arc::new(classify), &batch, RATE).unwrap();
        assert_eq!(done.examples, count);
        let own = classify(&expected, batch, &cpu()).unwrap();
        expected = optimizer.step(RATE, expected, own.gradients);
    }
    let got = values(&training.model().unwrap());
    assert_close("small batches", &got, &values(&expected), TOLERANCE);
    let empty = examples(0, 0..0);
    let error = training.step(&Arc::new(classify), &empty, RATE);
    assert!(error.unwrap_err().is_bad_input());
}

/// As [`classify`], but call number `at` fails.
fn failing(
    at: usize,
    how: fn() -> Result<()>,
) -> impl Fn(&Network, ImageBatch, &Device) -> Result<Contribution> + Send + Sync {
    let calls = AtomicUsize::new(0);
    move |mlp, share, device| {
        if calls.fetch_add(1, Ordering::SeqCst) == at {
            how()?;
        }
        classify(mlp, share, device)
    }
}

#[test]
fn a_device_that_fails_is_dropped_and_training_goes_on() {
    let (expected, _) = alone(sgd(), &cpu(), RATE);
    let lost = || Err(Error::new(ErrorKind::Device, "test", "the device was lost"));
    let breaks = || panic!("the driver has a fault");
    for (how, reason) in [
        (lost as fn() -> Result<()>, "the device was lost"),
        (breaks, "the driver has a fault"),
    ] {
        let model = mlp(0, &cpu()).unwrap();
        let mut training = DataParallel::new(&model, &sgd(), &cpus(3), config()).unwrap();
        let work = Arc::new(failing(31, how));
        let mut events = Vec::new();
        for step in 0..STEPS {
            let batch = examples(step, 0..EXAMPLES);
            let done = training.step(&work, &batch, RATE).unwrap();
            assert_eq!(done.examples, EXAMPLES);
            events.extend(done.events.into_iter().map(|event| (step, event)));
        }
        assert_eq!(training.devices(), 2);
        let [
            (
                10,
                ParallelEvent::Dropped {
                    reason: got,
                    repeated: true,
                    remaining: 2,
                    ..
                },
            ),
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert!(got.contains(reason), "{got}");
        // The step was done again on all of the batch.
        let got = values(&training.model().unwrap());
        assert_close(reason, &got, &expected, TOLERANCE);
    }
}

/// An optimizer whose device fails in its step.
#[derive(Clone)]
struct Fragile {
    sgd: Sgd,
    steps: usize,
}

impl Optimizer for Fragile {
    fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        self.steps += 1;
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        assert!(
            self.steps != 20 || !name.starts_with("device 0"),
            "out of order"
        );
        self.sgd.step(rate, module, gradients)
    }

    fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        self.sgd.set_loss_scale(scale)
    }

    fn skipped(&self) -> Option<Tensor<1>> {
        self.sgd.skipped()
    }
}

#[test]
fn a_device_that_fails_after_the_gradients_were_averaged_does_not_undo_the_step() {
    let (expected, _) = alone(sgd(), &cpu(), RATE);
    let model = mlp(0, &cpu()).unwrap();
    let (sgd, steps) = (sgd(), 0);
    let fragile = Fragile { sgd, steps };
    let mut training = DataParallel::new(&model, &fragile, &cpus(3), config()).unwrap();
    let work = Arc::new(classify);
    for step in 0..STEPS {
        let batch = examples(step, 0..EXAMPLES);
        let done = training.step(&work, &batch, RATE).unwrap();
        let dropped = matches!(
            &done.events[..],
            [ParallelEvent::Dropped {
                device: 0,
                repeated: false,
                ..
            }]
        );
        assert_eq!(dropped, step == 19, "{:?}", done.events);
    }
    // The first replica was the one that failed; the next one is as good.
    let got = values(&training.model().unwrap());
    assert_close("after the agreement", &got, &expected, TOLERANCE);
}

#[test]
fn a_mistake_in_the_batch_drops_nobody_and_changes_nothing() {
    let model = mlp(0, &cpu()).unwrap();
    let mut training = DataParallel::new(&model, &sgd(), &cpus(3), config()).unwrap();
    let work = Arc::new(classify);
    let before = values(&model);
    let mut batch = examples(0, 0..EXAMPLES);
    batch.labels[17] = 1000;
    let error = training.step(&work, &batch, RATE).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
    // Where all fail it is nobody's fault in particular.
    let lost = Arc::new(
        |_: &Network, _: ImageBatch, _: &Device| -> Result<Contribution> {
            Err(Error::new(ErrorKind::Device, "test", "lost"))
        },
    );
    let good = examples(0, 0..EXAMPLES);
    assert!(training.step(&lost, &good, RATE).unwrap_err().is_device());
    assert_eq!(training.devices(), 3);
    assert_eq!(values(&training.model().unwrap()), before);
    assert!(training.step(&work, &good, RATE).unwrap().finite);
}

#[test]
fn a_step_that_is_not_finite_is_taken_by_nobody() {
    for count in [1, 3] {
        let model = mlp(0, &cpu()).unwrap();
        let mut training = DataParallel::new(&model, &sgd(), &cpus(count), config()).unwrap();
        let work = Arc::new(classify);
        let mut batch = examples(0, 0..EXAMPLES);
        batch.images[3] = f32::INFINITY;
        assert!(!training.step(&work, &batch, RATE).unwrap().finite);
        assert_eq!(values(&training.model().unwrap()), values(&model));
        let good = training
            .step(&work, &examples(0, 0..EXAMPLES), RATE)
            .unwrap();
        assert!(good.finite);
        assert_ne!(values(&training.model().unwrap()), values(&model));
    }
}

#[test]
fn a_replica_that_was_tampered_with_is_found() {
    let model = mlp(0, &cpu()).unwrap();
    let mut training = DataParallel::new(&model, &sgd(), &cpus(3), config()).unwrap();
    assert_eq!(training.check().unwrap(), None);
    let calls = AtomicUsize::new(0);
    let device = |name: &str| name.starts_with("device 1");
    training
        .change(move |model: Network, _, _| {
            let thread = std::thread::current();
            if thread.name().is_some_and(device) && calls.fetch_add(1, Ordering::SeqCst) == 0 {
                // The least that f32 can tell.
                let least = 1.0 + f32::EPSILON;
                return Ok(with_change(model, "layers.2.bias", |bias| bias * least));
            }
            Ok(model)
        })
        .unwrap();
    let error = training.check().unwrap_err().to_string();
    assert!(error.contains("device 1 (cpu)"), "{error}");
    // It is found on the way, too.
    let work = Arc::new(classify);
    let step = |training: &mut DataParallel<Network, Sgd>| {
        training.step(&work, &examples(0, 0..EXAMPLES), RATE)
    };
    let errors = (0..10).filter_map(|_| step(&mut training).err());
    assert_eq!(errors.count(), 1);
}

#[test]
fn a_parameter_without_gradient_counts_as_zero_unless_nobody_has_one() {
    let work = Arc::new(|mlp: &Network, share: Vec<usize>, device: &Device| {
        let mut gradients = GradientsParams::new();
        let ones = |shape| Tensor::<2>::ones(shape, device.tensors());
        if share.contains(&0) {
            gradients.register(neurons(mlp, "layers.0").weight.id, ones([12, 23]));
        }
        gradients.register(neurons(mlp, "layers.1").weight.id, ones([23, 17]));
        Ok(Contribution {
            gradients,
            loss: Tensor::zeros([1], device.tensors()),
            metrics: Vec::new(),
            examples: share.len(),
            statistics: Vec::new(),
        })
    });
    let decay = SgdConfig {
        weight_decay: 0.5,
        ..Default::default()
    };
    let model = mlp(0, &cpu()).unwrap();
    let optimizer = Sgd::new(decay).unwrap();
    let mut training = DataParallel::new(&model, &optimizer, &cpus(2), config()).unwrap();
    training.step(&work, &vec![0, 1, 2, 3, 4], 1.0).unwrap();
    let after = training.model().unwrap();
    for (layer, gradient) in [
        ("layers.0", Some(0.6)),
        ("layers.1", Some(1.0)),
        ("layers.2", None),
    ] {
        let [before, after] = [&model, &after].map(|m| {
            let weight = neurons(m, layer).weight.val().without_autodiff();
            weight.into_data().try_into_vec::<f32>().unwrap()
        });
        let moved = |w: &f32| gradient.map_or(*w, |gradient| w - (gradient + 0.5 * w));
        let expected: Vec<f32> = before.iter().map(moved).collect();
        assert_close("weight", &after, &expected, 1e-6);
    }
}

#[test]
fn networks_with_batch_norm_learn_alike() {
    let batches = episodes(150, 16).unwrap();
    let run = |devices: &[Device]| {
        let model = encoder(8, &devices[0]).unwrap();
        let mut training = DataParallel::new(&model, &adam(), devices, config()).unwrap();
        let work = Arc::new(Prototypes);
        let losses: Vec<f64> = batches
            .iter()
            .map(|batch| training.step(&work, batch, 2e-3).unwrap().loss)
            .collect();
        let model = training.model().unwrap();
        assert_ne!(
            values(&norm(&model, "blocks.0.norm").running_mean),
            [0.0; 8]
        );
        losses
    };
    let one = run(&cpus(1));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    for count in [2, 4] {
        let several = run(&cpus(count));
        // Each share has statistics of its own, so that the curves cannot be the same. Late in training they are those of
        // two runs that have gone apart like any two.
        for (window, allowed) in [
            (0..150, 0.01),
            (0..50, 0.01),
            (50..100, 0.01),
            (100..150, 0.03),
        ] {
            let (got, expected) = (mean(&several[window.clone()]), mean(&one[window.clone()]));
            let difference = got / expected - 1.0;
            let what = format!("{count} replicas, steps {window:?}: {got}, one: {expected}");
            assert!(difference.abs() < allowed, "{what}, {difference}");
        }
    }
}

#[test]
fn lists_of_devices_are_opened() {
    let open = |text: &str| pollster::block_on(text.parse::<DeviceList>().unwrap().open());
    let both = open("cpu,cpu").unwrap();
    assert!(both.iter().all(Device::is_cpu) && both.len() == 2);
    if !gpus().is_empty() {
        let three = open("0,cpu,gpu:0").unwrap();
        assert_ne!(three[0].tensors(), three[2].tensors());
        assert!(three[1].is_cpu());
        let ones = Tensor::<1>::ones([3], three[2].tensors());
        assert_eq!(ones.sum().into_scalar::<f32>(), 3.0);
    }
}
