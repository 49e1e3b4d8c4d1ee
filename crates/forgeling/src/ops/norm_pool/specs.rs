//! Shapes of the outputs, which burn's fusion asks for before it runs anything.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::extension::{LineGradientsMetadata, PoolGradientsMetadata, SecondGradientsMetadata};
use super::gpu::NUMBERS;

pub fn line(
    z: &TensorSpec,
    scale: &TensorSpec,
    shift: &TensorSpec,
    _grad: &TensorSpec,
) -> LineGradientsMetadata {
    LineGradientsMetadata {
        z: z.clone(),
        scale: scale.clone(),
        shift: shift.clone(),
    }
}

/// The numbers are as GPUs lay them out, since only they are fused.
pub fn first(
    z: &TensorSpec,
    gamma: &TensorSpec,
    _beta: &TensorSpec,
    _grad: &TensorSpec,
) -> PoolGradientsMetadata {
    let rows = |count: usize| TensorSpec::new(Shape::new([count, gamma.shape[0]]), DType::F32);
    PoolGradientsMetadata {
        input: z.clone(),
        vectors: rows(2),
        numbers: rows(NUMBERS),
    }
}

pub fn second(
    z: &TensorSpec,
    gamma: &TensorSpec,
    _beta: &TensorSpec,
    grad: &TensorSpec,
    _numbers: &TensorSpec,
    _flow: &TensorSpec,
    _of_vectors: &bool,
) -> SecondGradientsMetadata {
    SecondGradientsMetadata {
        z: z.clone(),
        gamma: gamma.clone(),
        grad: grad.clone(),
    }
}
