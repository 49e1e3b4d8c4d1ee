//! Whole runs of training: averaged, stopped early, saved and resumed, within a budget, on several devices.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use forgeling::data::{Glyphs, ImageBatch, Loader, LoaderConfig, Split, Subset};
use forgeling::device::MemoryBudget;
use forgeling::meta::{FitConfig, ProtoNet};
use forgeling::nn::{
    Conv4Config, MemoryPlan, Mlp, MlpConfig, Pass, PlanConfig, ResNet18, ResNet18Config,
};
use forgeling::parallel::{Local, ParallelConfig};
use forgeling::train::weights::collect;
use forgeling::train::{
    Batches, Checkpoint, Checkpoints, Classifier, CrossEntropy, EarlyStoppingConfig, EmaConfig,
    Epochs, Goal, HardwareConfig, HardwareManager, LossScalerConfig, Objective, OptimizerConfig,
    Outcome, Precision, Preset, Run, Schedule, SgdConfig, StopReason, TrainEvent, TrainSummary,
    Trainer, TrainerConfig,
};
use forgeling::{Device, DeviceChoice, Error, ErrorKind, Result};
use forgeling_tests::devices;

const CLASSES: usize = 5;
const SIZE: usize = 12;

fn glyphs(seed: u64, batch_size: usize) -> Epochs {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES).unwrap();
    let glyphs = Subset::first(glyphs.with_size(SIZE).unwrap(), 24).unwrap();
    let config = LoaderConfig {
        batch_size,
        seed,
        ..Default::default()
    };
    Epochs::of(Loader::new(Arc::new(glyphs), config).unwrap())
}

fn mlp_config() -> MlpConfig {
    MlpConfig {
        inputs: SIZE * SIZE,
        hidden: vec![48],
        classes: CLASSES,
        seed: 2,
    }
}

fn mlp(device: &Device) -> Mlp {
    Mlp::new(&mlp_config(), &device.autodiff()).unwrap()
}

fn trainer(device: &Device, config: TrainerConfig, hardware: HardwareConfig) -> Trainer {
    let manager = HardwareManager::on(device.clone(), hardware).unwrap();
    Trainer::new(config, manager).unwrap()
}

fn steps(count: usize) -> TrainerConfig {
    TrainerConfig {
        steps: Some(count),
        ..Default::default()
    }
}

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// Losses of the steps, and all events.
fn fit<M: Classifier>(
    trainer: &mut Trainer,
    model: &mut M,
    run: Run<'_, Epochs>,
) -> (Vec<f64>, Vec<TrainEvent>, TrainSummary) {
    let mut events = Vec::new();
    let summary = trainer.fit(model, &CrossEntropy, run, |event| {
        events.push(event.clone());
        ControlFlow::Continue(())
    });
    let summary = pollster::block_on(summary).unwrap();
    (losses(&events), events, summary)
}

fn losses(events: &[TrainEvent]) -> Vec<f64> {
    let loss = |event: &TrainEvent| match event {
        TrainEvent::Step(step) => Some(step.loss),
        _ => None,
    };
    events.iter().filter_map(loss).collect()
}

fn values(model: &impl Module) -> Vec<f32> {
    let tensors = pollster::block_on(collect(model)).unwrap();
    tensors
        .into_iter()
        .flat_map(|tensor| tensor.values)
        .collect()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f32::max)
}

/// Checkpoints in memory, as bytes.
#[derive(Default)]
struct Memory(Vec<Vec<u8>>);

impl Checkpoints for Memory {
    fn latest(&mut self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let last = self.0.last().map(|bytes| Checkpoint::decode(bytes));
        Ok((last.transpose()?, Vec::new()))
    }

    fn save(&mut self, checkpoint: &Checkpoint) -> Result<String> {
        self.0.push(checkpoint.encode()?);
        Ok(format!("number {}", self.0.len()))
    }
}

/// With all that has a state, in two halves and in one piece; in half precision where that is.
#[test]
fn a_resumed_run_is_the_run() {
    for device in devices() {
        let config = |count| TrainerConfig {
            schedule: Schedule::Cosine {
                initial: 0.01,
                floor: 0.0,
                steps: 40,
            },
            ema: Some(EmaConfig::default()),
            early_stopping: Some(EarlyStoppingConfig {
                goal: Goal::Maximize,
                patience: 99,
                ..Default::default()
            }),
            validate_every: Some(7),
            checkpoint_every: Some(3),
            ..steps(count)
        };
        let hardware = HardwareConfig {
            precision: Precision::F16,
            loss_scaler: LossScalerConfig {
                init_scale: 1024.0,
                growth_interval: 9,
                ..Default::default()
            },
            ..Default::default()
        };
        let run = |counts: &[usize]| {
            let mut memory = Memory::default();
            let (mut all, mut scales) = (Vec::new(), Vec::new());
            let mut last = None;
            for count in counts {
                // Everything anew, as in another process.
                let mut model = mlp(&device);
                let (mut source, mut validation) = (glyphs(1, 17), glyphs(2, 40));
                let mut trainer = trainer(&device, config(*count), hardware.clone());
                let run = Run::on(&mut source).validated_on(&mut validation);
                let run = run.saved_in(&mut memory);
                let (losses, events, summary) = fit(&mut trainer, &mut model, run);
                let resumed = events
                    .iter()
                    .any(|event| matches!(event, TrainEvent::Resumed { .. }));
                assert_eq!(resumed, !all.is_empty());
                assert_eq!(summary.steps, *count);
                all.extend(losses);
                scales.push(trainer.manager().loss_scale());
                last = Some((values(&model), summary.validation));
            }
            (all, scales.pop().unwrap(), last.unwrap())
        };
        let whole = run(&[31]);
        let halves = run(&[10, 23, 31]);
        assert_eq!(whole.0.len(), 31);
        assert_eq!(whole.1, halves.1);
        if device.is_cpu() {
            assert_eq!(whole, halves);
        } else {
            for (a, b) in whole.0.iter().zip(&halves.0) {
                assert!((a - b).abs() < 1e-3, "{a} {b}");
            }
            assert!(furthest(&whole.2.0, &halves.2.0) < 1e-2);
            if device.info().f16 {
                assert!(whole.1 > 1024.0, "the scale has grown to {}", whole.1);
            }
        }
    }
}

#[test]
fn a_checkpoint_of_another_model_is_an_error_that_names_the_parameter() {
    let device = cpu();
    let mut memory = Memory::default();
    let mut source = glyphs(1, 17);
    let run = Run::on(&mut source).saved_in(&mut memory);
    fit(
        &mut trainer(&device, steps(2), Default::default()),
        &mut mlp(&device),
        run,
    );
    let config = MlpConfig {
        hidden: vec![49],
        ..mlp_config()
    };
    let mut other = Mlp::new(&config, &device.autodiff()).unwrap();
    let mut source = glyphs(1, 17);
    let mut trainer = trainer(&device, steps(4), Default::default());
    let run = Run::on(&mut source).saved_in(&mut memory);
    let fit = trainer.fit(
        &mut other,
        &CrossEntropy,
        run,
        |_| ControlFlow::Continue(()),
    );
    let error = pollster::block_on(fit).unwrap_err();
    assert!(error.to_string().contains("layers.0"), "{error}");
}

#[test]
fn the_best_model_is_left_behind_when_training_is_stopped_early() {
    let device = cpu();
    let config = TrainerConfig {
        // Large enough to spoil what was learned.
        schedule: Schedule::Linear {
            initial: 1e-3,
            last: 0.3,
            steps: 60,
        },
        early_stopping: Some(EarlyStoppingConfig {
            patience: 3,
            ..Default::default()
        }),
        validate_every: Some(4),
        ..steps(500)
    };
    let mut model = mlp(&device);
    let (mut source, mut validation) = (glyphs(1, 20), glyphs(2, 60));
    let mut trainer = trainer(&device, config, Default::default());
    let run = Run::on(&mut source).validated_on(&mut validation);
    let (_, events, summary) = fit(&mut trainer, &mut model, run);
    assert_eq!(summary.reason, StopReason::Converged);
    assert!(summary.steps < 500);
    let validated = events.iter().filter_map(|event| match event {
        TrainEvent::Validated { validation, .. } => Some(validation.loss),
        _ => None,
    });
    let best = validated.fold(f64::INFINITY, f64::min);
    assert!(summary.validation.unwrap().loss > best);
    let mut again = glyphs(2, 60);
    let left = pollster::block_on(trainer.validate(&model, &CrossEntropy, &mut again)).unwrap();
    assert_eq!(left.loss, best);
}

#[test]
fn the_average_is_what_is_left_behind() {
    let device = cpu();
    let run = |ema| {
        let mut model = mlp(&device);
        let config = TrainerConfig { ema, ..steps(3) };
        let mut source = glyphs(1, 20);
        let mut trainer = trainer(&device, config, Default::default());
        fit(&mut trainer, &mut model, Run::on(&mut source));
        values(&model)
    };
    let begun = values(&mlp(&device));
    let last = run(None);
    let frozen = run(Some(EmaConfig {
        decay: 0.99999,
        warm_up: false,
    }));
    assert!(furthest(&frozen, &begun) < 1e-6);
    assert!(furthest(&last, &begun) > 1e-3);
    let half = run(Some(EmaConfig {
        decay: 0.5,
        warm_up: false,
    }));
    let (to_last, to_begun) = (furthest(&half, &last), furthest(&half, &begun));
    assert!(to_last > 1e-5 && to_begun > 1e-4, "{to_last} {to_begun}");
}

fn one_batch(count: usize) -> ImageBatch {
    let mut source = glyphs(5, count);
    let batch = forgeling::train::Source::next(&mut source);
    pollster::block_on(batch).unwrap().unwrap()
}

/// The bytes that steps take without a budget, and the losses.
fn within<M: Classifier>(
    device: &Device,
    model: &mut M,
    budget: u64,
    micro_batch: Option<usize>,
    batch: &ImageBatch,
) -> (u64, Vec<f64>, Option<usize>) {
    let hardware = HardwareConfig {
        precision: Precision::F32,
        micro_batch,
        memory_budget: Some(MemoryBudget::Bytes(budget)),
        ..Default::default()
    };
    let config = TrainerConfig {
        optimizer: OptimizerConfig::Sgd(SgdConfig::default()),
        schedule: Schedule::Constant { rate: 0.5 },
        ..steps(6)
    };
    let mut trainer = trainer(device, config, hardware);
    let mut source = Batches::new(vec![batch.clone()]);
    let mut losses = Vec::new();
    let fit = trainer.fit(model, &CrossEntropy, Run::on(&mut source), |event| {
        if let TrainEvent::Step(step) = event {
            losses.push(step.loss);
        }
        ControlFlow::Continue(())
    });
    pollster::block_on(fit).unwrap();
    let peak = trainer.manager().ledger().unwrap().peak();
    (peak, losses, trainer.micro_batch())
}

/// Half of the memory that a batch takes: smaller passes are found, and losses stay those of the whole batch.
#[test]
fn half_the_memory_gives_the_same_losses_in_smaller_passes() {
    for device in devices() {
        let config = MlpConfig {
            hidden: vec![512, 512],
            ..mlp_config()
        };
        let batch = one_batch(120);
        let batch = ImageBatch {
            shape: batch.shape,
            images: batch.images.repeat(40),
            labels: batch.labels.repeat(40),
        };
        let model = || Mlp::new(&config, &device.autodiff()).unwrap();
        let (peak, whole, micro) = within(&device, &mut model(), u64::MAX, None, &batch);
        assert_eq!(micro, None);
        let (_, parts, micro) = within(&device, &mut model(), peak / 2, None, &batch);
        // The search itself may be told of a backward pass's excess only afterwards.
        let (within_half, again, _) = within(&device, &mut model(), peak / 2, micro, &batch);
        assert_eq!(again.len(), parts.len());
        let name = &device.info().name;
        eprintln!("{name}: {peak} bytes, then {within_half} with passes of {micro:?}");
        assert!(within_half <= peak / 2, "{within_half} of {peak}");
        assert!(micro.is_some_and(|micro| micro < batch.labels.len()));
        assert_eq!(whole.len(), 6);
        for (a, b) in whole.iter().zip(&parts) {
            assert!((a - b).abs() <= 1e-5 * a.abs(), "{name}: {a} and {b}");
        }
        assert!(whole[5] < whole[0] * 0.97, "{whole:?}");
    }
}

#[test]
fn presets_are_kept_and_can_be_read_back() {
    let device = cpu();
    let plan = |config: &HardwareConfig| {
        let manager = HardwareManager::on(device.clone(), config.clone()).unwrap();
        let config = PlanConfig {
            precision: manager.precision().planned(),
            checkpointing: config.gradient_checkpointing,
            ..Default::default()
        };
        let resnet = ResNet18Config {
            width: 16,
            ..Default::default()
        };
        MemoryPlan::new(&resnet, 64, config, &device).unwrap().peak
    };
    let configs = Preset::ALL.map(HardwareConfig::from);
    let [fast, constrained, throughput, browser] = configs.each_ref().map(plan);
    assert!(constrained < throughput && throughput < fast);
    assert_eq!(browser, fast);
    for (preset, config) in Preset::ALL.into_iter().zip(configs) {
        assert_eq!(preset.to_string().parse::<Preset>().unwrap(), preset);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<HardwareConfig>(&text).unwrap(),
            config
        );
    }
    let tight = HardwareConfig::from(Preset::Browser);
    let report = HardwareManager::on(device.clone(), tight).unwrap().report();
    assert_eq!(report.memory_budget, Some(512 << 20));
    assert!(
        "quick"
            .parse::<Preset>()
            .unwrap_err()
            .to_string()
            .contains("memory_constrained")
    );
}

fn sgd(count: usize) -> TrainerConfig {
    TrainerConfig {
        optimizer: OptimizerConfig::Sgd(SgdConfig {
            momentum: 0.9,
            ..Default::default()
        }),
        schedule: Schedule::Constant { rate: 0.02 },
        accumulate: 2,
        ..steps(count)
    }
}

/// Runs of 50 steps on one device, on two and four, and as one of two and four ranks.
#[test]
fn several_devices_train_as_one() {
    for device in devices() {
        let one = {
            let mut model = mlp(&device);
            let mut source = glyphs(1, 22);
            let mut trainer = trainer(&device, sgd(50), Default::default());
            let (losses, ..) = fit(&mut trainer, &mut model, Run::on(&mut source));
            (values(&model), losses)
        };
        for count in [2, 4] {
            let several: Vec<Device> = (0..count)
                .map(|_| pollster::block_on(device.open_another()).unwrap())
                .collect();
            let mut model = mlp(&several[0]);
            let mut source = glyphs(1, 22);
            let mut trainer = trainer(&several[0], sgd(50), Default::default());
            let mut events = Vec::new();
            let fit = trainer.fit_on_devices(
                &several,
                ParallelConfig::default(),
                &mut model,
                &CrossEntropy,
                Run::on(&mut source),
                |event| {
                    events.push(event.clone());
                    ControlFlow::Continue(())
                },
            );
            pollster::block_on(fit).unwrap();
            let apart = furthest(&values(&model), &one.0);
            assert!(apart < 1e-5, "{count} of {}: {apart}", device.info().name);
            for (a, b) in losses(&events).iter().zip(&one.1) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
        if !device.is_cpu() {
            continue;
        }
        for count in [2, 4] {
            let ranks = Local::group(count).into_iter();
            let results: Vec<(Vec<f32>, usize)> = std::thread::scope(|scope| {
                let threads: Vec<_> = ranks.map(|rank| scope.spawn(|| as_rank(rank))).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            });
            let writers = results.iter().filter(|(_, saved)| *saved > 0).count();
            assert_eq!(writers, 1, "the first rank alone saves");
            for (values, _) in results {
                assert!(furthest(&values, &one.0) < 1e-5);
            }
        }
    }
}

fn as_rank(rank: Local) -> (Vec<f32>, usize) {
    let device = cpu();
    let mut model = mlp(&device);
    let mut source = glyphs(1, 22);
    let mut memory = Memory::default();
    let mut trainer = trainer(&device, sgd(50), Default::default());
    let run = Run::on(&mut source).saved_in(&mut memory);
    let go_on = |_: &TrainEvent| ControlFlow::Continue(());
    let parallel = ParallelConfig::default();
    let fit = trainer.fit_as_rank(rank, parallel, &mut model, &CrossEntropy, run, go_on);
    pollster::block_on(fit).unwrap();
    (values(&model), memory.0.len())
}

/// Classifies as usual until it has been asked so often: then it fails as a device that is lost.
#[derive(Clone)]
struct Lost {
    asked: Arc<AtomicUsize>,
    when: usize,
}

impl<M: Classifier> Objective<M> for Lost {
    type Batch = ImageBatch;

    fn forward<'a>(
        &self,
        model: &'a M,
        batch: &ImageBatch,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        if self.asked.fetch_add(1, Ordering::Relaxed) == self.when {
            return Err(Error::new(ErrorKind::Device, "test", "the device was lost"));
        }
        CrossEntropy.forward(model, batch, pass)
    }
}

#[test]
fn a_device_that_is_lost_is_dropped_and_the_run_ends_as_without_it() {
    let device = cpu();
    let run = |devices: &[Device], when: usize| {
        let mut model = mlp(&device);
        let mut source = glyphs(1, 22);
        let mut trainer = trainer(&device, sgd(20), Default::default());
        let lost = Lost {
            asked: Arc::default(),
            when,
        };
        let mut events = Vec::new();
        let run = Run::on(&mut source);
        let parallel = ParallelConfig::default();
        let fit = trainer.fit_on_devices(devices, parallel, &mut model, &lost, run, |event| {
            events.push(event.clone());
            ControlFlow::Continue(())
        });
        pollster::block_on(fit).unwrap();
        (values(&model), events)
    };
    let devices = [device.clone(), device.clone(), device.clone()];
    let (whole, calm) = run(&devices, usize::MAX);
    let (left, events) = run(&devices, 40);
    let dropped = events.iter().filter_map(|event| match event {
        TrainEvent::DeviceDropped {
            remaining, reason, ..
        } => Some((*remaining, reason.contains("the device was lost"))),
        _ => None,
    });
    assert_eq!(dropped.collect::<Vec<_>>(), [(2, true)]);
    assert_eq!(losses(&events).len(), 20);
    assert_eq!(losses(&calm).len(), 20);
    assert!(furthest(&left, &whole) < 1e-5);
}

/// Episodes of a step are dealt out to devices; each share has a batch norm of its own.
#[test]
fn a_few_shot_network_trains_on_several_devices() {
    let device = cpu();
    let data = Glyphs::new(3, Split::Train, 40).unwrap();
    let run = |devices: Option<&str>| {
        let config = Conv4Config {
            filters: 8,
            ..Default::default()
        };
        let mut model = ProtoNet::new(&config, &device).unwrap();
        let config = FitConfig {
            episodes: Some(160),
            batch_episodes: 4,
            hardware: HardwareConfig {
                devices: devices.map(|list| list.parse().unwrap()),
                ..Default::default()
            },
            ..Default::default()
        };
        let mut steps = 0;
        let fit = model.fit(&data, config, |_| {
            steps += 1;
            ControlFlow::Continue(())
        });
        let summary = pollster::block_on(fit).unwrap();
        assert_eq!((summary.episodes, summary.steps, steps), (160, 40, 40));
        summary
    };
    let (one, two) = (run(None), run(Some("cpu,cpu")));
    let (ours, theirs) = (two.accuracy, one.accuracy);
    assert!(
        ours > 0.5 && (ours - theirs).abs() < 0.03,
        "{ours} {theirs}"
    );
    assert_ne!(two.loss, one.loss, "statistics are those of a share");
}

/// In half precision, checkpointed, with a batch norm, in passes, on devices of two kinds, resumed in the middle.
#[test]
fn everything_at_once_still_learns() {
    let all = devices();
    let device = &all[all.len() - 1];
    let others = [device.clone(), all[0].clone()];
    let hardware = HardwareConfig {
        precision: Precision::F16,
        gradient_checkpointing: true,
        micro_batch: Some(9),
        loss_scaler: LossScalerConfig {
            init_scale: 256.0,
            ..Default::default()
        },
        ..Default::default()
    };
    let config = ResNet18Config {
        width: 4,
        classes: CLASSES,
        channels: 1,
        ..Default::default()
    };
    let mut memory = Memory::default();
    let mut all_losses = Vec::new();
    for count in [6, 24] {
        let mut model = ResNet18::new(&config, &device.autodiff()).unwrap();
        let mut source = glyphs(1, 30);
        let config = TrainerConfig {
            schedule: Schedule::Constant { rate: 3e-3 },
            ..steps(count)
        };
        let mut trainer = trainer(device, config, hardware.clone());
        let mut events = Vec::new();
        let fit = trainer.fit_on_devices(
            &others,
            ParallelConfig::default(),
            &mut model,
            &CrossEntropy,
            Run::on(&mut source).saved_in(&mut memory),
            |event| {
                events.push(event.clone());
                ControlFlow::Continue(())
            },
        );
        pollster::block_on(fit).unwrap();
        all_losses.extend(losses(&events));
    }
    let (first, last) = (all_losses[0], all_losses[all_losses.len() - 1]);
    assert!(last < first * 0.6, "{all_losses:?}");
}
