//! Prototypes: the mean of each class.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::embedded::{Embedded, products, unit};
use super::scale::Scale;
use super::{MetricHead, Trainable};
use crate::device::TensorDevice;
use crate::error::Result;
use crate::nn::Pass;
use crate::ops::{EpisodeCounts, episode_logits, matmul, prototype_logits};

/// How far a query is from a class, whose support has the mean `c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// Squared and Euclidean: `logit = -|q - c|^2`. The default. Snell et al., *Prototypical Networks for Few-shot
    /// Learning*, 2017 (arXiv 1703.05175).
    #[default]
    Euclidean,
    /// The angle: `logit = tau q c / (|q| |c|)`, `tau` learned, 10 at first. Gidaris and Komodakis, *Dynamic Few-Shot
    /// Visual Learning without Forgetting*, 2018 (arXiv 1804.09458).
    Cosine,
    /// Weighted by how much each feature varies:
    ///
    /// `logit = -1/2 sum_d (q - c)_d^2 / Q_d`, `Q = l v + (1 - l) s + 1`, `l = n / (n + 1)`
    ///
    /// where `n` is the number of the class's examples, `v` their biased variance, and `s` that of the whole support.
    /// This is Simple CNAPS with the diagonal of its covariances: Bateni et al., *Improved Few-Shot Visual
    /// Classification*, 2020 (arXiv 1912.03432), whose estimates are unbiased.
    Mahalanobis,
}

/// Classes told apart by the distance of a query to the mean of each one's support.
///
/// One step holds `[queries, ways]` distances of each task, and never a difference for each feature.
#[derive(Module, Debug)]
pub struct Prototypes {
    #[module(skip)]
    distance: Distance,
    /// Of the cosine.
    scale: Option<Scale>,
}

impl Prototypes {
    /// The head, which has one parameter with [`Distance::Cosine`], and none otherwise.
    pub fn new(distance: Distance, device: &TensorDevice) -> Self {
        let scale = (distance == Distance::Cosine).then(|| Scale::new(10.0, device));
        Self { distance, scale }
    }

    /// The distance.
    pub fn distance(&self) -> Distance {
        self.distance
    }
}

impl Trainable for Prototypes {}

impl MetricHead for Prototypes {
    fn equal_logits(
        &self,
        features: &Tensor<2>,
        counts: EpisodeCounts,
    ) -> Option<Result<Tensor<3>>> {
        let euclidean = self.distance == Distance::Euclidean;
        euclidean.then(|| episode_logits(features.clone(), counts))
    }

    fn logits<'a>(&'a self, tasks: &Embedded, _pass: &mut Pass<'a>) -> Result<Tensor<3>> {
        tasks.sizes()?;
        let means = tasks.means(tasks.support.clone())?;
        match self.distance {
            Distance::Euclidean => prototype_logits(tasks.query.clone(), means),
            Distance::Cosine => {
                let cosine = products(unit(tasks.query.clone()), unit(means))?;
                Ok(match &self.scale {
                    Some(scale) => scale.times(cosine),
                    None => cosine,
                })
            }
            Distance::Mahalanobis => mahalanobis(tasks, means),
        }
    }
}

/// As [`Distance::Mahalanobis`] says, with the square multiplied out. All is moved to the support's mean first, without
/// which the three terms would be large and their sum small.
fn mahalanobis(tasks: &Embedded, means: Tensor<3>) -> Result<Tensor<3>> {
    /// Of the identity.
    const BETA: f64 = 1.0;
    let center = tasks.support.clone().mean_dim(1);
    let from_center = |rows: Tensor<3>| rows - center.clone();
    let (support, query) = (
        from_center(tasks.support.clone()),
        from_center(tasks.query.clone()),
    );
    let means = from_center(means);
    let square = |rows: Tensor<3>| rows.clone().mul(rows);
    let of_class = support.clone() - matmul(tasks.onehot.clone(), means.clone())?;
    let of_class = tasks.means(square(of_class))?;
    let of_task = square(support).mean_dim(1);
    let counts = tasks.counts();
    let share = counts.clone() / (counts + 1.0);
    let variance = of_task.clone() + share * (of_class - of_task) + BETA;
    let weights = variance.recip();
    let weighted = means.clone() * weights.clone();
    let own = (means * weighted.clone()).sum_dim(2).swap_dims(1, 2);
    let distance =
        products(square(query.clone()), weights)? - products(query, weighted)? * 2.0 + own;
    Ok(distance * -0.5)
}
