//! Convolution, batch norm, ReLU and max pooling as one block.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::init::{buffer, constant, uniform};
use super::{BatchStatistics, Normalization, Pass};
use crate::device::TensorDevice;
use crate::error::Result;
use crate::ops::{
    RunningNorm, Statistics, conv_block, conv_block_running, norm_pool, norm_pool_with,
};
use crate::rng::Rng;

/// 3×3 convolution (padding 1), batch norm, ReLU, 2×2 max pooling.
///
/// `y = pool(relu(gamma * (conv(x) - mean) / sqrt(variance + 1e-5) + beta))`
///
/// Shapes: `[batch, in, height, width]` to `[batch, out, height / 2, width / 2]`, odd sizes rounded down.
/// Weights and bias start uniform in `±1/sqrt(9 in)` as in PyTorch, gamma at 1, beta at 0.
///
/// The running statistics are plain values of the block: a pass leaves what it found, and [`absorb`](super::absorb) takes
/// it in, so that a pass can never change them by itself.
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
    pub fn new(input: usize, output: usize, rng: &mut Rng, device: &TensorDevice) -> Self {
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

    /// The block's output; with [`Normalization::Batch`], the statistics of this batch are in the pass.
    ///
    /// # Errors
    /// When the input does not fit the weights, or is smaller than 2×2.
    pub fn forward(&self, input: Tensor<4>, pass: &mut Pass<'_>) -> Result<Tensor<4>> {
        let values = BlockValues {
            weight: self.weight.val(),
            bias: Some(self.bias.val()),
            gamma: self.gamma.val(),
            beta: self.beta.val(),
            running: [&self.running_mean, &self.running_var],
        };
        values.run(input, pass.normalization(), pass)
    }

    fn found(&self, statistics: Statistics, count: usize) -> BatchStatistics {
        let running = [&self.running_mean, &self.running_var];
        BatchStatistics::new(statistics, count, running).with_bias(Some(self.bias.val()))
    }

    /// As [`forward`](Self::forward), of an input whose convolution with [`weight`](Self::weight), without the
    /// bias, was taken already: for where that can be shared.
    ///
    /// # Errors
    /// When the convolution has another number of channels, or is smaller than 2×2.
    pub(crate) fn forward_convolved(
        &self,
        convolved: Tensor<4>,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor<4>> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        if pass.normalization() == Normalization::Running {
            let statistics = Statistics {
                mean: self.running_mean.val() - self.bias.val(),
                variance: self.running_var.val(),
            };
            return norm_pool_with(convolved, gamma, beta, &statistics);
        }
        let [batch, _, height, width] = convolved.dims();
        let (output, Statistics { mean, variance }) = norm_pool(convolved, gamma, beta)?;
        let statistics = Statistics {
            mean: mean.detach(),
            variance: variance.detach(),
        };
        pass.collect(self.found(statistics, batch * height * width));
        Ok(output)
    }
}

/// What a block computes with, wherever it is kept.
pub(super) struct BlockValues<'a> {
    pub weight: Tensor<4>,
    pub bias: Option<Tensor<1>>,
    pub gamma: Tensor<1>,
    pub beta: Tensor<1>,
    /// Mean and variance.
    pub running: [&'a Param<Tensor<1>>; 2],
}

impl BlockValues<'_> {
    /// The block's output; with [`Normalization::Batch`], the statistics of this batch are in the pass.
    ///
    /// # Errors
    /// When the input does not fit the weights, or is smaller than 2×2.
    pub fn run(
        self,
        input: Tensor<4>,
        normalization: Normalization,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor<4>> {
        let Self {
            weight,
            bias,
            gamma,
            beta,
            running,
        } = self;
        if normalization == Normalization::Running {
            let norm = RunningNorm {
                bias: bias.unwrap_or_else(|| beta.zeros_like()),
                gamma,
                beta,
                mean: running[0].val(),
                variance: running[1].val(),
            };
            return conv_block_running(input, weight, norm);
        }
        // The batch's own mean takes the bias away again, so it only moves the statistics. Left in, its gradient would be
        // rounding errors around zero, which Adam turns into full steps.
        let [batch, _, height, width] = input.dims();
        let block = conv_block(input, weight, gamma, beta)?;
        let statistics = Statistics {
            mean: block.mean,
            variance: block.variance,
        };
        let found = BatchStatistics::new(statistics, batch * height * width, running);
        pass.collect(found.with_bias(bias));
        Ok(block.output)
    }
}
