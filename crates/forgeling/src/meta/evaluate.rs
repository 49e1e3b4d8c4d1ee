//! Accuracy on unseen classes, with a confidence interval.

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::protonet::accuracies;
use super::score::mean_and_interval;
use super::{ProtoNet, PrototypeLoss};
use crate::data::{Dataset, EpisodeSampler, Queries, Shots, Ways};
use crate::device::Readback;
use crate::error::{Error, Result};
use crate::nn::{Normalization, Pass};
use crate::train::Objective;

/// Images of one forward pass when episodes may share it: enough to fill the cores, few enough that the
/// activations of 64 filters stay below 100 MB.
const IMAGES_PER_PASS: usize = 400;

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluateConfig {
    /// Classes of an episode. Default 5.
    pub ways: Ways,
    /// Support examples of each class. Default 5.
    pub shots: Shots,
    /// Query examples of each class. Default 15.
    pub queries: Queries,
    /// Number of episodes. Default 600, the field's minimum for a published figure.
    pub episodes: usize,
    /// Whether batch norm uses the statistics of each test episode, its queries included, instead of
    /// the running ones. It usually raises the figure, so it is always said. Default `false`.
    pub transductive: bool,
    /// Seed of the episodes. Default 0.
    pub seed: u64,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self {
            ways: Ways::DEFAULT,
            shots: Shots::DEFAULT,
            queries: Queries::DEFAULT,
            episodes: 600,
            transductive: false,
            seed: 0,
        }
    }
}

/// Mean accuracy over episodes and its 95 % confidence interval `1.96 s / sqrt(n)`, where `s` is the
/// standard deviation of the episodes' accuracies (with `n - 1`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean accuracy, as a fraction.
    pub accuracy: f64,
    /// Half the width of the 95 % confidence interval.
    pub ci95: f64,
    /// Number of episodes.
    pub episodes: usize,
    /// Whether the queries of an episode saw each other through batch norm.
    pub transductive: bool,
    /// Episodes evaluated in a second, rendering included.
    pub episodes_per_second: f64,
}

impl ProtoNet {
    /// Classifies the queries of `config.episodes` episodes of `data` and averages.
    ///
    /// # Errors
    /// When `data` does not fit the network or has too few classes or examples, when there are fewer than
    /// two episodes, and when the device fails.
    pub async fn evaluate(&self, data: &dyn Dataset, config: EvaluateConfig) -> Result<Evaluation> {
        const OPERATION: &str = "evaluate";
        self.check(data.image_shape(), OPERATION)?;
        if config.episodes < 2 {
            return Err(
                Error::invalid(OPERATION, "too few episodes for an interval")
                    .expected("at least 2")
                    .got(config.episodes),
            );
        }
        let begun = Instant::now();
        let encoder = self.frozen_encoder();
        let (ways, shots, queries) = (config.ways, config.shots, config.queries);
        let per_class = shots.get().saturating_add(queries.get());
        let images = ways.get().saturating_mul(per_class).max(1);
        // Statistics of several episodes together would not be those of an episode.
        let (normalization, per_pass) = if config.transductive {
            (Normalization::Batch, 1)
        } else {
            (Normalization::Running, (IMAGES_PER_PASS / images).max(1))
        };
        let mut sampler = EpisodeSampler::new(ways, shots, queries, config.seed);
        let mut results = Vec::new();
        while results.len() < config.episodes {
            let count = per_pass.min(config.episodes - results.len());
            let batch = sampler.sample_batch(data, count)?;
            let mut pass = Pass::new(normalization, self.device.tensors());
            let outcome = PrototypeLoss.forward(&encoder, &batch, &mut pass)?;
            let predictions = outcome.predictions.expect("episodes are classified");
            let [logits] = Readback::new().with(predictions.logits).run().await?;
            results.extend(accuracies(&logits, count, ways.get(), queries.get()));
        }
        let (accuracy, ci95) = mean_and_interval(&results);
        Ok(Evaluation {
            accuracy,
            ci95,
            episodes: config.episodes,
            transductive: config.transductive,
            episodes_per_second: config.episodes as f64 / begun.elapsed().as_secs_f64().max(1e-9),
        })
    }
}
