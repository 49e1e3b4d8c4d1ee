//! Values of the CPU back end's tensors as slices, and tensors from values.

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Shape, TensorData};

use super::cpu::pool;

/// Runs `body` over the contiguous f32 values of `inputs`.
pub(super) fn with_values<const N: usize, R>(
    inputs: [&FlexTensor; N],
    body: impl FnOnce([&[f32]; N]) -> R,
) -> R {
    let inputs = inputs.map(FlexTensor::to_contiguous);
    // A contiguous view may start inside a longer buffer, and may end before it does.
    body(inputs.each_ref().map(|input| {
        let start = input.layout().start_offset();
        &input.storage::<f32>()[start..start + input.shape().num_elements()]
    }))
}

/// A tensor of `values`, whose memory is used again when it is dropped.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    let bytes = pool::bytes(values);
    FlexTensor::from_data(TensorData::from_bytes(bytes, shape.into(), DType::F32))
}

/// A tensor of `shape` whose values `body` computes from those of `inputs`; they are zero at first.
pub(super) fn computed<const N: usize>(
    inputs: [&FlexTensor; N],
    shape: impl Into<Shape>,
    body: impl FnOnce([&[f32]; N], &mut [f32]),
) -> FlexTensor {
    let shape = shape.into();
    let mut values = vec![0.0; shape.num_elements()];
    with_values(inputs, |inputs| body(inputs, &mut values));
    tensor(values, shape)
}
