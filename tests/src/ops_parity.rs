//! Each operation with its gradients, by our own implementations or by the composite reference: one test for every device,
//! natively and in a browser.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::ops::{
    EpisodeCounts, RunningNorm, conv_block, conv_block_running, episode_logits,
    pairwise_sq_distance, prototype_logits, reference, softmax_cross_entropy,
};

use super::values::{F16_TOLERANCE, F32_TOLERANCE, assert_close, waves};

/// Which implementation computes.
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
pub async fn logits(body: Body, sizes: [usize; 4], dtype: DType, device: &Tensors) -> Results {
    let [episodes, queries, ways, features] = sizes;
    let query = tensor([episodes, queries, features], 1.0, device).require_grad();
    let prototypes = tensor([episodes, ways, features], 2.0, device).require_grad();
    let weights = tensor([episodes, queries, ways], 3.0, device);
    let inputs = (query.clone().cast(dtype), prototypes.clone().cast(dtype));
    let logits = match body {
        Body::Own => prototype_logits(inputs.0, inputs.1).unwrap(),
        Body::Reference => reference::prototype_logits(inputs.0, inputs.1),
    };
    let gradients = (logits.clone() * weights).sum().backward();
    let trip = Readback::new()
        .with(logits)
        .with(query.grad(&gradients).unwrap())
        .with(prototypes.grad(&gradients).unwrap());
    named(&["logits", "grad query", "grad prototypes"], trip).await
}

/// Logits and gradient of a tensor with itself, which no device can bind twice; `sizes` are episodes, examples and
/// features.
///
/// # Panics
/// When anything fails.
pub async fn logits_with_itself(
    body: Body,
    sizes: [usize; 3],
    dtype: DType,
    device: &Tensors,
) -> Results {
    let x = tensor(sizes, 1.0, device).require_grad();
    let stored = x.clone().cast(dtype);
    let logits = match body {
        Body::Own => prototype_logits(stored.clone(), stored).unwrap(),
        Body::Reference => reference::prototype_logits(stored.clone(), stored),
    };
    let weights = tensor(logits.dims(), 2.0, device);
    let gradients = (logits.clone() * weights).sum().backward();
    let trip = Readback::new()
        .with(logits)
        .with(x.grad(&gradients).unwrap());
    named(&["logits", "grad"], trip).await
}

/// Distances and both gradients of `sum(weights * distances)`; `sizes` are batch, rows of each side and features.
///
/// # Panics
/// When anything fails.
pub async fn distances(body: Body, sizes: [usize; 4], dtype: DType, device: &Tensors) -> Results {
    let [batch, rows, others, features] = sizes;
    let a = tensor([batch, rows, features], 1.0, device).require_grad();
    let b = tensor([batch, others, features], 2.0, device).require_grad();
    let weights = tensor([batch, rows, others], 3.0, device);
    let stored = (a.clone().cast(dtype), b.clone().cast(dtype));
    let distances = match body {
        Body::Own => pairwise_sq_distance(stored.0, stored.1).unwrap(),
        Body::Reference => reference::pairwise_sq_distance(stored.0, stored.1),
    };
    let gradients = (distances.clone() * weights).sum().backward();
    let trip = Readback::new()
        .with(distances)
        .with(a.grad(&gradients).unwrap())
        .with(b.grad(&gradients).unwrap());
    named(&["distances", "grad a", "grad b"], trip).await
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
pub async fn episode_loss(
    body: Body,
    sizes: [usize; 5],
    dtype: DType,
    device: &Tensors,
) -> Results {
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
    let stored = features.clone().cast(dtype);
    let (logits, loss) = match body {
        Body::Own => {
            let logits = episode_logits(stored, counts).unwrap();
            let loss = softmax_cross_entropy(logits.clone().reshape(rows), &labels).unwrap();
            (logits, loss)
        }
        Body::Reference => {
            let logits = reference::episode_logits(stored, counts);
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
pub async fn block(body: Body, sizes: [usize; 5], dtype: DType, device: &Tensors) -> Results {
    let [batch, input, output, height, width] = sizes;
    let x = tensor([batch, input, height, width], 1.0, device).require_grad();
    let weight = tensor([output, input, 3, 3], 2.0, device).require_grad();
    let gamma = tensor([output], 3.0, device).require_grad();
    let beta = tensor([output], 4.0, device).require_grad();
    let inputs = (
        x.clone().cast(dtype),
        weight.clone(),
        gamma.clone(),
        beta.clone(),
    );
    let block = match body {
        Body::Own => conv_block(inputs.0, inputs.1, inputs.2, inputs.3).unwrap(),
        Body::Reference => reference::conv_block(inputs.0, inputs.1, inputs.2, inputs.3),
    };
    assert_eq!(block.output.dtype(), dtype);
    let direction = tensor(block.output.dims(), 5.0, device);
    let output = block.output.clone().cast(DType::F32);
    let gradients = (output * direction).sum().backward();
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

/// What a trip brings back, by name.
///
/// # Panics
/// When the device fails.
pub async fn named(names: &[&'static str], trip: Readback) -> Results {
    let values = trip.run_all().await.unwrap();
    names.iter().copied().zip(values).collect()
}

/// The output and gradients of a block with running statistics; `sizes` as in [`block`].
///
/// # Panics
/// When anything fails.
pub async fn running_block(
    body: Body,
    sizes: [usize; 5],
    dtype: DType,
    device: &Tensors,
) -> Results {
    let [batch, input, output, height, width] = sizes;
    let x = tensor([batch, input, height, width], 1.0, device).require_grad();
    let weight = tensor([output, input, 3, 3], 2.0, device).require_grad();
    let [bias, gamma, beta] =
        [3.0, 4.0, 5.0].map(|phase| tensor([output], phase, device).require_grad());
    let norm = RunningNorm {
        bias: bias.clone(),
        gamma: gamma.clone(),
        beta: beta.clone(),
        mean: tensor([output], 6.0, device),
        variance: tensor([output], 7.0, device).abs() + 0.1,
    };
    let stored = x.clone().cast(dtype);
    let block = match body {
        Body::Own => conv_block_running(stored, weight.clone(), norm).unwrap(),
        Body::Reference => reference::conv_block_running(stored, weight.clone(), norm),
    };
    assert_eq!(block.dtype(), dtype);
    let direction = tensor(block.dims(), 8.0, device);
    let block = block.cast(DType::F32);
    let gradients = (block.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(block)
        .with(x.grad(&gradients).unwrap())
        .with(weight.grad(&gradients).unwrap())
        .with(bias.grad(&gradients).unwrap())
        .with(gamma.grad(&gradients).unwrap())
        .with(beta.grad(&gradients).unwrap());
    let names = [
        "output",
        "grad x",
        "grad weight",
        "grad bias",
        "grad gamma",
        "grad beta",
    ];
    named(&names, trip).await
}

/// Whether `got` is `expected` within the tolerance of `dtype`.
///
/// # Panics
/// When it is not.
pub fn assert_same(got: &Results, expected: &Results, dtype: DType, what: &str) {
    assert_eq!(got.len(), expected.len());
    let tolerance = match dtype {
        DType::F16 => F16_TOLERANCE,
        _ => F32_TOLERANCE,
    };
    for ((name, got), (_, expected)) in got.iter().zip(expected) {
        assert_close(&format!("{name} {what}"), got, expected, tolerance);
    }
}
