//! Layers of rows of numbers `[tasks, rows, values]`.

use burn::tensor::Tensor;

use crate::error::Result;
use crate::ops::matmul;

/// `y = x weight + bias` of each task; `weight [tasks, in, out]`, `bias [tasks, 1, out]`.
pub fn linear(x: Tensor<3>, weight: Tensor<3>, bias: Tensor<3>) -> Result<Tensor<3>> {
    Ok(matmul(x, weight)? + bias)
}

/// `d x = g weight'`, `d weight = x' g`, `d bias = sum g`.
pub fn linear_vjp(x: Tensor<3>, weight: Tensor<3>, grad: Tensor<3>) -> Result<[Tensor<3>; 3]> {
    let of_weight = matmul(x.swap_dims(1, 2), grad.clone())?;
    let of_x = matmul(grad.clone(), weight.swap_dims(1, 2))?;
    Ok([of_x, of_weight, grad.sum_dim(1)])
}
