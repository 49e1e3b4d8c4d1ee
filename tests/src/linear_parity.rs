//! Matrix products with their gradients, by our own implementations or by the composite reference: one test for every device,
//! natively and in a browser.

use burn::tensor::{DType, Device as Tensors};
use forgeling::Readback;
use forgeling::ops::{Activation, linear, matmul, reference};

use super::ops_parity::{Body, Results, tensor};

/// Rows, inputs and outputs of [`layer`]: odd and distinct, single, of multiples of 4, with a sum that is split, and
/// those of a perceptron.
pub const LAYER_SIZES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [3, 7, 5],
    [9, 8, 12],
    [13, 4, 60],
    [1, 260, 20],
    [6, 2050, 3],
    [1031, 5, 4],
    [2052, 12, 8],
    [33, 784, 100],
];

/// Products, rows, inner size and columns of [`products`].
pub const PRODUCT_SIZES: [[usize; 4]; 5] = [
    [1, 1, 1, 1],
    [3, 5, 7, 2],
    [2, 9, 8, 12],
    [2, 3, 1030, 5],
    [2, 4, 1032, 8],
];

/// Every activation, with and without a bias.
pub const ENDS: [(Activation, bool); 4] = [
    (Activation::None, false),
    (Activation::None, true),
    (Activation::Relu, true),
    (Activation::Gelu, true),
];

/// A layer's output and gradients, activations stored as `stored`; `sizes` are rows, inputs and outputs.
///
/// # Panics
/// When anything fails.
pub async fn layer(
    body: Body,
    sizes: [usize; 3],
    end: (Activation, bool),
    stored: DType,
    device: &Tensors,
) -> Results {
    let [rows, input, output] = sizes;
    let (activation, biased) = end;
    let x = tensor([rows, input], 1.0, device)
        .cast(stored)
        .require_grad();
    // Of the size of a trained layer's, so that activations neither vanish nor leave half precision.
    let share = 1.0 / (input as f64).sqrt();
    // What a kernel in half precision rounds is rounded for the reference too.
    let weight = (tensor([input, output], 2.0, device) * share).cast(stored);
    let weight = weight.cast(DType::F32).require_grad();
    let bias = tensor([output], 3.0, device).require_grad();
    let given = biased.then(|| bias.clone());
    let y = match body {
        Body::Own => linear(x.clone(), weight.clone(), given, activation).unwrap(),
        Body::Reference => reference::linear(x.clone(), weight.clone(), given, activation),
    };
    assert_eq!((y.dims(), y.dtype()), ([rows, output], stored));
    // Smaller where many rows add up, and not around 0, where the sum over the rows would be of rounding errors alone.
    let share = 1.0 / (rows as f64).sqrt();
    let direction = ((tensor([rows, output], 4.0, device) + 0.5) * share).cast(stored);
    let gradients = (y.clone() * direction).sum().backward();
    let mut trip = Readback::new()
        .with(y)
        .with(x.grad(&gradients).unwrap())
        .with(weight.grad(&gradients).unwrap());
    let mut names = vec!["output", "grad x", "grad weight"];
    if biased {
        trip = trip.with(bias.grad(&gradients).unwrap());
        names.push("grad bias");
    }
    names
        .into_iter()
        .zip(trip.run_all().await.unwrap())
        .collect()
}

/// Products and gradients, all stored as `stored`; `sizes` are products, rows, inner size and columns.
///
/// # Panics
/// When anything fails.
pub async fn products(body: Body, sizes: [usize; 4], stored: DType, device: &Tensors) -> Results {
    let [batch, rows, inner, columns] = sizes;
    let share = 1.0 / (inner as f64).sqrt();
    let a = tensor([batch, rows, inner], 1.0, device).cast(stored);
    let b = (tensor([batch, inner, columns], 2.0, device) * share).cast(stored);
    let (a, b) = (a.require_grad(), b.require_grad());
    let out = match body {
        Body::Own => matmul(a.clone(), b.clone()).unwrap(),
        Body::Reference => reference::matmul(a.clone(), b.clone()),
    };
    assert_eq!(out.dtype(), stored);
    let direction = tensor([batch, rows, columns], 3.0, device).cast(stored);
    let gradients = (out.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(out)
        .with(a.grad(&gradients).unwrap())
        .with(b.grad(&gradients).unwrap());
    let names = ["output", "grad a", "grad b"];
    names
        .into_iter()
        .zip(trip.run_all().await.unwrap())
        .collect()
}
