//! Shapes of the block's outputs, which burn's fusion asks for before it runs anything.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::{BlockForwardMetadata, BlockGradientsMetadata};
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::PART;

/// The last two dimensions are halved by pooling; what only the backward pass reads is as GPUs lay it out, since
/// only they are fused.
pub fn forward(
    x: &TensorSpec,
    weight: &TensorSpec,
    gamma: &TensorSpec,
    beta: &TensorSpec,
    _heuristics: &Heuristics,
) -> BlockForwardMetadata {
    let [batch, height, width] = [x.shape[0], x.shape[2], x.shape[3]];
    let output = weight.shape[0];
    let spec = |shape: Shape| TensorSpec::new(shape, x.dtype);
    BlockForwardMetadata {
        output: spec(Shape::new([batch, output, height / 2, width / 2])),
        packed: spec(Shape::new([9 * x.shape[1] * output.next_multiple_of(4)])),
        convolved: spec(Shape::new([
            batch,
            height,
            width,
            output.next_multiple_of(4),
        ])),
        statistics: TensorSpec::new(Shape::new([3 * output.next_multiple_of(PART)]), DType::F32),
        mean: gamma.clone(),
        variance: beta.clone(),
    }
}

/// The gradients have the shapes of what they belong to; that of `x` is empty unless asked for.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    x: &TensorSpec,
    weight: &TensorSpec,
    _packed: &TensorSpec,
    gamma: &TensorSpec,
    beta: &TensorSpec,
    _convolved: &TensorSpec,
    _statistics: &TensorSpec,
    _grad: &TensorSpec,
    input_gradient: &bool,
    _heuristics: &Heuristics,
) -> BlockGradientsMetadata {
    let of_input = if *input_gradient {
        x.clone()
    } else {
        TensorSpec::new(Shape::new([0]), DType::F32)
    };
    BlockGradientsMetadata {
        x: of_input,
        weight: weight.clone(),
        gamma: gamma.clone(),
        beta: beta.clone(),
    }
}
