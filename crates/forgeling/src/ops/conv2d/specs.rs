//! Shapes of the outputs, which burn's fusion asks for before it runs anything.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::ConvShape;
use crate::ops::heuristics::Heuristics;

pub fn forward(
    x: &TensorSpec,
    _weight: &TensorSpec,
    _bias: &TensorSpec,
    shape: &ConvShape,
    _heuristics: &Heuristics,
) -> TensorSpec {
    TensorSpec::new(Shape::new(super::y_shape(shape)), x.dtype)
}

pub fn grad_input(
    grad: &TensorSpec,
    _weight: &TensorSpec,
    shape: &ConvShape,
    _heuristics: &Heuristics,
) -> TensorSpec {
    TensorSpec::new(Shape::new(super::x_shape(shape)), grad.dtype)
}

pub fn grad_weight(
    _x: &TensorSpec,
    _grad: &TensorSpec,
    shape: &ConvShape,
    _heuristics: &Heuristics,
) -> TensorSpec {
    TensorSpec::new(Shape::new(super::weight_shape(shape)), DType::F32)
}

pub fn grad_bias(_grad: &TensorSpec, shape: &ConvShape) -> TensorSpec {
    TensorSpec::new(Shape::new([shape.outputs]), DType::F32)
}
