//! Batch norm as a pass asks for it.

use burn::tensor::Tensor;

use crate::error::Result;
use crate::nn::{BatchNorm, Normalization, Pass};
use crate::ops::{AfterNorm, FixedNorm, Statistics, batch_norm, batch_norm_running};

/// A norm with its running statistics, of maps without this bias.
pub(super) fn running(norm: &BatchNorm, epsilon: f64, left_out: Option<Tensor<1>>) -> FixedNorm {
    let mean = norm.running_mean.val();
    FixedNorm {
        gamma: norm.gamma.val(),
        beta: norm.beta.val(),
        statistics: Statistics {
            mean: match left_out {
                Some(bias) => mean - bias,
                None => mean,
            },
            variance: norm.running_var.val(),
        },
        epsilon,
    }
}

/// Batch norm, a sum and an activation. `left_out` is the bias of the convolution before, which is not in the maps.
pub(super) fn normed(
    norm: &BatchNorm,
    epsilon: f64,
    left_out: Option<Tensor<1>>,
    maps: Tensor<4>,
    residual: Option<Tensor<4>>,
    after: AfterNorm,
    pass: &mut Pass<'_>,
) -> Result<Tensor<4>> {
    if norm.normalization(pass) == Normalization::Running {
        let FixedNorm {
            gamma,
            beta,
            statistics,
            epsilon,
        } = running(norm, epsilon, left_out);
        return batch_norm_running(maps, gamma, beta, statistics, epsilon, residual, after);
    }
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    let [batch, _, height, width] = maps.dims();
    let (output, statistics) = batch_norm(maps, gamma, beta, epsilon, residual, after)?;
    let found = norm.found(statistics, batch * height * width);
    pass.collect(found.with_bias(left_out));
    Ok(output)
}
