//! Runs that go wrong, and what is left of them.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use burn::module::Module;
use forgeling::data::{Glyphs, ImageShape, Loader, LoaderConfig, Split, Subset};
use forgeling::nn::Network;
use forgeling::nn::graph::Graph;
use forgeling::nn::zoo::{Conv4Config, ResNetConfig};
use forgeling::parallel::ParallelConfig;
use forgeling::train::{
    Checkpoint, CheckpointConfig, CheckpointStore, Checkpoints, Classify, CrossEntropy, Epochs,
    HardwareConfig, Run, Schedule, TrainEvent, TrainerConfig,
};
use forgeling::{Device, Error, ErrorKind, Result};
use forgeling_tests::devices;
use forgeling_tests::networks::with_change;

use super::common::{CLASSES, Memory, cpu, fit, glyphs, mlp, steps, trainer, values};

/// Large enough for four poolings.
fn pictures(batch_size: usize) -> Epochs {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES).unwrap();
    let glyphs = Subset::first(glyphs.with_size(16).unwrap(), 12).unwrap();
    let config = LoaderConfig {
        batch_size,
        ..Default::default()
    };
    Epochs::of(Loader::new(Arc::new(glyphs), config).unwrap())
}

/// The error of a run's first step on so many devices.
fn failure<M: Classify + 'static>(
    model: &mut M,
    devices: &[Device],
    hardware: HardwareConfig,
) -> Error {
    let mut trainer = trainer(&devices[0], steps(5), hardware);
    let mut source = pictures(20);
    let run = Run::on(&mut source);
    let go_on = |_: &TrainEvent| ControlFlow::Continue(());
    let result = match devices {
        [_] => pollster::block_on(trainer.fit(model, &CrossEntropy, run, go_on)),
        several => {
            let config = ParallelConfig::default();
            let fit = trainer.fit_on_devices(several, config, model, &CrossEntropy, run, go_on);
            pollster::block_on(fit)
        }
    };
    assert_eq!(trainer.steps(), 0, "when it happens");
    result.unwrap_err()
}

/// The variance of what such weights make is beyond what f32 holds. On the CPU all that comes after is constant: the loss
/// and all gradients are finite.
fn overflowing(device: &Device) -> (Network, Network) {
    let network = |graph: Graph| Network::new(&graph, 0, device);
    let config = Conv4Config {
        filters: 8,
        size: 16,
        ..Default::default()
    };
    let conv4 = network(config.graph().unwrap().with_outputs(CLASSES).unwrap());
    let conv4 = with_change(conv4, "blocks.1.weight", |weight| weight * 1e24);
    let config = ResNetConfig {
        input: ImageShape::new(1, 16, 16),
        classes: CLASSES,
        width: 4,
        ..Default::default()
    };
    let resnet = network(config.graph().unwrap());
    let resnet = with_change(resnet, "blocks.0.first.norm.gamma", |gamma| gamma * 1e24);
    (conv4, resnet)
}

fn assert_overflow<M: Classify + 'static>(
    model: &mut M,
    devices: &[Device],
    hardware: HardwareConfig,
    place: &str,
) {
    let before = values(model);
    let error = failure(model, devices, hardware);
    assert!(error.is_diverged(), "{error}");
    let named = |what: &str| {
        error
            .to_string()
            .contains(&format!("{what} {place} is not"))
    };
    let advice = error.expectation().unwrap();
    assert!(advice.contains("a smaller learning rate"), "{error}");
    assert!(error.to_string().contains("at step 1"), "{error}");
    let loss = error.found().unwrap().strip_prefix("a loss of ").unwrap();
    let finite = loss.parse::<f64>().unwrap().is_finite();
    // Some GPUs make NaN of it, which a loss shows.
    let shown = !devices[0].is_cpu() && !finite && named("the output of");
    assert!(shown || finite && named("the variance in"), "{error}");
    assert_eq!(values(model), before);
}

#[test]
fn a_batch_norm_that_overflows_stops_training_and_is_named() {
    for device in devices() {
        for micro_batch in [None, Some(6)] {
            let hardware = HardwareConfig {
                micro_batch,
                ..Default::default()
            };
            let (mut conv4, mut resnet) = overflowing(&device);
            let one = [device.clone()];
            assert_overflow(&mut conv4, &one, hardware.clone(), "blocks.1");
            assert_overflow(&mut resnet, &one, hardware, "blocks.0");
        }
    }
    // One replica, and two that average their gradients.
    let device = cpu();
    for count in [1, 2] {
        let several = vec![device.clone(); count];
        let (mut conv4, _) = overflowing(&device);
        let mut trainer = trainer(&device, steps(5), Default::default());
        let mut source = pictures(20);
        let fit = trainer.fit_on_devices(
            &several,
            ParallelConfig::default(),
            &mut conv4,
            &CrossEntropy,
            Run::on(&mut source),
            |_| ControlFlow::Continue(()),
        );
        let error = pollster::block_on(fit).unwrap_err();
        assert!(error.is_diverged(), "{error}");
        assert!(
            error.to_string().contains("the variance in blocks.1"),
            "{error}"
        );
    }
}

/// Takes nothing.
struct Full;

impl Checkpoints for Full {
    fn latest(&mut self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        Ok((None, Vec::new()))
    }

    fn save(&mut self, _checkpoint: &Checkpoint) -> Result<String> {
        Err(Error::new(ErrorKind::Io, "save", "no room"))
    }
}

#[test]
fn a_run_whose_last_checkpoint_cannot_be_saved_leaves_its_model_behind() {
    let device = cpu();
    let config = TrainerConfig {
        ema: Some(Default::default()),
        ..steps(4)
    };
    let mut whole = mlp(&device);
    // Six steps in an epoch, so that only the end is saved.
    let mut source = glyphs(1, 20);
    fit(
        &mut trainer(&device, config.clone(), Default::default()),
        &mut whole,
        Run::on(&mut source),
    );
    let mut model = mlp(&device);
    let mut source = glyphs(1, 20);
    let mut trainer = trainer(&device, config, Default::default());
    let mut full = Full;
    let run = Run::on(&mut source).saved_in(&mut full);
    let error = pollster::block_on(trainer.fit(&mut model, &CrossEntropy, run, |_| {
        ControlFlow::Continue(())
    }));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(values(&model), values(&whole));
}

#[test]
fn where_every_checkpoint_is_damaged_training_does_not_begin_anew() {
    let device = cpu();
    let folder = tempfile::tempdir().unwrap();
    let open = || CheckpointStore::open(folder.path(), CheckpointConfig::default()).unwrap();
    let attempt = |count: usize| {
        let mut model = mlp(&device);
        let mut source = glyphs(1, 17);
        let mut store = open();
        let mut trainer = trainer(&device, steps(count), Default::default());
        let run = Run::on(&mut source).saved_in(&mut store);
        let fit = trainer.fit(
            &mut model,
            &CrossEntropy,
            run,
            |_| ControlFlow::Continue(()),
        );
        pollster::block_on(fit).map(|summary| (summary.steps, model.num_params()))
    };
    attempt(3).unwrap();
    let files = || -> Vec<_> {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let [file] = &files()[..] else {
        panic!("one checkpoint")
    };
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[1..]).unwrap();
    let error = attempt(5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadData, "{error}");
    assert!(
        error.to_string().contains("every checkpoint is damaged"),
        "{error}"
    );
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
    assert!(files() == [file.clone()] && fs::read(file).unwrap() == bytes[1..]);
    fs::write(file, bytes).unwrap();
    assert_eq!(attempt(5).unwrap().0, 5);
}

/// As where there are to be more epochs than at first.
#[test]
fn a_resumed_run_follows_the_schedule_that_it_is_given() {
    let device = cpu();
    let cosine = |steps| Schedule::Cosine {
        initial: 0.01,
        floor: 0.0,
        steps,
    };
    let mut memory = Memory::default();
    let mut rates = Vec::new();
    for (count, total) in [(8, 8), (20, 20)] {
        let config = TrainerConfig {
            schedule: cosine(total),
            ..steps(count)
        };
        let (mut model, mut source) = (mlp(&device), glyphs(1, 30));
        let mut trainer = trainer(&device, config, Default::default());
        let run = Run::on(&mut source).saved_in(&mut memory);
        let (_, events, _) = fit(&mut trainer, &mut model, run);
        rates.extend(events.iter().filter_map(|event| match event {
            TrainEvent::Step(step) => Some(step.learning_rate),
            _ => None,
        }));
    }
    let expected: Vec<f64> = (0..20)
        .map(|step| cosine(if step < 8 { 8 } else { 20 }).rate(step))
        .collect();
    assert_eq!(rates, expected);
    assert!(rates[8] > rates[7], "up again, and down to the new end");
}

#[test]
fn the_last_whole_epoch_is_told_at_the_end() {
    let device = cpu();
    let mut memory = Memory::default();
    for count in [3, 10, 14, 14] {
        // Eight steps in an epoch.
        let (mut model, mut source) = (mlp(&device), glyphs(1, 15));
        let mut trainer = trainer(&device, steps(count), Default::default());
        let run = Run::on(&mut source).saved_in(&mut memory);
        let (_, events, summary) = fit(&mut trainer, &mut model, run);
        let told = events.iter().find_map(|event| match *event {
            TrainEvent::Epoch {
                loss,
                accuracy,
                epoch,
                ..
            } => Some((epoch, loss, accuracy)),
            _ => None,
        });
        let last = summary
            .last_epoch
            .map(|last| (last.epoch, last.loss, last.accuracy));
        assert_eq!(last.is_some(), count > 3);
        assert_eq!(told.is_some(), count == 10);
        if told.is_some() {
            assert_eq!(last, told);
            assert!(
                (last.unwrap().1 - summary.loss).abs() > 1e-6,
                "others than the last steps'"
            );
        }
    }
}
