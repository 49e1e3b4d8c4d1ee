//! Runs on several devices, and as ranks of several processes.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forgeling::data::{Glyphs, ImageBatch, ImageShape, Split};
use forgeling::meta::{FitConfig, Learner};
use forgeling::nn::zoo::{Conv4Config, ResNetConfig};
use forgeling::nn::{Network, Pass};
use forgeling::parallel::{Local, ParallelConfig};
use forgeling::train::{
    Classify, CrossEntropy, HardwareConfig, LossScalerConfig, Objective, OptimizerConfig, Outcome,
    Precision, Run, Schedule, SgdConfig, TrainEvent, TrainerConfig,
};
use forgeling::{Device, Error, ErrorKind, Result};
use forgeling_tests::devices;

use super::common::{
    CLASSES, Memory, SIZE, cpu, fit, furthest, glyphs, losses, mlp, steps, trainer, values,
};

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

impl<M: Classify> Objective<M> for Lost {
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
        let mut model = Learner::protonet(&config.graph().unwrap(), 0, &device).unwrap();
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
    let config = ResNetConfig {
        width: 4,
        classes: CLASSES,
        input: ImageShape::new(1, SIZE, SIZE),
        ..Default::default()
    };
    let graph = config.graph().unwrap();
    let mut memory = Memory::default();
    let mut all_losses = Vec::new();
    for count in [6, 24] {
        let mut model = Network::new(&graph, 0, device);
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
