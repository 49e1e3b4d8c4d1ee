//! Each operation with its gradients, by our own bodies or by the composite reference: one body for every device,
//! natively and in a browser.

use burn::tensor::{Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::ops::{
    EpisodeCounts, conv_block, episode_logits, pairwise_sq_distance, prototype_logits, reference,
    softmax_cross_entropy,
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

/// Distances and both gradients of `sum(weights * distances)`; `sizes` are batch, rows of each side and features.
///
/// # Panics
/// When anything fails.
pub async fn distances(body: Body, sizes: [usize; 4], device: &Tensors) -> Results {
    let [batch, rows, others, features] = sizes;
    let a = tensor([batch, rows, features], 1.0, device).require_grad();
    let b = tensor([batch, others, features], 2.0, device).require_grad();
    let weights = tensor([batch, rows, others], 3.0, device);
    let distances = match body {
        Body::Own => pairwise_sq_distance(a.clone(), b.clone()).unwrap(),
        Body::Reference => reference::pairwise_sq_distance(a.clone(), b.clone()),
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
