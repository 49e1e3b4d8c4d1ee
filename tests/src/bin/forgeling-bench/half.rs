//! ProtoNet's training step with activations of half precision, made of our operations.

use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor, TensorData};
use forgeling::nn::{Conv4, Conv4Config, Normalization};
use forgeling::ops::{EpisodeCounts, episode_logits, softmax_cross_entropy};
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, Readback};

use crate::data::Episodes;
use crate::runner::{Implementation, Result, Turn, description, timed};

const LEARNING_RATE: f64 = 1e-3;
/// Keeps small gradients from vanishing on their way.
const LOSS_SCALE: f64 = 1024.0;

/// A network in training on one device; its weights are f32.
pub struct Trained<'a> {
    description: String,
    device: Device,
    encoder: Conv4,
    optimizer: Adam,
    episodes: &'a Episodes,
    steps: usize,
}

impl<'a> Trained<'a> {
    pub fn new(filters: usize, episodes: &'a Episodes, device: &Device) -> Result<Self> {
        let config = Conv4Config {
            filters,
            ..Default::default()
        };
        let mut optimizer = Adam::new(AdamConfig::default())?;
        optimizer.set_loss_scale(LOSS_SCALE)?;
        Ok(Self {
            description: description(device),
            encoder: Conv4::new(&config, &device.autodiff())?,
            optimizer,
            device: device.clone(),
            episodes,
            steps: 0,
        })
    }

    fn step(&mut self) -> Result<f64> {
        let batch = &self.episodes.batches[self.steps % self.episodes.batches.len()];
        self.steps += 1;
        let counts = EpisodeCounts {
            episodes: batch.episodes,
            ways: batch.ways.get(),
            shots: batch.shots.get(),
            queries: batch.queries.get(),
        };
        let labels = batch.query_labels();
        let pixels = [batch.support.as_slice(), &batch.query].concat();
        let shape = [
            counts.rows(),
            batch.shape.channels,
            batch.shape.height,
            batch.shape.width,
        ];
        let images =
            Tensor::<4>::from_data(TensorData::new(pixels, shape), &self.device.autodiff());
        let (features, statistics) = self
            .encoder
            .forward(images.cast(DType::F16), Normalization::Batch)?;
        let logits = episode_logits(features, counts)?.reshape([labels.len(), counts.ways]);
        let loss = softmax_cross_entropy(logits, &labels)?;
        let gradients = (loss.clone() * LOSS_SCALE).backward();
        let gradients = GradientsParams::from_grads(gradients, &self.encoder);
        self.encoder = self
            .optimizer
            .step(LEARNING_RATE, self.encoder.clone(), gradients)
            .absorb(statistics);
        let [loss] = pollster::block_on(Readback::new().with(loss).run())?;
        Ok(f64::from(loss[0]))
    }
}

impl Implementation for Trained<'_> {
    fn name(&self) -> &str {
        "forgeling, f16"
    }

    fn device(&self) -> &str {
        &self.description
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        timed(&self.device.tensors().clone(), steps, || self.step())
    }
}
