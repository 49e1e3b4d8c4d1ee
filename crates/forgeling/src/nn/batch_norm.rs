//! Batch norm with a residual and an activation, and its running statistics.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::init::{buffer, constant};
use super::{BatchStatistics, Normalization, Pass};
use crate::device::TensorDevice;
use crate::ops::Statistics;

/// What normalizes each channel: [`batch_norm`](crate::ops::batch_norm). Gamma starts at 1, beta at 0.
///
/// The running statistics are plain values of the module: a pass leaves what it [found](super::BatchStatistics), and
/// [`absorb`](super::absorb) takes it in, so that a pass can never change them by itself.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale of the normalised activation, `[channels]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift of the normalised activation, `[channels]`.
    pub beta: Param<Tensor<1>>,
    /// Running mean, `[channels]`, not trained.
    pub running_mean: Param<Tensor<1>>,
    /// Running unbiased variance, `[channels]`, not trained.
    pub running_var: Param<Tensor<1>>,
    /// Whether the running statistics are used in training, too, and stay as they are.
    #[module(skip)]
    frozen: bool,
}

impl BatchNorm {
    /// A norm of so many channels.
    pub fn new(channels: usize, device: &TensorDevice) -> Self {
        Self {
            gamma: constant(channels, 1.0, device),
            beta: constant(channels, 0.0, device),
            running_mean: buffer(channels, 0.0, device),
            running_var: buffer(channels, 1.0, device),
            frozen: false,
        }
    }

    /// The same norm, which uses its running statistics in training, too.
    #[must_use]
    pub fn frozen(mut self) -> Self {
        self.frozen = true;
        self
    }

    /// The opposite of [`frozen`](Self::frozen); gamma and beta are trained again.
    #[must_use]
    pub fn thawed(self) -> Self {
        Self {
            gamma: self.gamma.set_require_grad(true),
            beta: self.beta.set_require_grad(true),
            frozen: false,
            ..self
        }
    }

    /// Where this norm takes mean and variance from in a pass.
    pub fn normalization(&self, pass: &Pass<'_>) -> Normalization {
        match self.frozen {
            true => Normalization::Running,
            false => pass.normalization(),
        }
    }

    /// What this norm found in so many values.
    pub(crate) fn found(&self, statistics: Statistics, count: usize) -> BatchStatistics {
        BatchStatistics::new(statistics, count, [&self.running_mean, &self.running_var])
    }
}
