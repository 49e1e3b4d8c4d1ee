//! Convolution, batch norm, ReLU and max pooling as one block.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::Pass;
use super::init::{buffer, constant, uniform};
use crate::data::Rng;
use crate::error::Result;
use crate::ops::{
    Blend, RunningNorm, Statistics, conv_block, conv_block_running, norm_pool, norm_pool_with,
    running_statistics,
};

/// Weight of a new batch in the running statistics; PyTorch's default.
const MOMENTUM: f32 = 0.1;

/// Where batch norm takes mean and variance from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// From the batch itself. In evaluation this is *transductive*: the queries see each other.
    Batch,
    /// From the running statistics gathered in training.
    Running,
}

/// Mean and biased variance of each channel over one batch, and over how many values they were taken.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    pub(super) statistics: Statistics,
    pub(super) count: usize,
}

impl BatchStatistics {
    /// Mean and biased variance of each channel over so many values.
    pub(crate) fn new(statistics: Statistics, count: usize) -> Self {
        Self { statistics, count }
    }

    /// The variance of each channel. It is not finite where the activations, or their mean, go beyond what f32 holds:
    /// the norm then gives out its shift alone, and no loss would show it.
    pub(crate) fn variance(&self) -> Tensor<1> {
        self.statistics.variance.clone().without_autodiff()
    }

    /// Running mean and variance, moved a tenth of the way. `bias` is added to the batch's mean.
    pub(crate) fn blend_into(
        self,
        running: [Param<Tensor<1>>; 2],
        bias: Tensor<1>,
    ) -> [Param<Tensor<1>>; 2] {
        let [mean, variance] = &running;
        let statistics = Statistics {
            mean: mean.val(),
            variance: variance.val(),
        };
        let count = self.count as f32;
        let blend = Blend {
            momentum: MOMENTUM,
            correction: count / (count - 1.0).max(1.0),
        };
        let moved = running_statistics(statistics, bias, self.statistics, blend);
        let set = |param: Param<Tensor<1>>, value: Tensor<1>| {
            param.map(|_| value.detach().set_require_grad(false))
        };
        let [mean, variance] = running;
        [set(mean, moved.mean), set(variance, moved.variance)]
    }
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
        self.forward_by(self.weight.val(), input, normalization)
    }

    /// As [`forward`](Self::forward), with another weight in place of the block's own.
    pub(super) fn forward_by(
        &self,
        weight: Tensor<4>,
        input: Tensor<4>,
        normalization: Normalization,
    ) -> Result<(Tensor<4>, Option<BatchStatistics>)> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        match normalization {
            Normalization::Batch => {
                // The batch's own mean takes the bias away again, so it only moves the statistics. Left in, its
                // gradient would be rounding errors around zero, which Adam turns into full steps.
                let [batch, _, height, width] = input.dims();
                let block = conv_block(input, weight, gamma, beta)?;
                let statistics = BatchStatistics {
                    statistics: Statistics {
                        mean: block.mean,
                        variance: block.variance,
                    },
                    count: batch * height * width,
                };
                Ok((block.output, Some(statistics)))
            }
            Normalization::Running => {
                let norm = RunningNorm {
                    bias: self.bias.val(),
                    gamma,
                    beta,
                    mean: self.running_mean.val(),
                    variance: self.running_var.val(),
                };
                Ok((conv_block_running(input, weight, norm)?, None))
            }
        }
    }

    /// As [`forward`](Self::forward), with the statistics in the pass.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with(&self, input: Tensor<4>, pass: &mut Pass<'_>) -> Result<Tensor<4>> {
        let (output, batch) = self.forward(input, pass.normalization())?;
        pass.collect(batch);
        Ok(output)
    }

    /// As [`forward_with`](Self::forward_with), of an input whose convolution with [`weight`](Self::weight), without the
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
        let count = batch * height * width;
        pass.collect(Some(BatchStatistics { statistics, count }));
        Ok(output)
    }

    /// Moves the running statistics a tenth of the way to those of a batch.
    #[must_use]
    pub fn absorb(mut self, batch: BatchStatistics) -> Self {
        // The block's convolution leaves the bias out, the running mean has it.
        let bias = self.bias.val().detach();
        let running = [self.running_mean, self.running_var];
        [self.running_mean, self.running_var] = batch.blend_into(running, bias);
        self
    }

    /// Puts the statistics of a batch in the place of the running ones, as they are: the variance stays biased.
    #[must_use]
    pub(super) fn normalizing_by(mut self, batch: BatchStatistics) -> Self {
        let Statistics { mean, variance } = batch.statistics;
        let mean = mean + self.bias.val();
        let set = |param: Param<Tensor<1>>, value: Tensor<1>| {
            param.map(|_| value.detach().set_require_grad(false))
        };
        self.running_mean = set(self.running_mean, mean);
        self.running_var = set(self.running_var, variance);
        self
    }
}
