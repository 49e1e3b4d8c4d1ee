//! What all runs train: a perceptron on a few invented characters.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::module::Module;
use forgeling::data::{Glyphs, Loader, LoaderConfig, Split, Subset};
use forgeling::nn::Network;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::weights::collect;
use forgeling::train::{
    Classify, CrossEntropy, Epochs, HardwareConfig, HardwareManager, Run, TrainEvent, TrainSummary,
    Trainer, TrainerConfig,
};
use forgeling::{Device, DeviceChoice};
pub use forgeling_tests::checkpoints::Memory;

pub const CLASSES: usize = 5;
pub const SIZE: usize = 12;

pub fn glyphs(seed: u64, batch_size: usize) -> Epochs {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES).unwrap();
    let glyphs = Subset::first(glyphs.with_size(SIZE).unwrap(), 24).unwrap();
    let config = LoaderConfig {
        batch_size,
        seed,
        ..Default::default()
    };
    Epochs::of(Loader::new(Arc::new(glyphs), config).unwrap())
}

pub fn mlp_config() -> MlpConfig {
    MlpConfig {
        input: Shape::Values(SIZE * SIZE),
        hidden: vec![48],
        classes: CLASSES,
    }
}

pub fn mlp(device: &Device) -> Network {
    network(&mlp_config(), device)
}

pub fn network(config: &MlpConfig, device: &Device) -> Network {
    Network::new(&config.graph().unwrap(), 2, device)
}

pub fn trainer(device: &Device, config: TrainerConfig, hardware: HardwareConfig) -> Trainer {
    let manager = HardwareManager::on(device.clone(), hardware).unwrap();
    Trainer::new(config, manager).unwrap()
}

pub fn steps(count: usize) -> TrainerConfig {
    TrainerConfig {
        steps: Some(count),
        ..Default::default()
    }
}

pub fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// Losses of the steps, and all events.
pub fn fit<M: Classify>(
    trainer: &mut Trainer,
    model: &mut M,
    run: Run<'_, Epochs, M>,
) -> (Vec<f64>, Vec<TrainEvent>, TrainSummary) {
    let mut events = Vec::new();
    let summary = trainer.fit(model, &CrossEntropy, run, |event| {
        events.push(event.clone());
        ControlFlow::Continue(())
    });
    let summary = pollster::block_on(summary).unwrap();
    (losses(&events), events, summary)
}

pub fn losses(events: &[TrainEvent]) -> Vec<f64> {
    let loss = |event: &TrainEvent| match event {
        TrainEvent::Step(step) => Some(step.loss),
        _ => None,
    };
    events.iter().filter_map(loss).collect()
}

pub fn values(model: &impl Module) -> Vec<f32> {
    let tensors = pollster::block_on(collect(model)).unwrap();
    tensors
        .into_iter()
        .flat_map(|tensor| tensor.values)
        .collect()
}

pub fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f32::max)
}
