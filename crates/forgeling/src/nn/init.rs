//! Seeded initial weights, made on the host so that every platform starts from the same values.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};

use crate::device::TensorDevice;
use crate::rng::Rng;

/// Independent values from the uniform distribution on `[-bound, bound)`.
pub(super) fn uniform<const D: usize>(
    rng: &mut Rng,
    shape: [usize; D],
    bound: f32,
    device: &TensorDevice,
) -> Param<Tensor<D>> {
    let length = shape.iter().product();
    let values: Vec<f32> = (0..length).map(|_| rng.range(-bound, bound)).collect();
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

/// A trained vector of one value.
pub(super) fn constant(length: usize, value: f32, device: &TensorDevice) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::full([length], value, device))
}

/// A vector that belongs to the model but is not trained.
pub(super) fn buffer(length: usize, value: f32, device: &TensorDevice) -> Param<Tensor<1>> {
    constant(length, value, device).set_require_grad(false)
}
