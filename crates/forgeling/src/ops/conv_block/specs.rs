//! Shapes of the block's outputs, which burn's fusion asks for before it runs anything.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::{Backwards, BlockForwardMetadata, BlockGradientsMetadata, Formats};
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::PART;
use crate::ops::storage::{Half, words};

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
    let stored = |shape: Shape| TensorSpec::new(shape, x.dtype);
    let single = |shape: Shape| TensorSpec::new(shape, DType::F32);
    let padded = output.next_multiple_of(4);
    BlockForwardMetadata {
        output: stored(Shape::new([batch, output, height / 2, width / 2])),
        packed: single(Shape::new([9 * x.shape[1] * padded])),
        convolved: stored(Shape::new([batch, height, width, padded])),
        statistics: single(Shape::new([3 * output.next_multiple_of(PART)])),
        mean: gamma.clone(),
        variance: beta.clone(),
    }
}

/// As [`forward`], with running statistics.
#[allow(clippy::too_many_arguments)]
pub fn running(
    x: &TensorSpec,
    weight: &TensorSpec,
    _bias: &TensorSpec,
    gamma: &TensorSpec,
    beta: &TensorSpec,
    _mean: &TensorSpec,
    _variance: &TensorSpec,
    _keep: &bool,
    heuristics: &Heuristics,
) -> BlockForwardMetadata {
    forward(x, weight, gamma, beta, heuristics)
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
    _output: &TensorSpec,
    _statistics: &TensorSpec,
    _grad: &TensorSpec,
    formats: &Option<Formats>,
    what: &Backwards,
) -> BlockGradientsMetadata {
    let of_input = match formats {
        _ if !what.input_gradient => TensorSpec::new(Shape::new([0]), DType::F32),
        Some(formats) => TensorSpec::new(Shape::new(formats.shape), DType::F32),
        None => x.clone(),
    };
    BlockGradientsMetadata {
        x: of_input,
        weight: weight.clone(),
        gamma: gamma.clone(),
        beta: beta.clone(),
    }
}

/// As [`forward`], with the convolution in 16 bits.
#[allow(clippy::too_many_arguments)]
pub fn packed(
    x: &TensorSpec,
    weight: &TensorSpec,
    gamma: &TensorSpec,
    beta: &TensorSpec,
    _mean: &TensorSpec,
    _variance: &TensorSpec,
    _half: &Half,
    heuristics: &Heuristics,
) -> BlockForwardMetadata {
    let forward = forward(x, weight, gamma, beta, heuristics);
    let words = words(forward.convolved.shape.num_elements());
    BlockForwardMetadata {
        convolved: TensorSpec::new(Shape::new([words]), DType::F32),
        ..forward
    }
}
