//! Each operation with its gradients, by our own bodies or by the composite reference: one body for every device,
//! natively and in a browser.

use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::ops::{
    Activation, Conv2dOptions, EpisodeCounts, batch_norm, conv_block, conv2d, episode_logits,
    prototype_logits, reference, softmax_cross_entropy,
};

use super::values::{F32_TOLERANCE, assert_close, waves};

/// Which body computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Our own.
    Own,
    /// The composite reference.
    Reference,
}

/// Results by name.
pub type Results = Vec<(&'static str, Vec<f32>)>;

/// [`waves`] as a tensor.
pub fn tensor<const D: usize>(shape: [usize; D], phase: f64, device: &Tensors) -> Tensor<D> {
    let values = waves(shape.iter().product(), phase);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Logits and both gradients of `sum(weights * logits)`; `sizes` are episodes, queries, ways and features.
///
/// # Panics
/// When anything fails.
pub async fn logits(body: Body, sizes: [usize; 4], device: &Tensors) -> Results {
    let [episodes, queries, ways, features] = sizes;
    let query = tensor([episodes, queries, features], 1.0, device).require_grad();
    let prototypes = tensor([episodes, ways, features], 2.0, device).require_grad();
    let weights = tensor([episodes, queries, ways], 3.0, device);
    let logits = match body {
        Body::Own => prototype_logits(query.clone(), prototypes.clone()).unwrap(),
        Body::Reference => reference::prototype_logits(query.clone(), prototypes.clone()),
    };
    let gradients = (logits.clone() * weights).sum().backward();
    let trip = Readback::new()
        .with(logits)
        .with(query.grad(&gradients).unwrap())
        .with(prototypes.grad(&gradients).unwrap());
    named(&["logits", "grad query", "grad prototypes"], trip).await
}

/// Episodes, ways, shots, queries and features of [`episode_loss`]: odd and distinct, and those of a training step.
pub const EPISODE_SIZES: [[usize; 5]; 4] = [
    [1, 1, 1, 1, 1],
    [3, 5, 2, 7, 11],
    [1, 5, 5, 15, 32],
    [2, 20, 1, 3, 65],
];

/// Logits of episodes, their mean cross entropy, and the gradient of three times that loss.
///
/// # Panics
/// When anything fails.
pub async fn episode_loss(body: Body, sizes: [usize; 5], device: &Tensors) -> Results {
    let [episodes, ways, shots, queries, width] = sizes;
    let counts = EpisodeCounts {
        episodes,
        ways,
        shots,
        queries,
    };
    let labels: Vec<usize> = (0..episodes * ways * queries)
        .map(|row| row * 7 % ways)
        .collect();
    let features = tensor([counts.rows(), width], 1.0, device).require_grad();
    let rows = [labels.len(), ways];
    let (logits, loss) = match body {
        Body::Own => {
            let logits = episode_logits(features.clone(), counts).unwrap();
            let loss = softmax_cross_entropy(logits.clone().reshape(rows), &labels).unwrap();
            (logits, loss)
        }
        Body::Reference => {
            let logits = reference::episode_logits(features.clone(), counts);
            let loss = reference::softmax_cross_entropy(logits.clone().reshape(rows), &labels);
            (logits, loss)
        }
    };
    let gradients = (loss.clone() * 3.0).backward();
    let trip = Readback::new()
        .with(logits)
        .with(loss)
        .with(features.grad(&gradients).unwrap());
    named(&["logits", "loss", "grad features"], trip).await
}

/// Sizes of [`block`]: odd and distinct, single, larger than a task, and those of Conv4.
pub const BLOCK_SIZES: [[usize; 5]; 7] = [
    [1, 1, 1, 2, 2],
    [2, 3, 5, 5, 7],
    [3, 6, 10, 9, 4],
    [4, 33, 17, 7, 7],
    [70, 2, 3, 3, 3],
    [3, 1, 32, 28, 28],
    [5, 32, 64, 14, 14],
];

/// A convolution block's output, statistics and gradients; `sizes` are batch, input channels, output channels,
/// height and width.
///
/// # Panics
/// When anything fails.
pub async fn block(body: Body, sizes: [usize; 5], device: &Tensors) -> Results {
    let [batch, input, output, height, width] = sizes;
    let x = tensor([batch, input, height, width], 1.0, device).require_grad();
    let weight = tensor([output, input, 3, 3], 2.0, device).require_grad();
    let gamma = tensor([output], 3.0, device).require_grad();
    let beta = tensor([output], 4.0, device).require_grad();
    let inputs = (x.clone(), weight.clone(), gamma.clone(), beta.clone());
    let block = match body {
        Body::Own => conv_block(inputs.0, inputs.1, inputs.2, inputs.3).unwrap(),
        Body::Reference => reference::conv_block(inputs.0, inputs.1, inputs.2, inputs.3),
    };
    let direction = tensor(block.output.dims(), 5.0, device);
    let gradients = (block.output.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(block.output)
        .with(block.mean)
        .with(block.variance)
        .with(x.grad(&gradients).unwrap())
        .with(weight.grad(&gradients).unwrap())
        .with(gamma.grad(&gradients).unwrap())
        .with(beta.grad(&gradients).unwrap());
    let names = [
        "output",
        "mean",
        "variance",
        "grad x",
        "grad weight",
        "grad gamma",
        "grad beta",
    ];
    named(&names, trip).await
}

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
/// are not multiples of four, gaps between the places of the kernel, depthwise, more images than a task takes, and
/// layers of ResNet-18.
pub const CONVOLUTIONS: [Convolution; 20] = [
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
];

/// A convolution with its gradients.
///
/// # Panics
/// When anything fails.
pub async fn convolution(body: Body, sizes: Convolution, device: &Tensors) -> Results {
    let [output, rows, columns] = sizes.weight;
    let input = sizes.x[1] / sizes.options.groups;
    let x = tensor(sizes.x, 1.0, device).require_grad();
    let weight = tensor([output, input, rows, columns], 2.0, device).require_grad();
    let bias = sizes
        .bias
        .then(|| tensor([output], 3.0, device).require_grad());
    let y = match body {
        Body::Own => conv2d(x.clone(), weight.clone(), bias.clone(), sizes.options).unwrap(),
        Body::Reference => {
            reference::conv2d(x.clone(), weight.clone(), bias.clone(), sizes.options)
        }
    };
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

/// Sizes of [`norm`], whether there is a residual, and what follows: single, odd and distinct, many pixels, many
/// channels.
pub const NORMS: [([usize; 4], bool, Activation); 6] = [
    ([3, 1, 1, 1], false, Activation::Linear),
    ([3, 5, 7, 2], false, Activation::Relu),
    ([2, 7, 5, 9], true, Activation::Relu),
    ([2, 4, 3, 6], true, Activation::Linear),
    ([5, 3, 32, 31], false, Activation::Relu),
    ([9, 130, 4, 4], true, Activation::Relu),
];

/// A batch norm's output, statistics and gradients.
///
/// # Panics
/// When anything fails.
pub async fn norm(
    body: Body,
    (shape, residual, activation): ([usize; 4], bool, Activation),
    device: &Tensors,
) -> Results {
    let channels = shape[1];
    let x = tensor(shape, 1.0, device).require_grad();
    let gamma = tensor([channels], 3.0, device).require_grad();
    let beta = tensor([channels], 4.0, device).require_grad();
    let residual = residual.then(|| tensor(shape, 6.0, device).require_grad());
    let inputs = (x.clone(), gamma.clone(), beta.clone(), residual.clone());
    let (y, statistics) = match body {
        Body::Own => batch_norm(inputs.0, inputs.1, inputs.2, inputs.3, activation).unwrap(),
        Body::Reference => {
            reference::batch_norm(inputs.0, inputs.1, inputs.2, inputs.3, activation)
        }
    };
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

async fn named(names: &[&'static str], trip: Readback) -> Results {
    let values = trip.run_all().await.unwrap();
    names.iter().copied().zip(values).collect()
}

/// Whether `got` is `expected` within [`F32_TOLERANCE`].
///
/// # Panics
/// When it is not.
pub fn assert_same(got: &Results, expected: &Results, what: &str) {
    assert_eq!(got.len(), expected.len());
    for ((name, got), (_, expected)) in got.iter().zip(expected) {
        assert_close(&format!("{name} {what}"), got, expected, F32_TOLERANCE);
    }
}
