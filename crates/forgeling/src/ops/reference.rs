//! The same operations composed of stock tensor operations: slower, and true on every device and dtype.

use burn::tensor::activation::{gelu, log_softmax, relu};
use burn::tensor::module::{batch_norm, batch_norm_train, conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{DType, Tensor, TensorData};

use super::conv_block::EPSILON;
use super::{Activation, Blend, ConvBlockOutput, EpisodeCounts, RunningNorm, Statistics};

/// Half precision in f32, in which it is computed; other dtypes as they are.
pub(super) fn wide<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 => tensor.cast(DType::F32),
        _ => tensor,
    }
}

/// `distances[e, q, n] = sum_d (a[e, q, d] - b[e, n, d])^2`, by broadcasting.
///
/// Shapes: `a [E, Q, D]`, `b [E, N, D]`, result `[E, Q, N]`. Needs `E*Q*N*D` numbers of memory in between.
pub fn pairwise_sq_distance(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let (a, b) = (wide(a), wide(b));
    let difference = a.unsqueeze_dim::<4>(2) - b.unsqueeze_dim::<4>(1);
    difference
        .clone()
        .mul(difference)
        .sum_dim(3)
        .squeeze_dim::<3>(3)
}

/// The negative of [`pairwise_sq_distance`].
pub fn prototype_logits(query: Tensor<3>, prototypes: Tensor<3>) -> Tensor<3> {
    pairwise_sq_distance(query, prototypes).neg()
}

/// As [`super::episode_logits`], on features that fit.
pub fn episode_logits(features: Tensor<2>, counts: EpisodeCounts) -> Tensor<3> {
    let EpisodeCounts {
        episodes,
        ways,
        shots,
        queries,
    } = counts;
    let features = wide(features);
    let width = features.dims()[1];
    let supports = counts.supports();
    let support = features.clone().narrow(0, 0, supports);
    let query = features.narrow(0, supports, episodes * ways * queries);
    let prototypes = support
        .reshape([episodes, ways, shots, width])
        .mean_dim(2)
        .reshape([episodes, ways, width]);
    prototype_logits(query.reshape([episodes, ways * queries, width]), prototypes)
}

/// As [`super::linear`], whose shapes and formula it shares, on inputs that fit.
pub fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
) -> Tensor<2> {
    let stored = x.dtype();
    let x = wide(x);
    let computed = x.dtype();
    let mut z = x.matmul(wide(weight).cast(computed));
    if let Some(bias) = bias {
        z = z + wide(bias).cast(computed).unsqueeze_dim::<2>(0);
    }
    let y = match activation {
        Activation::None => z,
        Activation::Relu => relu(z),
        Activation::Gelu => gelu(z),
    };
    y.cast(stored)
}

/// As [`super::matmul`], whose shapes and formula it shares, on inputs that fit.
pub fn matmul(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let stored = a.dtype();
    wide(a).matmul(wide(b)).cast(stored)
}

/// As [`super::softmax_cross_entropy`], on labels that fit.
pub fn softmax_cross_entropy(logits: Tensor<2>, labels: &[usize]) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    let mut onehot = vec![0f32; rows * classes];
    for (row, label) in labels.iter().enumerate() {
        onehot[row * classes + label] = 1.0;
    }
    let device = logits.device();
    let onehot = Tensor::<2>::from_data(TensorData::new(onehot, [rows, classes]), &device)
        .cast(logits.dtype());
    (log_softmax(logits, 1) * onehot).sum() / -(rows as f64)
}

/// As [`super::running_statistics`].
pub fn running_statistics(
    running: Statistics,
    bias: Tensor<1>,
    batch: Statistics,
    blend: Blend,
) -> Statistics {
    let momentum = f64::from(blend.momentum);
    let keep = |old: Tensor<1>| old.detach() * (1.0 - momentum);
    let variance = batch.variance.detach() * (momentum * f64::from(blend.correction));
    Statistics {
        mean: keep(running.mean) + (batch.mean + bias).detach() * momentum,
        variance: keep(running.variance) + variance,
    }
}

/// As [`super::conv_block`], whose shapes and formula it shares, on inputs that fit.
pub fn conv_block(
    x: Tensor<4>,
    weight: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
) -> ConvBlockOutput {
    let stored = x.dtype();
    let convolved = conv2d(wide(x), weight, None, convolution());
    // What kernels keep of the convolution has the activations' dtype.
    let convolved = wide(convolved.cast(stored));
    let result = batch_norm_train(convolved, gamma, beta, EPSILON);
    ConvBlockOutput {
        output: max_pool2d(relu(result.output), MaxPoolOptions::new([2, 2])).cast(stored),
        mean: result.mean.detach(),
        variance: result.variance.detach(),
    }
}

/// As [`super::conv_block_running`], whose shapes and formula it shares, on inputs that fit.
pub fn conv_block_running(x: Tensor<4>, weight: Tensor<4>, norm: RunningNorm) -> Tensor<4> {
    let stored = x.dtype();
    let convolved = conv2d(wide(x), weight, Some(norm.bias), convolution());
    let normalised = batch_norm(
        wide(convolved.cast(stored)),
        norm.gamma,
        norm.beta,
        norm.mean,
        norm.variance,
        EPSILON,
    );
    max_pool2d(relu(normalised), MaxPoolOptions::new([2, 2])).cast(stored)
}

fn convolution() -> ConvOptions<2> {
    ConvOptions::new([1, 1], [1, 1], [1, 1], 1)
}
