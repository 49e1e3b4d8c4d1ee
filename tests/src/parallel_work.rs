//! What the tests of several devices and machines train.

use std::ops::Range;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use forgeling::data::{EpisodeBatch, EpisodeSampler, Glyphs, ImageBatch, ImageShape, Queries, Rng};
use forgeling::data::{Shots, Split, Ways};
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::{Conv4Config, MlpConfig};
use forgeling::nn::{Network, Normalization};
use forgeling::ops::{EpisodeCounts, episode_logits, softmax_cross_entropy};
use forgeling::parallel::{Contribution, ParallelConfig, Work};
use forgeling::train::weights::collect;
use forgeling::{Device, Result};

use super::networks::{features, outputs_of_rows};

/// Numbers of an input.
pub const INPUTS: usize = 12;
/// Classes.
pub const CLASSES: usize = 5;
/// Examples of a batch: no multiple of any number of devices that is tested.
pub const EXAMPLES: usize = 31;
/// Steps that are compared.
pub const STEPS: usize = 50;
/// Learning rate.
pub const RATE: f64 = 0.3;

/// The perceptron that the tests train.
///
/// # Errors
/// Never.
pub fn mlp(seed: u64, device: &Device) -> Result<Network> {
    let config = MlpConfig {
        input: Shape::Values(INPUTS),
        hidden: vec![23, 17],
        classes: CLASSES,
    };
    Ok(Network::new(&config.graph()?, seed, device))
}

/// Small buckets, so that there are several of them, and frequent comparisons.
pub fn config() -> ParallelConfig {
    ParallelConfig {
        bucket_bytes: 1000,
        check_every: 10,
        ..Default::default()
    }
}

/// The examples with these numbers of the batch of a step, which every rank can make for itself: points around a center for
/// each class.
pub fn examples(step: usize, range: Range<usize>) -> ImageBatch {
    let mut images = Vec::new();
    let mut labels = Vec::new();
    for number in range {
        let mut rng = Rng::new(1000 * step as u64 + number as u64);
        let label = rng.below(CLASSES);
        labels.push(label);
        let center = |input: usize| if input % CLASSES == label { 1.0 } else { 0.0 };
        images.extend((0..INPUTS).map(|input| center(input) + 0.8 * rng.normal()));
    }
    ImageBatch {
        shape: ImageShape {
            channels: 1,
            height: 1,
            width: INPUTS,
        },
        images,
        labels,
    }
}

/// Mean cross entropy of a perceptron, with its mean logit as a metric.
///
/// # Errors
/// When a label is no class.
pub fn classify(mlp: &Network, share: ImageBatch, device: &Device) -> Result<Contribution> {
    let examples = share.len();
    let x = TensorData::new(share.images, [examples, share.shape.len()]);
    let logits = outputs_of_rows(mlp, Tensor::from_data(x, &device.autodiff()))?;
    let loss = softmax_cross_entropy(logits.clone(), &share.labels)?;
    let gradients = GradientsParams::from_grads(loss.backward(), mlp);
    Ok(Contribution {
        gradients,
        loss,
        metrics: vec![logits.mean()],
        examples,
        statistics: Vec::new(),
    })
}

/// Episodes of a prototypical network, as training with episodes does them: a batch norm of a share's own.
#[derive(Debug)]
pub struct Prototypes;

impl<O> Work<Network, EpisodeBatch, O> for Prototypes {
    fn contribute(
        &self,
        encoder: &Network,
        share: EpisodeBatch,
        device: &Device,
    ) -> Result<Contribution> {
        let labels = share.query_labels();
        let counts = EpisodeCounts {
            episodes: share.episodes,
            ways: share.ways.get(),
            shots: share.shots.get(),
            queries: share.queries.get(),
        };
        let mut pixels = share.support;
        pixels.extend(share.query);
        let ImageShape {
            channels,
            height,
            width,
        } = share.shape;
        let dims = [pixels.len() / share.shape.len(), channels, height, width];
        let images = Tensor::from_data(TensorData::new(pixels, dims), &device.autodiff());
        let (features, statistics) = features(encoder, images, Normalization::Batch)?;
        let rows = [labels.len(), counts.ways];
        let logits = episode_logits(features, counts)?.reshape(rows);
        let loss = softmax_cross_entropy(logits, &labels)?;
        let gradients = GradientsParams::from_grads(loss.backward(), encoder);
        Ok(Contribution {
            gradients,
            loss,
            metrics: Vec::new(),
            examples: counts.episodes,
            statistics,
        })
    }
}

/// A small encoder.
///
/// # Errors
/// Never.
pub fn encoder(filters: usize, device: &Device) -> Result<Network> {
    let config = Conv4Config {
        filters,
        size: 16,
        blocks: 3,
        ..Default::default()
    };
    Ok(Network::new(&config.graph()?, 0, device))
}

/// Batches of `episodes` episodes of drawn characters of 16×16.
///
/// # Errors
/// Never.
pub fn episodes(count: usize, episodes: usize) -> Result<Vec<EpisodeBatch>> {
    let glyphs = Glyphs::new(3, Split::Train, 60)?.with_size(16)?;
    let mut sampler = EpisodeSampler::new(Ways::new(5)?, Shots::new(2)?, Queries::new(6)?, 5);
    (0..count)
        .map(|_| sampler.sample_batch(&glyphs, episodes))
        .collect()
}

/// Every value of `module` in one row.
///
/// # Panics
/// When the device fails.
pub fn values<M: Module>(module: &M) -> Vec<f32> {
    let named = pollster::block_on(collect(module)).unwrap();
    named.into_iter().flat_map(|tensor| tensor.values).collect()
}
