//! Layers of rows of numbers `[tasks, rows, values]`.

use burn::tensor::Tensor;

use crate::error::Result;
use crate::ops::matmul;

/// `y = x weight + bias` of each task; `weight [tasks, in, out]`, `bias [tasks, 1, out]`.
pub fn linear(x: Tensor<3>, weight: Tensor<3>, bias: Option<Tensor<3>>) -> Result<Tensor<3>> {
    let product = matmul(x, weight)?;
    Ok(match bias {
        Some(bias) => product + bias,
        None => product,
    })
}

/// `d x = g weight'`, `d weight = x' g`, `d bias = sum g`.
pub fn linear_vjp(x: Tensor<3>, weight: Tensor<3>, grad: Tensor<3>) -> Result<[Tensor<3>; 3]> {
    let of_weight = matmul(x.swap_dims(1, 2), grad.clone())?;
    let of_x = matmul(grad.clone(), weight.swap_dims(1, 2))?;
    Ok([of_x, of_weight, grad.sum_dim(1)])
}

/// `x' = (x - mean) / sqrt(variance + epsilon)` of each row, and the reciprocal of the root.
fn normalized(x: Tensor<3>, epsilon: f64) -> (Tensor<3>, Tensor<3>) {
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let inverse = (variance + epsilon).sqrt().recip();
    (centred * inverse.clone(), inverse)
}

/// `y = gamma x' + beta` of each task; `gamma` and `beta` are `[tasks, 1, width]`.
pub fn layer_norm(x: Tensor<3>, gamma: Tensor<3>, beta: Tensor<3>, epsilon: f64) -> Tensor<3> {
    normalized(x, epsilon).0 * gamma + beta
}

/// `d gamma = sum g x'`, `d beta = sum g`, `d x = (h - mean(h) - x' mean(h x')) / sigma` with `h = g gamma`.
pub fn layer_norm_vjp(
    x: Tensor<3>,
    gamma: Tensor<3>,
    grad: Tensor<3>,
    epsilon: f64,
) -> [Tensor<3>; 3] {
    let (hat, inverse) = normalized(x, epsilon);
    let of_gamma = (grad.clone() * hat.clone()).sum_dim(1);
    let of_beta = grad.clone().sum_dim(1);
    let along = grad * gamma;
    let rest = along.clone() - along.clone().mean_dim(2) - hat.clone() * (along * hat).mean_dim(2);
    [rest * inverse, of_gamma, of_beta]
}
