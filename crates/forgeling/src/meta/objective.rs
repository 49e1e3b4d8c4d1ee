//! What prototypical networks minimise.

use burn::tensor::TensorData;

use crate::data::EpisodeBatch;
use crate::error::Result;
use crate::nn::{Conv4, Pass};
use crate::ops::{EpisodeCounts, episode_logits};
use crate::train::{Objective, Outcome, Predictions};

/// The mean cross entropy of an episode's queries over their squared distances to the prototypes:
///
/// `-log softmax_n(-|f(q) - c_n|^2)[label]`, `c_n = mean_k f(s_nk)`
///
/// All images of a batch, support and queries alike, go through the encoder in one pass, and are normalised together.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrototypeLoss;

impl Objective<Conv4> for PrototypeLoss {
    type Batch = EpisodeBatch;

    fn forward<'a>(
        &self,
        model: &'a Conv4,
        batch: &EpisodeBatch,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        let counts = EpisodeCounts {
            episodes: batch.episodes,
            ways: batch.ways.get(),
            shots: batch.shots.get(),
            queries: batch.queries.get(),
        };
        let shape = batch.shape;
        let dims = [counts.rows(), shape.channels, shape.height, shape.width];
        let pixels = [&batch.support[..], &batch.query].concat();
        let images = pass.values(TensorData::new(pixels, dims));
        let features = model.forward_with(images, pass)?;
        let logits = pass.output(episode_logits(features, counts)?);
        let labels = batch.query_labels();
        let rows = logits.reshape([labels.len(), counts.ways]);
        Predictions::cross_entropy(rows, labels)
    }
}
