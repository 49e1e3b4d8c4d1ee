//! A run of training that can be stopped at any moment and started again: the subject of `tests/resume.rs`.
//!
//! `forgeling-resume FOLDER STEPS EVERY` goes on from the latest checkpoint in `FOLDER`, if there is one, saves one
//! every `EVERY` steps, and prints a line for each step, its number and the bits of its loss, and one for each
//! validation.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

use forgeling::data::{Glyphs, Loader, LoaderConfig, RandomAffine, Split, Subset};
use forgeling::nn::Network;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::{
    AdamConfig, CheckpointConfig, CheckpointStore, CrossEntropy, EarlyStoppingConfig, EmaConfig,
    Epochs, Goal, HardwareConfig, HardwareManager, OptimizerConfig, Run, Schedule, TrainEvent,
    Trainer, TrainerConfig,
};
use forgeling::{DeviceChoice, Error, Result};

const CLASSES: usize = 5;
const SIZE: usize = 12;

fn glyphs(seed: u64, augment: Option<RandomAffine>) -> Result<Epochs> {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES)?.with_size(SIZE)?;
    let glyphs = Subset::first(glyphs, 24)?;
    let config = LoaderConfig {
        batch_size: 16,
        seed,
        workers: 2,
        augment,
        ..Default::default()
    };
    Ok(Epochs::of(Loader::new(Arc::new(glyphs), config)?))
}

async fn train(folder: &str, steps: usize, every: usize) -> Result<()> {
    let hardware = HardwareConfig {
        device: DeviceChoice::Cpu,
        ..Default::default()
    };
    let manager = HardwareManager::open(hardware).await?;
    let config = MlpConfig {
        input: Shape::Values(SIZE * SIZE),
        hidden: vec![128, 64],
        classes: CLASSES,
    };
    let mut model = Network::new(&config.graph()?, 1, manager.device());
    let schedule = Schedule::Cosine {
        initial: 0.01,
        floor: 0.0001,
        steps,
    };
    let config = TrainerConfig {
        steps: Some(steps),
        optimizer: OptimizerConfig::Adam(AdamConfig {
            clip_norm: Some(1.0),
            ..Default::default()
        }),
        schedule: schedule.with_warm_up(30),
        accumulate: 2,
        ema: Some(EmaConfig {
            decay: 0.98,
            warm_up: true,
        }),
        early_stopping: Some(EarlyStoppingConfig {
            patience: usize::MAX,
            ..Default::default()
        }),
        validate_every: Some(25),
        checkpoint_every: Some(every),
        ..Default::default()
    };
    let keep = CheckpointConfig {
        keep_last: 2,
        keep_best: Some(Goal::Minimize),
    };
    let mut store = CheckpointStore::open(folder, keep)?;
    if let Some(damaged) = store.latest()?.damaged.into_iter().next() {
        // Training would go on from an older one; but no kill may break a file.
        return Err(damaged.error);
    }
    let mut source = glyphs(1, Some(RandomAffine::default()))?;
    let mut validation = glyphs(2, None)?;
    let run = Run::on(&mut source).validated_on("held out", &mut validation);
    let mut trainer = Trainer::new(config, manager)?;
    let told = |event: &TrainEvent| {
        match event {
            TrainEvent::Step(step) => println!("{} {:016x}", step.step, step.loss.to_bits()),
            TrainEvent::Validated {
                step, validation, ..
            } => {
                println!("{step} validated {:016x}", validation.loss.to_bits());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let summary = trainer
        .fit(&mut model, &CrossEntropy, run.saved_in(&mut store), told)
        .await?;
    if summary.steps != steps {
        return Err(Error::invalid("train", "it has ended early").got(summary.steps));
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, steps, every] = &*arguments else {
        eprintln!("usage: forgeling-resume FOLDER STEPS EVERY");
        return ExitCode::from(2);
    };
    let (Ok(steps), Ok(every)) = (steps.parse(), every.parse()) else {
        eprintln!("STEPS and EVERY are numbers");
        return ExitCode::from(2);
    };
    match pollster::block_on(train(folder, steps, every)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
