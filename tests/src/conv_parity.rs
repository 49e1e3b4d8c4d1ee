//! Convolution and batch norm with their gradients, by our own implementations or by the composite reference: one test for every
//! device, natively and in a browser.

use burn::tensor::{DType, Device as Tensors};
use forgeling::Readback;
use forgeling::ops::{
    AfterNorm, Blend, Conv2dOptions, FixedNorm, Statistics, batch_norm, conv2d,
    conv2d_norm_running, reference, running_statistics,
};

use super::ops_parity::{Body, Results, named, tensor};

/// Sizes of [`convolution`].
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// Batch, channels, height and width.
    pub x: [usize; 4],
    /// Output channels, and rows and columns of the kernel.
    pub weight: [usize; 3],
    /// Stride, padding and groups.
    pub options: Conv2dOptions,
    /// Whether there is a bias.
    pub bias: bool,
}

const fn convolution_sizes(
    x: [usize; 4],
    weight: [usize; 3],
    stride: [usize; 2],
    padding: [usize; 2],
    groups: usize,
    bias: bool,
) -> Convolution {
    let options = Conv2dOptions {
        stride,
        padding,
        groups,
    };
    Convolution {
        x,
        weight,
        options,
        bias,
    }
}

/// Kernels, strides, paddings and groups of all kinds: odd and distinct sizes, single pixels, channels that are and
/// are not multiples of four, gaps between the places of the kernel, depthwise, more images than a task takes, layers of
/// ResNet-18, and images so large that the CPU cuts them into bands.
pub const CONVOLUTIONS: [Convolution; 23] = [
    convolution_sizes([1, 1, 1, 1], [1, 1, 1], [1, 1], [0, 0], 1, true),
    convolution_sizes([2, 3, 5, 7], [5, 1, 1], [1, 1], [0, 0], 1, true),
    convolution_sizes([3, 8, 6, 4], [12, 1, 1], [2, 2], [0, 0], 1, false),
    convolution_sizes([2, 3, 9, 5], [7, 3, 3], [1, 1], [1, 1], 1, true),
    convolution_sizes([2, 4, 8, 8], [20, 3, 3], [1, 1], [1, 1], 1, false),
    convolution_sizes([3, 5, 9, 7], [6, 3, 3], [2, 2], [1, 1], 1, true),
    convolution_sizes([2, 8, 8, 10], [4, 3, 3], [2, 2], [1, 1], 1, false),
    convolution_sizes([2, 3, 7, 6], [4, 3, 3], [2, 1], [0, 2], 1, true),
    convolution_sizes([1, 2, 9, 11], [3, 5, 5], [1, 1], [0, 0], 1, true),
    convolution_sizes([2, 3, 9, 11], [10, 5, 5], [2, 1], [0, 2], 1, true),
    convolution_sizes([2, 5, 6, 7], [9, 3, 2], [1, 2], [0, 1], 1, true),
    convolution_sizes([2, 4, 7, 5], [8, 1, 2], [3, 4], [0, 0], 1, false),
    convolution_sizes([1, 2, 1, 3], [3, 1, 1], [2, 2], [1, 1], 1, true),
    convolution_sizes([2, 6, 7, 5], [10, 3, 3], [1, 1], [1, 1], 2, true),
    convolution_sizes([3, 16, 6, 6], [24, 3, 3], [2, 2], [1, 1], 2, false),
    convolution_sizes([2, 7, 9, 6], [7, 3, 3], [1, 1], [1, 1], 7, true),
    convolution_sizes([2, 5, 8, 9], [10, 5, 3], [2, 2], [2, 1], 5, true),
    convolution_sizes([70, 2, 3, 3], [5, 3, 3], [1, 1], [1, 1], 1, true),
    convolution_sizes([3, 3, 32, 32], [16, 3, 3], [1, 1], [1, 1], 1, false),
    convolution_sizes([33, 32, 4, 4], [64, 3, 3], [1, 1], [1, 1], 1, false),
    convolution_sizes([2, 3, 61, 47], [9, 3, 3], [1, 1], [1, 1], 1, true),
    convolution_sizes([1, 2, 99, 101], [5, 3, 5], [2, 2], [1, 2], 1, false),
    convolution_sizes([2, 6, 50, 48], [4, 1, 1], [1, 1], [0, 0], 2, true),
];

/// Depthwise convolutions: odd and distinct sizes, and more channels than a vector has lanes; then borders wider than the
/// kernel, kernels that are no squares or larger than those of networks, and gaps between the places of the kernel.
pub fn depthwise_convolutions() -> Vec<Convolution> {
    let square = |channels: usize, kernel: usize, stride: usize, padding: usize| {
        let (x, weight) = ([3, channels, 13, 11], [channels, kernel, kernel]);
        let bias = !channels.abs_diff(padding).is_multiple_of(2);
        convolution_sizes(x, weight, [stride; 2], [padding; 2], channels, bias)
    };
    let mut all = Vec::new();
    for channels in [5, 17] {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            all.extend([0, 1, 2].map(|padding| square(channels, kernel, stride, padding)));
        }
    }
    all.extend([
        convolution_sizes([2, 3, 4, 5], [3, 3, 3], [1, 1], [4, 3], 3, true),
        convolution_sizes([2, 3, 6, 37], [3, 5, 5], [2, 2], [5, 6], 3, false),
        convolution_sizes([2, 6, 9, 20], [6, 3, 7], [1, 2], [3, 4], 6, true),
        convolution_sizes([1, 4, 7, 5], [4, 2, 2], [3, 4], [0, 1], 4, false),
        convolution_sizes([40, 2, 1, 3], [2, 1, 1], [2, 2], [1, 1], 2, true),
    ]);
    all
}

/// A convolution with its gradients.
///
/// # Panics
/// When anything fails.
pub async fn convolution(
    body: Body,
    sizes: Convolution,
    dtype: DType,
    device: &Tensors,
) -> Results {
    let [output, rows, columns] = sizes.weight;
    let input = sizes.x[1] / sizes.options.groups;
    let x = tensor(sizes.x, 1.0, device).require_grad();
    let weight = tensor([output, input, rows, columns], 2.0, device).require_grad();
    let bias = sizes
        .bias
        .then(|| tensor([output], 3.0, device).require_grad());
    let (stored, w, b) = (x.clone().cast(dtype), weight.clone(), bias.clone());
    let y = match body {
        Body::Own => conv2d(stored, w, b, sizes.options).unwrap(),
        Body::Reference => reference::conv2d(stored, w, b, sizes.options),
    };
    assert_eq!(y.dtype(), dtype);
    let y = y.cast(DType::F32);
    let direction = tensor(y.dims(), 5.0, device);
    let gradients = (y.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(y)
        .with(x.grad(&gradients).unwrap())
        .with(weight.grad(&gradients).unwrap());
    let trip = match bias {
        Some(bias) => trip.with(bias.grad(&gradients).unwrap()),
        None => trip,
    };
    named(&["output", "grad x", "grad weight", "grad bias"], trip).await
}

/// What [`batch_normed`] adds to variances: not the usual 1e-5, so that it shows where another is added.
pub const EPSILON: f64 = 1e-3;

/// Sizes of [`batch_normed`], whether there is a residual, and what follows: single, odd and distinct, many pixels, many
/// channels.
pub const NORMS: [([usize; 4], bool, AfterNorm); 8] = [
    ([3, 1, 1, 1], false, AfterNorm::Nothing),
    ([3, 5, 7, 2], false, AfterNorm::Relu),
    ([2, 7, 5, 9], true, AfterNorm::Relu),
    ([2, 4, 3, 6], true, AfterNorm::Nothing),
    ([5, 3, 32, 31], false, AfterNorm::Relu),
    ([9, 130, 4, 4], true, AfterNorm::Relu),
    ([4, 6, 5, 3], false, AfterNorm::Relu6),
    ([2, 9, 6, 11], true, AfterNorm::Relu6),
];

/// A batch norm's output, statistics and gradients.
///
/// # Panics
/// When anything fails.
pub async fn batch_normed(
    body: Body,
    (shape, residual, activation): ([usize; 4], bool, AfterNorm),
    dtype: DType,
    device: &Tensors,
) -> Results {
    let channels = shape[1];
    let x = tensor(shape, 1.0, device).require_grad();
    // ReLU6 cuts at both ends only what is wide enough.
    let wide = match activation {
        AfterNorm::Relu6 => 9.0,
        AfterNorm::Nothing | AfterNorm::Relu => 1.0,
    };
    let gamma = (tensor([channels], 3.0, device) * wide).require_grad();
    let beta = tensor([channels], 4.0, device).require_grad();
    let residual = residual.then(|| tensor(shape, 6.0, device).require_grad());
    let (stored, g, b) = (x.clone().cast(dtype), gamma.clone(), beta.clone());
    let added = residual.clone().map(|residual| residual.cast(dtype));
    let (y, statistics) = match body {
        Body::Own => batch_norm(stored, g, b, EPSILON, added, activation).unwrap(),
        Body::Reference => reference::batch_norm(stored, g, b, EPSILON, added, activation),
    };
    assert_eq!(y.dtype(), dtype);
    let y = y.cast(DType::F32);
    let direction = tensor(shape, 5.0, device);
    let gradients = (y.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(y)
        .with(statistics.mean)
        .with(statistics.variance)
        .with(x.grad(&gradients).unwrap())
        .with(gamma.grad(&gradients).unwrap())
        .with(beta.grad(&gradients).unwrap());
    let trip = match residual {
        Some(residual) => trip.with(residual.grad(&gradients).unwrap()),
        None => trip,
    };
    let names = [
        "output",
        "mean",
        "variance",
        "grad x",
        "grad gamma",
        "grad beta",
        "grad residual",
    ];
    named(&names, trip).await
}

/// What follows the norm of [`normalized`], with whether there is a residual.
pub const AFTER: [(bool, AfterNorm); 6] = [
    (false, AfterNorm::Nothing),
    (true, AfterNorm::Nothing),
    (false, AfterNorm::Relu),
    (true, AfterNorm::Relu),
    (false, AfterNorm::Relu6),
    (true, AfterNorm::Relu6),
];

/// A convolution with batch norm as in evaluation, a residual and an activation: nothing is differentiated.
///
/// # Panics
/// When anything fails.
pub async fn normalized(
    body: Body,
    sizes: Convolution,
    (residual, activation): (bool, AfterNorm),
    device: &Tensors,
) -> Results {
    let Convolution {
        x,
        weight: [outputs, rows, columns],
        options,
        ..
    } = sizes;
    let (x, weight) = (
        tensor(x, 1.0, device),
        [outputs, x[1] / options.groups, rows, columns],
    );
    let weight = tensor(weight, 2.0, device);
    let vector = |phase| tensor([outputs], phase, device);
    let norm = FixedNorm {
        // So wide that activations cut at both ends.
        gamma: vector(3.0) * 9.0,
        beta: vector(4.0) + 2.0,
        statistics: Statistics {
            mean: vector(5.0),
            variance: vector(6.0).abs(),
        },
        epsilon: EPSILON,
    };
    let plain = reference::conv2d(x.clone(), weight.clone(), None, options);
    let residual = residual.then(|| tensor(plain.dims(), 7.0, device));
    let y = match body {
        Body::Own => conv2d_norm_running(x, weight, options, norm, residual, activation).unwrap(),
        Body::Reference => {
            let FixedNorm {
                gamma,
                beta,
                statistics,
                epsilon,
            } = norm;
            let (stats, eps) = (statistics, epsilon);
            reference::batch_norm_running(plain, gamma, beta, stats, eps, residual, activation)
        }
    };
    named(&["output"], Readback::new().with(y)).await
}

/// Channels of [`moved`]: one, odd, and more than a part of a buffer.
pub const CHANNELS: [usize; 3] = [1, 7, 131];

/// Running statistics after a batch. Always in f32.
///
/// # Panics
/// When the device fails.
pub async fn moved(body: Body, channels: usize, device: &Tensors) -> Results {
    let vector = |phase| tensor([channels], phase, device);
    let statistics = |phase| Statistics {
        mean: vector(phase),
        variance: vector(phase + 1.0).abs(),
    };
    let (running, batch, bias) = (statistics(1.0), statistics(3.0), vector(5.0));
    let blend = Blend {
        momentum: 0.3,
        correction: 1.25,
    };
    let Statistics { mean, variance } = match body {
        Body::Own => running_statistics(running, bias, batch, blend),
        Body::Reference => reference::running_statistics(running, bias, batch, blend),
    };
    let trip = Readback::new().with(mean).with(variance);
    named(&["mean", "variance"], trip).await
}
