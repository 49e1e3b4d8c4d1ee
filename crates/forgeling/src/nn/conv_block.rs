//! Convolution, batch norm, ReLU and max pooling as one block.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::init::{buffer, constant, uniform};
use crate::data::Rng;
use crate::error::Result;
use crate::ops::{RunningNorm, conv_block, conv_block_running};

/// Weight of a new batch in the running statistics; PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// Where batch norm takes mean and variance from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// From the batch itself. In evaluation this is *transductive*: the queries see each other.
    Batch,
    /// From the running statistics gathered in training.
    Running,
}

/// Mean and unbiased variance of each channel over one batch, both `[channels]`.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    mean: Tensor<1>,
    variance: Tensor<1>,
}

/// 3×3 convolution (padding 1), batch norm, ReLU, 2×2 max pooling.
///
/// `y = pool(relu(gamma * (conv(x) - mean) / sqrt(variance + 1e-5) + beta))`
///
/// Shapes: `[batch, in, height, width]` to `[batch, out, height / 2, width / 2]`, odd sizes rounded down.
/// Weights and bias start uniform in `±1/sqrt(9 in)` as in PyTorch, gamma at 1, beta at 0.
///
/// The running statistics are plain values of the block: [`forward`](Self::forward) returns what a batch
/// contributes and [`absorb`](Self::absorb) takes it in, so that a pass can never change them by itself.
#[derive(Module, Debug)]
pub struct ConvBlock {
    /// `[out, in, 3, 3]`
    pub weight: Param<Tensor<4>>,
    /// `[out]`; has no gradient under [`Normalization::Batch`], which cancels it.
    pub bias: Param<Tensor<1>>,
    /// Scale of the normalised activation, `[out]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift of the normalised activation, `[out]`.
    pub beta: Param<Tensor<1>>,
    /// Running mean, `[out]`, not trained.
    pub running_mean: Param<Tensor<1>>,
    /// Running unbiased variance, `[out]`, not trained.
    pub running_var: Param<Tensor<1>>,
}

impl ConvBlock {
    /// A block with weights drawn from `rng`.
    pub fn new(input: usize, output: usize, rng: &mut Rng, device: &Device) -> Self {
        let bound = 1.0 / ((input * 9) as f32).sqrt();
        Self {
            weight: uniform(rng, [output, input, 3, 3], bound, device),
            bias: uniform(rng, [output], bound, device),
            gamma: constant(output, 1.0, device),
            beta: constant(output, 0.0, device),
            running_mean: buffer(output, 0.0, device),
            running_var: buffer(output, 1.0, device),
        }
    }

    /// The block's output, and with [`Normalization::Batch`] the statistics of this batch.
    ///
    /// # Errors
    /// When the input does not fit the weights, or is smaller than 2×2.
    pub fn forward(
        &self,
        input: Tensor<4>,
        normalization: Normalization,
    ) -> Result<(Tensor<4>, Option<BatchStatistics>)> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        match normalization {
            Normalization::Batch => {
                // The batch's own mean takes the bias away again, so it only moves the statistics. Left in, its
                // gradient would be rounding errors around zero, which Adam turns into full steps.
                let [batch, _, height, width] = input.dims();
                let count = (batch * height * width) as f64;
                let block = conv_block(input, weight, gamma, beta)?;
                let statistics = BatchStatistics {
                    mean: (block.mean + bias).detach(),
                    variance: block.variance * (count / (count - 1.0).max(1.0)),
                };
                Ok((block.output, Some(statistics)))
            }
            Normalization::Running => {
                let norm = RunningNorm {
                    bias,
                    gamma,
                    beta,
                    mean: self.running_mean.val(),
                    variance: self.running_var.val(),
                };
                Ok((conv_block_running(input, weight, norm)?, None))
            }
        }
    }

    /// Moves the running statistics a tenth of the way to those of a batch.
    #[must_use]
    pub fn absorb(mut self, batch: BatchStatistics) -> Self {
        let blend = |running: Param<Tensor<1>>, new: Tensor<1>| {
            running.map(|old| {
                (old.detach() * (1.0 - MOMENTUM) + new * MOMENTUM).set_require_grad(false)
            })
        };
        self.running_mean = blend(self.running_mean, batch.mean);
        self.running_var = blend(self.running_var, batch.variance);
        self
    }
}
