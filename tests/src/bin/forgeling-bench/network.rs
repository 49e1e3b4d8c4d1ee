//! ResNet-18's training step, with our operations and with stock ones of burn.

use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::ImageShape;
use forgeling::nn::zoo::ResNetConfig;
use forgeling::nn::{Network, Normalization, absorb};
use forgeling::ops::{Implementation, set_implementation, softmax_cross_entropy};
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, Readback};
use forgeling_tests::networks::outputs;

use crate::data::{PictureBatch, Pictures};
use crate::runner::{Contestant, OURS, Result, Turn, description, timed};

/// What is measured, for the table.
pub const WORKLOAD: &str = "ResNet-18 32x32 batch 32 training step";

const LEARNING_RATE: f64 = 1e-3;

/// A network in training on one device.
pub struct Trained<'a> {
    name: String,
    description: String,
    implementation: Implementation,
    device: Device,
    model: Network,
    optimizer: Adam,
    pictures: &'a Pictures,
    steps: usize,
}

impl<'a> Trained<'a> {
    pub fn ours(pictures: &'a Pictures, device: &Device) -> Result<Self> {
        Self::new(OURS, Implementation::Own, pictures, device)
    }

    pub fn composite(name: &str, pictures: &'a Pictures, device: &Device) -> Result<Self> {
        Self::new(name, Implementation::Composite, pictures, device)
    }

    fn new(
        name: &str,
        implementation: Implementation,
        pictures: &'a Pictures,
        device: &Device,
    ) -> Result<Self> {
        let config = ResNetConfig {
            input: ImageShape::new(Pictures::CHANNELS, Pictures::SIZE, Pictures::SIZE),
            classes: Pictures::CLASSES,
            ..Default::default()
        };
        Ok(Self {
            name: name.to_owned(),
            description: description(device),
            implementation,
            model: Network::new(&config.graph()?, 0, device),
            optimizer: Adam::new(AdamConfig::default())?,
            device: device.clone(),
            pictures,
            steps: 0,
        })
    }

    fn step(&mut self, batch: &PictureBatch) -> Result<f64> {
        let size = Pictures::SIZE;
        let shape = [Pictures::BATCH, Pictures::CHANNELS, size, size];
        let images = TensorData::new(batch.images.clone(), shape);
        let images = Tensor::<4>::from_data(images, &self.device.autodiff());
        let (logits, statistics) = outputs(&self.model, images, Normalization::Batch)?;
        let loss = softmax_cross_entropy(logits, &batch.labels)?;
        let gradients = GradientsParams::from_grads(loss.clone().backward(), &self.model);
        let model = self.model.clone();
        let model = self.optimizer.step(LEARNING_RATE, model, gradients);
        self.model = absorb(model, statistics)?;
        let [loss] = pollster::block_on(Readback::new().with(loss).run())?;
        Ok(f64::from(loss[0]))
    }

    fn steps(&mut self, steps: usize) -> Result<Turn> {
        timed(&self.device.tensors().clone(), steps, || {
            let pictures = self.pictures;
            let loss = self.step(&pictures.batches[self.steps % pictures.batches.len()])?;
            self.steps += 1;
            Ok(loss)
        })
    }
}

impl Contestant for Trained<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> &str {
        &self.description
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        set_implementation(self.implementation);
        let turn = self.steps(steps);
        set_implementation(Implementation::Own);
        turn
    }
}
