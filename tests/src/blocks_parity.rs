//! The operations of a Transformer with their gradients, by our own bodies or by the composite reference: one body for
//! every device, natively and in a browser.

use burn::tensor::{DType, Device as Tensors, Tensor};
use forgeling::Readback;
use forgeling::ops::{AttentionOptions, attention, layer_norm, reference};

use super::ops_parity::{Body, Results, named, tensor};

/// f16 activations against f32: inputs are the same, results and what is kept are rounded.
pub const F16_TOLERANCE: f32 = 1e-2;

/// How activations are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// f32.
    Single,
    /// Values that f16 holds, in f32.
    Rounded,
    /// f16.
    Half,
}

impl Stored {
    /// Activations, tracked.
    fn activations<const D: usize>(
        self,
        shape: [usize; D],
        phase: f64,
        device: &Tensors,
    ) -> Tensor<D> {
        let values = tensor(shape, phase, device);
        match self {
            Self::Single => values,
            Self::Rounded => values.cast(DType::F16).cast(DType::F32),
            Self::Half => values.cast(DType::F16),
        }
        .detach()
        .require_grad()
    }
}

fn single<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.cast(DType::F32)
}

/// Rows and width of [`norm`]: odd and distinct, single, larger than a task or a workgroup, and those of a small ViT.
pub const NORM_SIZES: [[usize; 2]; 6] = [[1, 1], [1, 7], [5, 3], [33, 65], [131, 258], [260, 128]];

/// A layer norm and its gradients; `sizes` are rows and width.
///
/// # Panics
/// When anything fails.
pub async fn norm(body: Body, sizes: [usize; 2], stored: Stored, device: &Tensors) -> Results {
    let x = stored.activations(sizes, 1.0, device);
    let gamma = tensor([sizes[1]], 2.0, device).require_grad();
    let beta = tensor([sizes[1]], 3.0, device).require_grad();
    let (g, b) = (gamma.clone(), beta.clone());
    let output = match body {
        Body::Own => layer_norm(x.clone(), g, b, 1e-5).unwrap(),
        Body::Reference => reference::layer_norm(x.clone(), g, b, 1e-5),
    };
    let direction = stored.activations(sizes, 4.0, device).detach();
    let gradients = single(output.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(single(output))
        .with(single(x.grad(&gradients).unwrap()))
        .with(gamma.grad(&gradients).unwrap())
        .with(beta.grad(&gradients).unwrap());
    named(&["output", "grad x", "grad gamma", "grad beta"], trip).await
}

/// Batches, heads, queries, keys and width of [`attend`]: smallest (of one key the scores have no gradient), odd and distinct, longer than a workgroup's span and
/// than its chunk, wider than a workgroup's quads, and those of a small ViT.
pub const ATTENTION_SIZES: [[usize; 5]; 7] = [
    [1, 1, 1, 2, 1],
    [1, 2, 3, 5, 4],
    [2, 3, 5, 3, 7],
    [1, 3, 33, 70, 6],
    [2, 1, 70, 31, 36],
    [1, 1, 9, 17, 132],
    [2, 4, 65, 65, 32],
];

/// Softmax attention and its gradients; `sizes` are batches, heads, queries, keys and width.
///
/// # Panics
/// When anything fails.
pub async fn attend(
    body: Body,
    sizes: [usize; 5],
    options: AttentionOptions,
    stored: Stored,
    device: &Tensors,
) -> Results {
    let [batches, heads, queries, keys, width] = sizes;
    let query = stored.activations([batches, heads, queries, width], 1.0, device);
    let key = stored.activations([batches, heads, keys, width], 2.0, device);
    let value = stored.activations([batches, heads, keys, width], 3.0, device);
    let (q, k, v) = (query.clone(), key.clone(), value.clone());
    let output = match body {
        Body::Own => attention(q, k, v, options).unwrap(),
        Body::Reference => reference::attention(q, k, v, options),
    };
    let direction = stored.activations(output.dims(), 4.0, device).detach();
    let gradients = single(output.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(single(output))
        .with(single(query.grad(&gradients).unwrap()))
        .with(single(key.grad(&gradients).unwrap()))
        .with(single(value.grad(&gradients).unwrap()));
    named(&["output", "grad query", "grad key", "grad value"], trip).await
}

/// Options that [`attend`] is tried with: the defaults, a causal mask, and a scale of its own.
pub const ATTENTION_OPTIONS: [AttentionOptions; 3] = [
    AttentionOptions {
        scale: None,
        causal: false,
    },
    AttentionOptions {
        scale: None,
        causal: true,
    },
    AttentionOptions {
        scale: Some(-0.25),
        causal: false,
    },
];
