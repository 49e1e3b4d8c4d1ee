//! Shapes of the outputs, which burn's fusion asks for before it runs anything.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::extension::{
    End, MatmulForwardMetadata, RightGradientsMetadata, product_shape, right_shape, with_columns,
};
use crate::ops::heuristics::Heuristics;

/// The result has the dtype of the left side.
pub fn forward(
    a: &TensorSpec,
    b: &TensorSpec,
    _bias: &TensorSpec,
    _end: &End,
    _heuristics: &Heuristics,
) -> MatmulForwardMetadata {
    let columns = product_shape(&a.shape, &b.shape).columns;
    let output = TensorSpec::new(with_columns(&a.shape, columns), a.dtype);
    MatmulForwardMetadata {
        right: TensorSpec::new(b.shape.clone(), a.dtype),
        kept: output.clone(),
        output,
    }
}

/// The gradients are in f32.
pub fn right(
    a: &TensorSpec,
    grad: &TensorSpec,
    _bias: &bool,
    _heuristics: &Heuristics,
) -> RightGradientsMetadata {
    let right = right_shape(&a.shape, &grad.shape);
    let columns = right[right.num_dims() - 1];
    RightGradientsMetadata {
        right: TensorSpec::new(right, DType::F32),
        bias: TensorSpec::new(Shape::new([columns]), DType::F32),
    }
}
