//! Perceptrons: ours, and one of burn's own layers.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::relu;
use burn::tensor::{Device as Tensors, Int, Tensor, TensorData};
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::MlpTrainer;
use forgeling::{Device, Readback};

use crate::data::{DigitBatch, Digits};
use crate::runner::{Contestant, OURS, Result, Turn, description, timed};

/// What is measured, for the table.
pub const WORKLOAD: &str = "MLP training step, 784-400-400-10, batch 128";

const HIDDEN: usize = 400;
const LEARNING_RATE: f64 = 1e-3;

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Mlp {
    fn new(device: &Tensors) -> Self {
        Self {
            first: LinearConfig::new(Digits::PIXELS, HIDDEN).init(device),
            second: LinearConfig::new(HIDDEN, HIDDEN).init(device),
            last: LinearConfig::new(HIDDEN, Digits::CLASSES).init(device),
        }
    }

    fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        let hidden = relu(self.first.forward(images));
        self.last.forward(relu(self.second.forward(hidden)))
    }
}

/// Our perceptron in training on one device.
pub struct Ours<'a> {
    description: String,
    device: Tensors,
    trainer: MlpTrainer,
    digits: &'a Digits,
    steps: usize,
}

impl<'a> Ours<'a> {
    pub fn new(digits: &'a Digits, device: &Device) -> Result<Self> {
        let config = MlpConfig {
            input: Shape::Values(Digits::PIXELS),
            hidden: vec![HIDDEN, HIDDEN],
            classes: Digits::CLASSES,
        };
        Ok(Self {
            description: description(device),
            device: device.autodiff(),
            trainer: MlpTrainer::new(&config, 0, device)?,
            digits,
            steps: 0,
        })
    }
}

impl Contestant for Ours<'_> {
    fn name(&self) -> &str {
        OURS
    }

    fn device(&self) -> &str {
        &self.description
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        timed(&self.device.clone(), steps, || {
            let batch = &self.digits.batches[self.steps % self.digits.batches.len()];
            let labels: Vec<usize> = batch.labels.iter().copied().map(usize::from).collect();
            self.steps += 1;
            let images = batch.images.clone();
            let step = self.trainer.step(images, &labels, LEARNING_RATE);
            Ok(pollster::block_on(step)?)
        })
    }
}

/// A perceptron of burn's layers in training on one device.
pub struct Trained<'a> {
    name: String,
    description: String,
    device: Tensors,
    model: Mlp,
    optimizer: ModuleOptimizer,
    digits: &'a Digits,
    steps: usize,
}

impl<'a> Trained<'a> {
    pub fn new(name: &str, digits: &'a Digits, device: &Device) -> Self {
        Self {
            name: name.to_owned(),
            description: description(device),
            model: Mlp::new(&device.autodiff()),
            optimizer: AdamConfig::new().with_epsilon(1e-8).init(),
            device: device.autodiff(),
            digits,
            steps: 0,
        }
    }

    fn step(&mut self, batch: &DigitBatch) -> Result<f64> {
        let images = TensorData::new(batch.images.clone(), [Digits::BATCH, Digits::PIXELS]);
        let labels: Vec<i32> = batch.labels.iter().copied().map(i32::from).collect();
        let labels = TensorData::new(labels, [Digits::BATCH]);
        let logits = self.model.forward(Tensor::from_data(images, &self.device));
        let labels = Tensor::<1, Int>::from_data(labels, &self.device);
        let loss = CrossEntropyLossConfig::new()
            .init(&self.device)
            .forward(logits, labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        self.model = self
            .optimizer
            .step(LEARNING_RATE, self.model.clone(), gradients);
        let [loss] = pollster::block_on(Readback::new().with(loss).run())?;
        Ok(f64::from(loss[0]))
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
        timed(&self.device.clone(), steps, || {
            let digits = self.digits;
            let loss = self.step(&digits.batches[self.steps % digits.batches.len()])?;
            self.steps += 1;
            Ok(loss)
        })
    }
}
