//! A network in training with the library's trainer, in half precision.

use forgeling::Device;
use forgeling::data::{EpisodeBatch, Task};
use forgeling::meta::{Distance, MetricLearner, Prototypes, TaskLoss};
use forgeling::nn::Network;
use forgeling::nn::zoo::Conv4Config;
use forgeling::train::{
    HardwareConfig, HardwareManager, LossScalerConfig, Precision, Trainer, TrainerConfig,
};

use crate::data::Episodes;
use crate::runner::{Contestant, Result, Turn, description, timed};

/// A network in training on one device.
pub struct Engine {
    description: String,
    trainer: Trainer,
    model: MetricLearner<Network, Prototypes>,
    batches: Vec<Vec<Task>>,
    steps: usize,
}

impl Engine {
    fn step(&mut self) -> Result<f64> {
        let place = self.steps % self.batches.len();
        self.steps += 1;
        let batch = &self.batches[place..=place];
        let step = self.trainer.step_on(&mut self.model, &TaskLoss, batch);
        Ok(pollster::block_on(step)?.loss)
    }
}

impl Contestant for Engine {
    fn name(&self) -> &str {
        "forgeling, f16"
    }

    fn device(&self) -> &str {
        &self.description
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        let device = self.trainer.manager().device().tensors().clone();
        timed(&device, steps, || self.step())
    }
}

/// Conv4 on episodes.
pub fn protonet(filters: usize, episodes: &Episodes, device: &Device) -> Result<Engine> {
    let config = HardwareConfig {
        precision: Precision::F16,
        // No step is to be skipped.
        loss_scaler: LossScalerConfig {
            init_scale: 1024.0,
            ..Default::default()
        },
        ..Default::default()
    };
    let manager = HardwareManager::on(device.clone(), config)?;
    let config = Conv4Config {
        filters,
        ..Default::default()
    };
    let batches = episodes.batches.iter().map(EpisodeBatch::tasks);
    Ok(Engine {
        description: description(device),
        trainer: Trainer::new(TrainerConfig::default(), manager)?,
        model: MetricLearner {
            encoder: Network::new(&config.graph()?, 0, device),
            head: Prototypes::new(Distance::Euclidean, &device.autodiff()),
        },
        batches: batches.collect::<forgeling::Result<_>>()?,
        steps: 0,
    })
}
