//! What backward passes leave for the optimizer's step.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::objective::Predictions;
use crate::nn::BatchStatistics;

/// What backward passes have left for the next step.
#[derive(Default)]
pub(crate) struct Pending {
    pub gradients: Option<GradientsParams>,
    /// Each pass's loss with its part of the whole.
    pub losses: Vec<(Tensor<1>, f64)>,
    pub predictions: Vec<Predictions>,
    /// Of each pass.
    pub statistics: Vec<Vec<BatchStatistics>>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("passes", &self.losses.len())
            .finish_non_exhaustive()
    }
}

/// The sum of each norm's variances over all passes, which are never negative: finite if all of them are.
pub(super) fn variances(passes: &[Vec<BatchStatistics>]) -> Vec<Tensor<1>> {
    let of = |passes: &Vec<BatchStatistics>| passes.iter().map(BatchStatistics::variance).collect();
    let sum = |sums: Vec<Tensor<1>>, more: Vec<Tensor<1>>| {
        let pairs = sums.into_iter().zip(more);
        pairs.map(|(sum, more)| sum + more).collect()
    };
    passes.iter().map(of).reduce(sum).unwrap_or_default()
}
