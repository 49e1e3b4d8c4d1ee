//! The operations of a Transformer with their gradients, by our own implementations or by the composite reference: one test for
//! every device, natively and in a browser.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::ops::{AttentionOptions, Levels, attention, fake_quantize, layer_norm, reference};

use super::ops_parity::{Body, Results, named, tensor};

/// Rows and width of [`norm`]: odd and distinct, single, larger than a task or a workgroup, and those of a small ViT.
pub const NORM_SIZES: [[usize; 2]; 6] = [[1, 1], [1, 7], [5, 3], [33, 65], [131, 258], [260, 128]];

/// A layer norm and its gradients; `sizes` are rows and width.
///
/// # Panics
/// When anything fails.
pub async fn norm(body: Body, sizes: [usize; 2], dtype: DType, device: &Tensors) -> Results {
    let x = tensor(sizes, 1.0, device).require_grad();
    let stored = x.clone().cast(dtype);
    let gamma = tensor([sizes[1]], 2.0, device).require_grad();
    let beta = tensor([sizes[1]], 3.0, device).require_grad();
    let (g, b) = (gamma.clone(), beta.clone());
    let output = match body {
        Body::Own => layer_norm(stored, g, b, 1e-5).unwrap(),
        Body::Reference => reference::layer_norm(stored, g, b, 1e-5),
    };
    assert_eq!(output.dtype(), dtype);
    let output = output.cast(DType::F32);
    let direction = tensor(sizes, 4.0, device);
    let gradients = (output.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(output)
        .with(x.grad(&gradients).unwrap())
        .with(gamma.grad(&gradients).unwrap())
        .with(beta.grad(&gradients).unwrap());
    named(&["output", "grad x", "grad gamma", "grad beta"], trip).await
}

/// Sizes and axis of [`fake_quantized`]: single, odd and distinct, scales side by side and far apart, one for all, and longer than a
/// task.
pub const ROUNDED_SIZES: [([usize; 3], Option<usize>); 6] = [
    ([1, 1, 1], None),
    ([3, 5, 7], Some(1)),
    ([3, 5, 7], Some(2)),
    ([4, 3, 131], Some(0)),
    ([7, 19, 83], None),
    ([5, 67, 61], Some(2)),
];

/// Rounded values and the gradients of values and scales; the scales are powers of 2, whose inverses are exact everywhere.
///
/// # Panics
/// When anything fails.
pub async fn fake_quantized(
    body: Body,
    (sizes, axis): ([usize; 3], Option<usize>),
    levels: Levels,
    dtype: DType,
    device: &Tensors,
) -> Results {
    let x = tensor(sizes, 1.0, device).require_grad();
    let stored = x.clone().cast(dtype);
    let channels = axis.map_or(1, |axis| sizes[axis]);
    let scales: Vec<f32> = (0..channels)
        .map(|c| 0.5f32.powi(1 + c as i32 % 4))
        .collect();
    let scale = Tensor::<1>::from_data(TensorData::new(scales, [channels]), device).require_grad();
    let output = match body {
        Body::Own => fake_quantize(stored, scale.clone(), axis, levels).unwrap(),
        Body::Reference => reference::fake_quantize(stored, scale.clone(), axis, levels),
    };
    assert_eq!(output.dtype(), dtype);
    let output = output.cast(DType::F32);
    let direction = tensor(sizes, 4.0, device);
    let gradients = (output.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(output)
        .with(x.grad(&gradients).unwrap())
        .with(scale.grad(&gradients).unwrap());
    named(&["output", "grad x", "grad scale"], trip).await
}

/// Batches, heads, queries, keys and width of [`attend`]: smallest (of one key the scores have no gradient), odd and distinct,
/// longer than a workgroup's span and than its chunk, wider than a workgroup's quads, and those of a small ViT.
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
    dtype: DType,
    device: &Tensors,
) -> Results {
    let [batches, heads, queries, keys, width] = sizes;
    let query = tensor([batches, heads, queries, width], 1.0, device).require_grad();
    let key = tensor([batches, heads, keys, width], 2.0, device).require_grad();
    let value = tensor([batches, heads, keys, width], 3.0, device).require_grad();
    let [q, k, v] = [&query, &key, &value].map(|tensor| tensor.clone().cast(dtype));
    let output = match body {
        Body::Own => attention(q, k, v, options).unwrap(),
        Body::Reference => reference::attention(q, k, v, options),
    };
    assert_eq!(output.dtype(), dtype);
    let output = output.cast(DType::F32);
    let direction = tensor(output.dims(), 4.0, device);
    let gradients = (output.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(output)
        .with(query.grad(&gradients).unwrap())
        .with(key.grad(&gradients).unwrap())
        .with(value.grad(&gradients).unwrap());
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
