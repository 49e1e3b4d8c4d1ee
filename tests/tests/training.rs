//! The training engine: checkpointed, dealt out in parts, in half precision, interrupted and at fault.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::{Dataset, Glyphs, ImageBatch, ImageShape, Rng, Split};
use forgeling::nn::graph::{Graph, Shape};
use forgeling::nn::zoo::{Conv4Config, MlpConfig, ResNetConfig, VitConfig};
use forgeling::nn::{LinearLayer, Network, Normalization, Pass};
use forgeling::ops::Activation;
use forgeling::train::weights::collect;
use forgeling::train::{
    Batches, Classify, CrossEntropy, HardwareConfig, HardwareManager, LossScalerConfig, Objective,
    OptimizerConfig, Outcome, Precision, Run, Schedule, SgdConfig, Source, StopReason, TrainEvent,
    Trainable, Trainer, TrainerConfig,
};
use forgeling::{Device, Result};
use forgeling_tests::networks::with_change;
use forgeling_tests::{assert_close, devices, gpus, has_f16};

const CLASSES: usize = 5;
const SIZE: usize = 16;

/// Drawings of a few invented characters, from drawing `first` on.
fn drawings(first: usize, count: usize) -> ImageBatch {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES).unwrap();
    let glyphs = glyphs.with_size(SIZE).unwrap();
    let shape = ImageShape::new(1, SIZE, SIZE);
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for index in 0..count {
        let mut image = vec![0.0; shape.len()];
        let class = index % CLASSES;
        glyphs
            .read(class, first + index / CLASSES, &mut image)
            .unwrap();
        images.extend(image);
        labels.push(class);
    }
    ImageBatch {
        shape,
        images,
        labels,
    }
}

/// A few batches, over and over.
fn batches(count: usize, size: usize) -> Batches<ImageBatch> {
    Batches::new((0..count).map(|index| drawings(10 * index, size)).collect())
}

fn network(graph: &Graph, seed: u64, device: &Device) -> Network {
    Network::new(graph, seed, device)
}

fn mlp(device: &Device) -> Network {
    let config = MlpConfig {
        input: Shape::Values(SIZE * SIZE),
        hidden: vec![33, 17],
        classes: CLASSES,
    };
    network(&config.graph().unwrap(), 3, device)
}

fn conv4(device: &Device) -> Network {
    let config = Conv4Config {
        filters: 8,
        size: SIZE,
        ..Default::default()
    };
    let encoder = config.graph().unwrap();
    network(&encoder.with_outputs(CLASSES).unwrap(), 0, device)
}

fn resnet(device: &Device) -> Network {
    let config = ResNetConfig {
        input: ImageShape::new(1, SIZE, SIZE),
        classes: CLASSES,
        width: 4,
        ..Default::default()
    };
    network(&config.graph().unwrap(), 0, device)
}

fn vit(device: &Device) -> Network {
    let config = VitConfig {
        size: SIZE,
        width: 24,
        depth: 3,
        heads: 3,
        hidden: 48,
        classes: CLASSES,
        ..Default::default()
    };
    network(&config.graph().unwrap(), 0, device)
}

fn manager(device: &Device, config: HardwareConfig) -> HardwareManager {
    HardwareManager::on(device.clone(), config).unwrap()
}

fn sgd(rate: f64) -> TrainerConfig {
    TrainerConfig {
        steps: Some(1),
        optimizer: OptimizerConfig::Sgd(SgdConfig::default()),
        schedule: Schedule::Constant { rate },
        ..Default::default()
    }
}

/// What `steps` of SGD make of a network.
fn trained<M: Classify>(
    mut model: M,
    device: &Device,
    hardware: HardwareConfig,
    steps: usize,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut trainer = Trainer::new(sgd(0.02), manager(device, hardware)).unwrap();
    let mut losses = Vec::new();
    for step in 0..steps {
        let batch = [drawings(3 * step, 14)];
        let taken = trainer.step_on(&mut model, &CrossEntropy, &batch);
        let taken = pollster::block_on(taken).unwrap();
        assert!(!taken.skipped);
        losses.push(taken.loss as f32);
    }
    let values = pollster::block_on(collect(&model)).unwrap();
    (
        losses,
        values.into_iter().map(|tensor| tensor.values).collect(),
    )
}

/// Whether both ways of training come to the same, within `tolerance` of the largest loss and of the way that the
/// values have gone.
fn assert_same_training<M: Classify>(
    what: &str,
    device: &Device,
    model: M,
    changed: HardwareConfig,
    tolerance: f32,
) {
    let plain = HardwareConfig {
        precision: Precision::F32,
        ..Default::default()
    };
    let what = format!("{what} on {}", device.info().name);
    let start = pollster::block_on(values(&model)).concat();
    let (expected_losses, expected) = trained(model.clone(), device, plain, 3);
    let (losses, got) = trained(model, device, changed, 3);
    assert_close(&what, &losses, &expected_losses, tolerance);
    // All of them as one vector: some have a true gradient of zero, and are nothing but rounding.
    let length = |a: &[f32], b: &[f32]| {
        let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let (got, expected) = (got.concat(), expected.concat());
    let apart = length(&got, &expected) / length(&expected, &start);
    eprintln!("{what}: {apart:.1e} of the way");
    assert!(apart < f64::from(tolerance), "{what}: {apart} of the way");
}

#[test]
fn checkpointed_training_is_the_same() {
    let checkpointed = HardwareConfig {
        precision: Precision::F32,
        gradient_checkpointing: true,
        ..Default::default()
    };
    for device in devices() {
        // The same sums in the same order, but for those of gradients that meet at a cut.
        let tolerance = 1e-5;
        let c = || checkpointed.clone();
        assert_same_training("mlp", &device, mlp(&device), c(), tolerance);
        assert_same_training("conv4", &device, conv4(&device), c(), tolerance);
        assert_same_training("resnet", &device, resnet(&device), c(), tolerance);
        assert_same_training("vit", &device, vit(&device), c(), tolerance);
    }
}

#[derive(Module, Debug)]
struct Layers {
    layers: Vec<LinearLayer>,
}

#[test]
fn a_cut_in_the_middle_of_a_graph_gives_all_gradients() {
    // The first block's input comes of a parameter; the second one's goes around it, too.
    let device = burn::tensor::Device::flex().autodiff();
    let mut rng = Rng::new(5);
    let model = Layers {
        layers: [3, 4, 4]
            .map(|inputs| LinearLayer::new(inputs, 4, &mut rng, &device))
            .to_vec(),
    };
    let gradients = |checkpointing: bool| {
        let mut pass = Pass::new(Normalization::Batch, &device).checkpointing(checkpointing);
        let x = TensorData::new(vec![0.5f32, -1.0, 2.0, 1.5, 0.25, -0.75], [2, 3]);
        let before = pass.values::<2>(x).matmul(model.layers[0].weight.val());
        let inner = &model.layers[1];
        let mut block = |x: Tensor<2>| {
            let run = |inner: &LinearLayer, x, _: &mut Pass<'_>| inner.forward(x, Activation::Relu);
            pass.block("middle", inner, x, run).unwrap()
        };
        let first = block(before);
        let second = block(first.clone());
        let after = (second + first).matmul(model.layers[2].weight.val());
        let found = pass.backward(after.square().sum(), &model).unwrap();
        let read = |id| {
            let gradient: Tensor<2> = found.get(id).unwrap();
            gradient.into_data().try_to_vec::<f32>().unwrap()
        };
        [0, 1, 2].map(|layer| read(model.layers[layer].weight.id))
    };
    let (got, expected) = (gradients(true), gradients(false));
    for (got, expected) in got.iter().zip(&expected) {
        assert_close("gradient", got, expected, 1e-6);
    }
}

#[test]
fn micro_batches_add_up_to_the_whole_batch() {
    let parts = HardwareConfig {
        precision: Precision::F32,
        micro_batch: Some(4),
        ..Default::default()
    };
    for device in devices() {
        // Networks without batch norm, which would know its part only.
        assert_same_training("mlp", &device, mlp(&device), parts.clone(), 1e-5);
        assert_same_training("vit", &device, vit(&device), parts.clone(), 1e-5);
    }
}

#[test]
fn half_precision_trains_alike() {
    let half = HardwareConfig {
        precision: Precision::F16,
        // Small enough that no step is skipped.
        loss_scaler: LossScalerConfig {
            init_scale: 64.0,
            ..Default::default()
        },
        ..Default::default()
    };
    for device in gpus().into_iter().filter(has_f16) {
        let resolved = manager(&device, half.clone()).precision().clone();
        assert!(resolved.scaled && resolved.compute == "f16", "{resolved:?}");
        assert_same_training("mlp", &device, mlp(&device), half.clone(), 3e-2);
        assert_same_training("conv4", &device, conv4(&device), half.clone(), 3e-2);
        assert_same_training("resnet", &device, resnet(&device), half.clone(), 0.1);
        assert_same_training("vit", &device, vit(&device), half.clone(), 3e-2);
    }
}

/// Cross entropy, but for one step whose loss is beyond what any float holds.
struct Overflowing {
    at: usize,
    step: std::cell::Cell<usize>,
}

impl<M: Classify> Objective<M> for Overflowing {
    type Batch = ImageBatch;

    fn forward<'a>(
        &self,
        model: &'a M,
        batch: &ImageBatch,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        let step = self.step.get();
        self.step.set(step + 1);
        let mut outcome = CrossEntropy.forward(model, batch, pass)?;
        if step == self.at {
            outcome.loss = outcome.loss * f32::MAX * 2.0;
        }
        Ok(outcome)
    }
}

async fn values<M: Module>(model: &M) -> Vec<Vec<f32>> {
    let tensors = collect(model).await.unwrap();
    tensors.into_iter().map(|tensor| tensor.values).collect()
}

#[test]
fn an_overflow_skips_one_step_and_halves_the_scale() {
    let half = HardwareConfig {
        precision: Precision::F16,
        ..Default::default()
    };
    for device in gpus().into_iter().filter(has_f16) {
        let mut model = conv4(&device);
        let mut trainer = Trainer::new(sgd(0.05), manager(&device, half.clone())).unwrap();
        let objective = Overflowing {
            at: 2,
            step: 0.into(),
        };
        let mut scales = Vec::new();
        for step in 0..5 {
            let before = pollster::block_on(values(&model));
            let batch = [drawings(step, 10)];
            let taken = trainer.step_on(&mut model, &objective, &batch);
            let taken = pollster::block_on(taken).unwrap();
            assert_eq!(taken.skipped, step == 2, "step {step}");
            let same = before == pollster::block_on(values(&model));
            assert_eq!(
                same,
                step == 2,
                "step {step}: running statistics belong to the model"
            );
            scales.push(taken.loss_scale);
        }
        assert_eq!(scales, [65536.0, 65536.0, 65536.0, 32768.0, 32768.0]);
    }
}

#[test]
fn an_error_names_the_part_that_is_at_fault() {
    for device in devices() {
        let mut model = with_change(conv4(&device), "blocks.2.norm.gamma", |gamma| {
            Tensor::full(gamma.dims(), f32::NAN, &gamma.device())
        });
        let before = pollster::block_on(values(&model));
        let mut trainer = Trainer::new(sgd(0.05), manager(&device, Default::default())).unwrap();
        let batch = [drawings(0, 10)];
        let taken = trainer.step_on(&mut model, &CrossEntropy, &batch);
        let problem = pollster::block_on(taken).unwrap_err();
        assert!(problem.is_diverged(), "{problem}");
        assert!(
            problem.to_string().contains("output of blocks.2"),
            "{problem}"
        );
        let after = pollster::block_on(values(&model));
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
    }
}

fn fit<M: Trainable + Classify>(
    model: &mut M,
    config: TrainerConfig,
    source: &mut Batches<ImageBatch>,
    stop_after: usize,
) -> (Vec<TrainEvent>, forgeling::train::TrainSummary) {
    let device = pollster::block_on(Device::open(forgeling::DeviceChoice::Cpu)).unwrap();
    let mut trainer = Trainer::new(config, manager(&device, Default::default())).unwrap();
    let mut validation = batches(2, 10);
    let mut events = Vec::new();
    let summary = trainer.fit(
        model,
        &CrossEntropy,
        Run::on(source).validated_on("held out", &mut validation),
        |event| {
            events.push(event.clone());
            let steps = events
                .iter()
                .filter(|e| matches!(e, TrainEvent::Step(_)))
                .count();
            if steps >= stop_after {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
    let summary = pollster::block_on(summary).unwrap();
    (events, summary)
}

fn kinds(events: &[TrainEvent]) -> String {
    let letter = |event: &TrainEvent| match event {
        TrainEvent::Step(_) => 's',
        TrainEvent::Epoch { .. } => 'e',
        TrainEvent::Validated { .. } => 'v',
        TrainEvent::Stopped { .. } => '.',
        _ => '?',
    };
    events.iter().map(letter).collect()
}

#[test]
fn events_come_in_their_order() {
    let device = pollster::block_on(Device::open(forgeling::DeviceChoice::Cpu)).unwrap();
    let config = TrainerConfig {
        epochs: Some(2),
        ..Default::default()
    };
    let (events, summary) = fit(&mut mlp(&device), config.clone(), &mut batches(3, 10), 99);
    assert_eq!(kinds(&events), "sssevsssev.");
    assert_eq!(
        (summary.steps, summary.epochs, summary.examples),
        (6, 2, 60)
    );
    assert_eq!(summary.reason, StopReason::Finished);
    assert_eq!(summary.validation.unwrap().examples, 20);

    let accumulated = TrainerConfig {
        accumulate: 2,
        validate_every: Some(2),
        ..config.clone()
    };
    let (events, _) = fit(&mut mlp(&device), accumulated, &mut batches(3, 10), 99);
    assert_eq!(kinds(&events), "ssvessve.");

    let (events, summary) = fit(&mut mlp(&device), config.clone(), &mut batches(3, 10), 2);
    assert_eq!(kinds(&events), "ss.");
    assert_eq!(summary.reason, StopReason::Asked);

    let trial = TrainerConfig {
        fast_dev_run: Some(2),
        epochs: None,
        ..config.clone()
    };
    let (events, _) = fit(&mut mlp(&device), trial, &mut batches(3, 10), 99);
    assert_eq!(kinds(&events), "ssev.");

    let few = TrainerConfig {
        schedule: Schedule::Constant { rate: 1e-2 },
        overfit_batches: Some(1),
        epochs: Some(60),
        ..config
    };
    let mut source = batches(3, 10);
    let (_, summary) = fit(&mut mlp(&device), few, &mut source, 99);
    assert_eq!(source.state(), 1, "the same batch over and over");
    assert!(
        summary.loss < 0.6,
        "a network learns ten images by heart: {}",
        summary.loss
    );
}

#[test]
fn accumulated_batches_are_one_step_on_all() {
    let device = pollster::block_on(Device::open(forgeling::DeviceChoice::Cpu)).unwrap();
    let whole = drawings(0, 14);
    let step = |batches: &[ImageBatch]| {
        let mut model = mlp(&device);
        let mut trainer = Trainer::new(sgd(0.1), manager(&device, Default::default())).unwrap();
        let taken = trainer.step_on(&mut model, &CrossEntropy, batches);
        let loss = pollster::block_on(taken).unwrap().loss as f32;
        (loss, pollster::block_on(values(&model)))
    };
    let parts = forgeling::train::Batch::split(&whole, &[3, 5, 6]);
    let ((loss, got), (expected_loss, expected)) = (step(&parts), step(&[whole]));
    assert_close("loss", &[loss], &[expected_loss], 1e-6);
    for (got, expected) in got.iter().zip(&expected) {
        assert_close("accumulated", got, expected, 1e-5);
    }
}

#[test]
fn wrong_configurations_are_errors() {
    let wrong = [
        TrainerConfig {
            epochs: Some(0),
            ..Default::default()
        },
        TrainerConfig {
            accumulate: 0,
            ..Default::default()
        },
        TrainerConfig {
            seconds: Some(f64::NAN),
            ..Default::default()
        },
    ];
    for config in wrong {
        assert!(config.validate().unwrap_err().is_bad_input());
    }
    let device = pollster::block_on(Device::open(forgeling::DeviceChoice::Cpu)).unwrap();
    let none = HardwareConfig {
        micro_batch: Some(0),
        ..Default::default()
    };
    assert!(
        HardwareManager::on(device.clone(), none)
            .unwrap_err()
            .is_bad_input()
    );
    let mut trainer =
        Trainer::new(Default::default(), manager(&device, Default::default())).unwrap();
    let mut model = mlp(&device);
    let mut source = batches(1, 5);
    let endless = trainer.fit(&mut model, &CrossEntropy, Run::on(&mut source), |_| {
        ControlFlow::Continue(())
    });
    assert!(
        pollster::block_on(endless)
            .unwrap_err()
            .to_string()
            .contains("no end")
    );
    let text = serde_json::to_string(&HardwareConfig::default()).unwrap();
    assert!(text.contains(r#""device":"auto""#), "{text}");
    assert_eq!(
        serde_json::from_str::<HardwareConfig>(&text).unwrap(),
        Default::default()
    );
}
