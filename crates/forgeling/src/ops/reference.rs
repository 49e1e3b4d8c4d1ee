//! The same operations composed of stock tensor operations: slower, and true on every device and dtype.

use burn::tensor::activation::{gelu, log_softmax, relu, relu6, softmax};
use burn::tensor::module::{self, batch_norm_train, max_pool2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{Bool, DType, Tensor, TensorData};
use forgeling_shaders::epsilon::EPSILON;

use super::implementation::computed_in;
use super::{
    Activation, AfterNorm, AttentionOptions, Blend, Conv2dOptions, ConvBlockOutput, EpisodeCounts,
    Levels, RunningNorm, Statistics,
};

pub use super::norm_pool::composed::{affine_relu_pool, channel_moments, norm_pool_grad};

/// Half precision in f32, in which it is computed; other dtypes as they are.
pub(super) fn wide<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let dtype = computed_in(tensor.dtype());
    tensor.cast(dtype)
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
    soft_cross_entropy(logits, TensorData::new(onehot, [rows, classes]))
}

/// As [`super::soft_cross_entropy`], on targets that fit.
pub fn soft_cross_entropy(logits: Tensor<2>, targets: TensorData) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let targets = Tensor::<2>::from_data(targets, &logits.device()).cast(logits.dtype());
    (log_softmax(logits, 1) * targets).sum() / -(rows as f64)
}

/// As [`super::fake_quantize`], on arguments that fit.
pub fn fake_quantize<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<1>,
    axis: Option<usize>,
    levels: Levels,
) -> Tensor<D> {
    let (dims, stored) = (x.dims(), x.dtype());
    let channels = scale.dims()[0];
    let inner: usize = match axis {
        Some(axis) => dims[axis + 1..].iter().product(),
        None => dims.iter().product(),
    };
    let outer = dims.iter().product::<usize>() / (channels * inner);
    let x = wide(x).reshape([outer, channels, inner]);
    let scale = scale.cast(x.dtype()).reshape([1, channels, 1]);
    let place = x * scale.clone().recip();
    let q = place.clone().detach().round();
    let [low, high] = [levels.low, levels.high].map(f64::from);
    let outside = q
        .clone()
        .lower_elem(low)
        .bool_or(q.clone().greater_elem(high));
    // Zero, with the gradient of `place` where nothing is cut off.
    let flow = (place.clone() - place.detach()).mask_fill(outside, 0.0);
    let y = (q.clamp(low, high) + flow) * scale;
    y.reshape(dims).cast(stored)
}

/// As [`super::spd_inverse`], step by step, without a derivative.
pub fn spd_inverse(a: Tensor<3>) -> Tensor<3> {
    let stored = a.dtype();
    let mut inverse = wide(a.detach());
    let [_, n, _] = inverse.dims();
    let epsilon = match inverse.dtype() {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    };
    let mut identity = vec![0f32; n * n];
    identity
        .iter_mut()
        .step_by(n + 1)
        .for_each(|value| *value = 1.0);
    let place = (&inverse.device(), inverse.dtype());
    let identity: Tensor<3> = Tensor::from_data(TensorData::new(identity, [1, n, n]), place);
    let limits = (inverse.clone() * identity.clone()).sum_dim(2).abs() * epsilon;
    for k in 0..n {
        let one = identity.clone().narrow(1, k, 1);
        let others = one.clone().neg() + 1.0;
        let (row, column) = (
            inverse.clone().narrow(1, k, 1),
            inverse.clone().narrow(2, k, 1),
        );
        let pivot = row.clone().narrow(2, k, 1);
        let unsound = pivot.clone().lower_equal(limits.clone().narrow(1, k, 1));
        let factor = pivot.recip().mask_fill(unsound, f64::NAN);
        let across = row * others.clone() + one.clone();
        let down = column * others.clone().swap_dims(1, 2) - one.swap_dims(1, 2);
        let rest = inverse * others.clone() * others.swap_dims(1, 2);
        inverse = rest - down * across * factor;
    }
    inverse.cast(stored)
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

/// As [`super::layer_norm`], on shapes that fit.
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let stored = x.dtype();
    let x = wide(x);
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().mul(centred.clone()).mean_dim(1);
    let normalised = centred / (variance + epsilon).sqrt();
    let [gamma, beta] = [gamma, beta].map(|vector| wide(vector).unsqueeze::<2>());
    (normalised * gamma + beta).cast(stored)
}

/// As [`super::attention`], on shapes that fit. Holds all scores in memory.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    options: AttentionOptions,
) -> Tensor<4> {
    let stored = query.dtype();
    let [_, _, queries, width] = query.dims();
    let keys = key.dims()[2];
    let device = query.device();
    let mut scores = wide(query).matmul(wide(key).swap_dims(2, 3)) * options.scale_of(width);
    if options.causal {
        // Whether the query is before the key.
        let before = (0..queries * keys).map(|place| place / keys < place % keys);
        let before = TensorData::new(before.collect::<Vec<bool>>(), [1, 1, queries, keys]);
        let before = Tensor::<4, Bool>::from_data(before, &device);
        scores = scores.mask_fill(before, f32::NEG_INFINITY);
    }
    softmax(scores, 3).matmul(wide(value)).cast(stored)
}

/// As [`super::conv_block`], whose shapes and formula it shares, on inputs that fit.
pub fn conv_block(
    x: Tensor<4>,
    weight: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
) -> ConvBlockOutput {
    let stored = x.dtype();
    let convolved = module::conv2d(wide(x), weight, None, convolution());
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
    let convolved = module::conv2d(wide(x), weight, None, convolution());
    let bias = norm.bias.reshape([1, -1, 1, 1]);
    let normalised = module::batch_norm(
        wide(convolved.cast(stored)) + bias,
        norm.gamma,
        norm.beta,
        norm.mean,
        norm.variance,
        EPSILON,
    );
    max_pool2d(relu(normalised), MaxPoolOptions::new([2, 2])).cast(stored)
}

/// As [`super::conv2d`], whose shapes and formula it shares, on inputs that fit.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: Conv2dOptions,
) -> Tensor<4> {
    let stored = x.dtype();
    let Conv2dOptions {
        stride,
        padding,
        groups,
    } = options;
    let options = ConvOptions::new(stride, padding, [1, 1], groups);
    module::conv2d(wide(x), wide(weight), bias.map(wide), options).cast(stored)
}

/// As [`super::conv2d_grad_input`], whose shapes and formula it shares, on inputs that fit: a transposed convolution.
pub fn conv2d_grad_input(
    grad: Tensor<4>,
    weight: Tensor<4>,
    size: [usize; 2],
    options: Conv2dOptions,
) -> Tensor<4> {
    let stored = grad.dtype();
    let Conv2dOptions {
        stride,
        padding,
        groups,
    } = options;
    let ([_, _, rows, columns], [_, _, height, width]) = (weight.dims(), grad.dims());
    let kernel = [rows, columns];
    let count = [height, width];
    // What the last place of the kernel leaves over.
    let rest = [0, 1].map(|axis| {
        let covered = (count[axis] - 1) * stride[axis] + kernel[axis];
        size[axis] + 2 * padding[axis] - covered
    });
    let options = ConvTransposeOptions::new(stride, padding, rest, [1, 1], groups);
    module::conv_transpose2d(wide(grad), wide(weight), None, options).cast(stored)
}

/// As [`super::conv2d_grad_weight`], whose shapes and formula it shares, on inputs that fit: a convolution with images
/// and channels swapped.
pub fn conv2d_grad_weight(
    x: Tensor<4>,
    grad: Tensor<4>,
    kernel: [usize; 2],
    options: Conv2dOptions,
) -> Tensor<4> {
    let Conv2dOptions {
        stride,
        padding,
        groups,
    } = options;
    let ([images, channels, height, width], outputs) = (x.dims(), grad.dims()[1]);
    let [inputs, per_group] = [channels / groups, outputs / groups];
    let x = wide(x)
        .reshape([images, groups, inputs, height, width])
        .permute([2, 1, 0, 3, 4])
        .reshape([inputs, groups * images, height, width]);
    let options = ConvOptions::new([1, 1], padding, stride, groups);
    let sums = module::conv2d(x, wide(grad).swap_dims(0, 1), None, options);
    // Rows and columns that no place of the kernel reaches give more than there are taps.
    let [rows, columns] = kernel;
    sums.narrow(2, 0, rows)
        .narrow(3, 0, columns)
        .reshape([inputs, groups, per_group, rows, columns])
        .permute([1, 2, 0, 3, 4])
        .reshape([outputs, inputs, rows, columns])
}

/// As [`super::batch_norm`], whose shapes and formula it shares, on inputs that fit.
pub fn batch_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    residual: Option<Tensor<4>>,
    after: AfterNorm,
) -> (Tensor<4>, Statistics) {
    let stored = x.dtype();
    let result = batch_norm_train(wide(x), wide(gamma), wide(beta), epsilon);
    let statistics = Statistics {
        mean: result.mean.detach(),
        variance: result.variance.detach(),
    };
    let output = add_and_activate(result.output, residual, after);
    (output.cast(stored), statistics)
}

/// As [`super::batch_norm_running`], whose shapes and formula it shares, on inputs that fit.
pub fn batch_norm_running(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    statistics: Statistics,
    epsilon: f64,
    residual: Option<Tensor<4>>,
    after: AfterNorm,
) -> Tensor<4> {
    let stored = x.dtype();
    let normalised = module::batch_norm(
        wide(x),
        wide(gamma),
        wide(beta),
        wide(statistics.mean),
        wide(statistics.variance),
        epsilon,
    );
    add_and_activate(normalised, residual, after).cast(stored)
}

fn add_and_activate(
    normalised: Tensor<4>,
    residual: Option<Tensor<4>>,
    after: AfterNorm,
) -> Tensor<4> {
    let sum = match residual {
        Some(residual) => normalised + wide(residual),
        None => normalised,
    };
    match after {
        AfterNorm::Nothing => sum,
        AfterNorm::Relu => relu(sum),
        AfterNorm::Relu6 => relu6(sum),
    }
}

fn convolution() -> ConvOptions<2> {
    ConvOptions::new([1, 1], [1, 1], [1, 1], 1)
}
