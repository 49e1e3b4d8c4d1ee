//! Shapes of the outputs, which burn's fusion asks for before it runs anything.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::{AttentionForwardMetadata, AttentionGradientsMetadata, Weighing};

pub fn forward(
    query: &TensorSpec,
    _key: &TensorSpec,
    _value: &TensorSpec,
    _weighing: &Weighing,
) -> AttentionForwardMetadata {
    let [batches, heads, queries] = [query.shape[0], query.shape[1], query.shape[2]];
    AttentionForwardMetadata {
        output: query.clone(),
        lse: TensorSpec::new(Shape::new([batches, heads, queries]), DType::F32),
    }
}

/// The gradients have the shapes of what they belong to.
pub fn backward(
    query: &TensorSpec,
    key: &TensorSpec,
    value: &TensorSpec,
    _output: &TensorSpec,
    _lse: &TensorSpec,
    _grad: &TensorSpec,
    _weighing: &Weighing,
) -> AttentionGradientsMetadata {
    AttentionGradientsMetadata {
        query: query.clone(),
        key: key.clone(),
        value: value.clone(),
    }
}
