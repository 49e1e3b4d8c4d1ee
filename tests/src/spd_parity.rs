//! The inverse of positive definite matrices with its gradient, for every device.

use burn::tensor::{Device as Tensors, Tensor};
use forgeling::Readback;
use forgeling::ops::{reference, spd_inverse};

use super::ops_parity::{Body, Results, named, tensor};

/// Batch and sides: single, odd, larger than a workgroup's share, and those of tasks.
pub const SPD_SIZES: [[usize; 2]; 5] = [[3, 1], [3, 5], [1, 7], [3, 25], [2, 100]];

/// Matrices `[batch, n, n]` whose smallest eigenvalue is 1 at least.
pub fn definite([batch, n]: [usize; 2], device: &Tensors) -> Tensor<3> {
    let factor = tensor([batch, n, n], 1.0, device);
    let square = factor.clone().matmul(factor.transpose()) / n as f64;
    square + Tensor::<2>::eye(n, device).unsqueeze()
}

/// The inverse, and the gradient of `sum(weights * inverse)`; the reference's by its formula.
///
/// # Panics
/// When anything fails.
pub async fn inverse(body: Body, sizes: [usize; 2], device: &Tensors) -> Results {
    let a = definite(sizes, device).detach().require_grad();
    let weights = tensor(a.dims(), 2.0, device);
    let (inverse, gradient) = match body {
        Body::Own => {
            let inverse = spd_inverse(a.clone()).unwrap();
            let gradients = (inverse.clone() * weights).sum().backward();
            (inverse, a.grad(&gradients).unwrap())
        }
        Body::Reference => {
            let inverse = reference::spd_inverse(a);
            let turned = inverse.clone().transpose();
            let gradient = turned.clone().matmul(weights).matmul(turned).neg();
            (inverse, gradient)
        }
    };
    let trip = Readback::new().with(inverse).with(gradient);
    named(&["inverse", "grad"], trip).await
}
