//! What several devices are measured with.

use forgeling::data::{
    Dataset, EpisodeBatch, EpisodeSampler, Glyphs, ImageBatch, Queries, Rng, Shots, Split, Ways,
};
use forgeling::nn::Network;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::{Conv4Config, MlpConfig};
use forgeling::train::{Sgd, SgdConfig};
use forgeling::{Device, Result};

/// What is measured with a perceptron.
pub const DIGITS: &str = "MLP training step, 784-400-400-10, batch 512";
/// What is measured with a prototypical network.
pub const EPISODES: &str = "ProtoNet Conv4-32, 5-way 5-shot, 8 episodes";
/// Learning rate.
pub const RATE: f64 = 0.05;

/// Batches that recur.
const BATCHES: usize = 4;
const CLASSES: usize = 10;

/// An optimizer.
///
/// # Errors
/// Never.
pub fn sgd() -> Result<Sgd> {
    Sgd::new(SgdConfig {
        momentum: 0.9,
        ..Default::default()
    })
}

/// The perceptron of [`DIGITS`].
///
/// # Errors
/// Never.
pub fn mlp(device: &Device) -> Result<Network> {
    let config = MlpConfig {
        input: Shape::Values(784),
        hidden: vec![400, 400],
        classes: CLASSES,
    };
    Ok(Network::new(&config.graph()?, 0, device))
}

/// Its batches: drawn characters of ten classes.
///
/// # Errors
/// Never.
pub fn digits() -> Result<Vec<ImageBatch>> {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES)?;
    let mut rng = Rng::new(0);
    let shape = glyphs.image_shape();
    let batch = |_| {
        let mut images = vec![0.0; 512 * shape.len()];
        let mut labels = Vec::new();
        for image in images.chunks_exact_mut(shape.len()) {
            let class = rng.below(CLASSES);
            glyphs.read(class, rng.below(glyphs.class_len(class)), image)?;
            labels.push(class);
        }
        Ok(ImageBatch {
            shape,
            images,
            labels,
        })
    };
    (0..BATCHES).map(batch).collect()
}

/// The encoder of [`EPISODES`].
///
/// # Errors
/// Never.
pub fn encoder(device: &Device) -> Result<Network> {
    let config = Conv4Config {
        filters: 32,
        ..Default::default()
    };
    Ok(Network::new(&config.graph()?, 0, device))
}

/// Its batches.
///
/// # Errors
/// Never.
pub fn episodes() -> Result<Vec<EpisodeBatch>> {
    let glyphs = Glyphs::new(0, Split::Train, 1000)?;
    let mut sampler = EpisodeSampler::new(Ways::DEFAULT, Shots::DEFAULT, Queries::DEFAULT, 0);
    (0..BATCHES)
        .map(|_| sampler.sample_batch(&glyphs, 8))
        .collect()
}

/// The number in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
