//! Batch norm with a residual and an activation, and its running statistics.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::init::{buffer, constant};
use super::{BatchStatistics, Normalization};
use crate::error::Result;
use crate::ops::{AfterNorm, Statistics, batch_norm, batch_norm_running};

/// Normalizes each channel, adds a residual if there is one, and activates:
///
/// `y = activation(gamma (x - mean) / sqrt(variance + 1e-5) + beta + residual)`
///
/// Shapes: `[batch, channels, height, width]` to the same. Gamma starts at 1, beta at 0.
///
/// The running statistics are plain values of the module, as those of [`ConvBlock`](super::ConvBlock) are.
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
}

impl BatchNorm {
    /// A norm of so many channels.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self {
            gamma: constant(channels, 1.0, device),
            beta: constant(channels, 0.0, device),
            running_mean: buffer(channels, 0.0, device),
            running_var: buffer(channels, 1.0, device),
        }
    }

    /// The output, and with [`Normalization::Batch`] the statistics of this batch.
    ///
    /// # Errors
    /// When the input has other channels, or the residual another shape than the input.
    pub fn forward(
        &self,
        input: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: AfterNorm,
        normalization: Normalization,
    ) -> Result<(Tensor<4>, Option<BatchStatistics>)> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        match normalization {
            Normalization::Batch => {
                let [batch, _, height, width] = input.dims();
                let (output, statistics) = batch_norm(input, gamma, beta, residual, activation)?;
                let count = batch * height * width;
                Ok((output, Some(BatchStatistics { statistics, count })))
            }
            Normalization::Running => {
                let statistics = Statistics {
                    mean: self.running_mean.val(),
                    variance: self.running_var.val(),
                };
                let output =
                    batch_norm_running(input, gamma, beta, statistics, residual, activation)?;
                Ok((output, None))
            }
        }
    }

    /// Moves the running statistics a tenth of the way to those of a batch.
    #[must_use]
    pub fn absorb(mut self, batch: BatchStatistics) -> Self {
        // What comes before the norm has no bias that the statistics would leave out.
        let bias = self.running_mean.val().zeros_like();
        let running = [self.running_mean, self.running_var];
        [self.running_mean, self.running_var] = batch.blend_into(running, bias);
        self
    }
}
