//! The same operations composed of stock tensor operations: slower, and true on every device and dtype.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::{batch_norm, batch_norm_train, conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};

use super::conv_block::EPSILON;
use super::{ConvBlockOutput, RunningNorm};

/// `logits[e, q, n] = -sum_d (query[e, q, d] - prototypes[e, n, d])^2`, by broadcasting.
///
/// Shapes: `query [E, Q, D]`, `prototypes [E, N, D]`, result `[E, Q, N]`. Needs `E*Q*N*D` numbers of
/// memory in between.
pub fn prototype_logits(query: Tensor<3>, prototypes: Tensor<3>) -> Tensor<3> {
    let difference = query.unsqueeze_dim::<4>(2) - prototypes.unsqueeze_dim::<4>(1);
    difference
        .clone()
        .mul(difference)
        .sum_dim(3)
        .squeeze_dim::<3>(3)
        .neg()
}

/// As [`super::conv_block`], whose shapes and formula it shares, on inputs that fit.
pub fn conv_block(
    x: Tensor<4>,
    weight: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
) -> ConvBlockOutput {
    let result = batch_norm_train(conv2d(x, weight, None, convolution()), gamma, beta, EPSILON);
    ConvBlockOutput {
        output: max_pool2d(relu(result.output), MaxPoolOptions::new([2, 2])),
        mean: result.mean.detach(),
        variance: result.variance.detach(),
    }
}

/// As [`super::conv_block_running`], whose shapes and formula it shares, on inputs that fit.
pub fn conv_block_running(x: Tensor<4>, weight: Tensor<4>, norm: RunningNorm) -> Tensor<4> {
    let convolved = conv2d(x, weight, Some(norm.bias), convolution());
    let normalised = batch_norm(
        convolved,
        norm.gamma,
        norm.beta,
        norm.mean,
        norm.variance,
        EPSILON,
    );
    max_pool2d(relu(normalised), MaxPoolOptions::new([2, 2]))
}

fn convolution() -> ConvOptions<2> {
    ConvOptions::new([1, 1], [1, 1], [1, 1], 1)
}
