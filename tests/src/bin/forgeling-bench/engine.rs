//! Networks in training with the library's trainer, in one of its ways of saving memory.

use forgeling::Device;
use forgeling::data::{EpisodeBatch, ImageBatch, ImageShape};
use forgeling::meta::PrototypeLoss;
use forgeling::nn::{Conv4, Conv4Config, Mlp, MlpConfig, ResNet18, ResNet18Config, Vit, VitConfig};
use forgeling::train::{
    CrossEntropy, HardwareConfig, HardwareManager, LossScalerConfig, Objective, Precision,
    Trainable, Trainer, TrainerConfig,
};

use crate::data::{Digits, Episodes, Pictures};
use crate::runner::{Implementation, OURS, Result, Turn, description, timed};

/// A way of training.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    pub name: &'static str,
    pub precision: Precision,
    pub checkpointing: bool,
}

impl Mode {
    pub const F32: Self = Self::new(OURS, Precision::F32, false);
    pub const F16: Self = Self::new("forgeling, f16", Precision::F16, false);

    pub const fn new(name: &'static str, precision: Precision, checkpointing: bool) -> Self {
        Self {
            name,
            precision,
            checkpointing,
        }
    }

    fn trainer(self, device: &Device) -> forgeling::Result<Trainer> {
        let config = HardwareConfig {
            precision: self.precision,
            gradient_checkpointing: self.checkpointing,
            // No step is to be skipped.
            loss_scaler: LossScalerConfig {
                init_scale: 1024.0,
                ..Default::default()
            },
            ..Default::default()
        };
        let manager = HardwareManager::on(device.clone(), config)?;
        Trainer::new(TrainerConfig::default(), manager)
    }
}

/// A network in training on one device.
pub struct Engine<M, O: Objective<M>> {
    name: &'static str,
    description: String,
    trainer: Trainer,
    model: M,
    objective: O,
    batches: Vec<O::Batch>,
    steps: usize,
}

impl<M: Trainable, O: Objective<M>> Engine<M, O> {
    fn new(
        mode: Mode,
        model: M,
        objective: O,
        batches: Vec<O::Batch>,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self {
            name: mode.name,
            description: description(device),
            trainer: mode.trainer(device)?,
            model,
            objective,
            batches,
            steps: 0,
        })
    }

    fn step(&mut self) -> Result<f64> {
        let place = self.steps % self.batches.len();
        self.steps += 1;
        let batch = &self.batches[place..=place];
        let step = self
            .trainer
            .step_on(&mut self.model, &self.objective, batch);
        Ok(pollster::block_on(step)?.loss)
    }
}

impl<M: Trainable, O: Objective<M>> Implementation for Engine<M, O> {
    fn name(&self) -> &str {
        self.name
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
pub fn protonet(
    mode: Mode,
    filters: usize,
    episodes: &Episodes,
    device: &Device,
) -> Result<Engine<Conv4, PrototypeLoss>> {
    let config = Conv4Config {
        filters,
        ..Default::default()
    };
    let model = Conv4::new(&config, &device.autodiff())?;
    let batches: Vec<EpisodeBatch> = episodes.batches.clone();
    Engine::new(mode, model, PrototypeLoss, batches, device)
}

/// ResNet-18 on colour images.
pub fn resnet(
    mode: Mode,
    pictures: &Pictures,
    device: &Device,
) -> Result<Engine<ResNet18, CrossEntropy>> {
    let config = ResNet18Config {
        channels: Pictures::CHANNELS,
        classes: Pictures::CLASSES,
        ..Default::default()
    };
    let shape = ImageShape::new(Pictures::CHANNELS, Pictures::SIZE, Pictures::SIZE);
    let batches = pictures.batches.iter().map(|batch| ImageBatch {
        shape,
        images: batch.images.clone(),
        labels: batch.labels.clone(),
    });
    let model = ResNet18::new(&config, &device.autodiff())?;
    Engine::new(mode, model, CrossEntropy, batches.collect(), device)
}

fn digits(digits: &Digits) -> Vec<ImageBatch> {
    let batches = digits.batches.iter().map(|batch| ImageBatch {
        shape: ImageShape::new(1, 28, 28),
        images: batch.images.clone(),
        labels: batch.labels.iter().map(|&label| label.into()).collect(),
    });
    batches.collect()
}

/// A perceptron on grey images.
pub fn mlp(mode: Mode, data: &Digits, device: &Device) -> Result<Engine<Mlp, CrossEntropy>> {
    let config = MlpConfig {
        hidden: vec![400, 400],
        ..Default::default()
    };
    let model = Mlp::new(&config, &device.autodiff())?;
    Engine::new(mode, model, CrossEntropy, digits(data), device)
}

/// A small Vision Transformer on grey images.
pub fn vit(mode: Mode, data: &Digits, device: &Device) -> Result<Engine<Vit, CrossEntropy>> {
    let model = Vit::new(&VitConfig::default(), &device.autodiff())?;
    Engine::new(mode, model, CrossEntropy, digits(data), device)
}
