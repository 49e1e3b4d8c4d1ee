//! Values of the CPU back end's tensors as slices, and tensors from values.

use std::mem::MaybeUninit;

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::{AllocationProperty, Bytes, DType, Shape, TensorData};
use cubecl_environment::bytes::{AccessError, AccessPolicy, AllocationController};

use super::cpu::pool;
use crate::device::Counted;

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
    let data = TensorData::from_bytes(bytes(values), shape.into(), DType::F32);
    FlexTensor::from_data(data)
}

/// The bytes of `values`, whose memory is used again when they are dropped.
fn bytes(values: Vec<f32>) -> Bytes {
    if values.len() < pool::SMALLEST {
        return Bytes::from_elems(values);
    }
    let length = size_of_val(values.as_slice());
    let counted = Counted::new((values.capacity() * size_of::<f32>()) as u64);
    let pooled = Pooled {
        values,
        _counted: counted,
    };
    // SAFETY: a vector's numbers are initialized, all `length` bytes of them.
    unsafe { Bytes::from_controller(Box::new(pooled), length) }
}

struct Pooled {
    values: Vec<f32>,
    _counted: Counted,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        pool::give(std::mem::take(&mut self.values));
    }
}

impl AllocationController for Pooled {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(
        &mut self,
        _policy: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let length = size_of_val(self.values.as_slice());
        // SAFETY: these are the vector's bytes, borrowed as it is; the caller writes initialized data only, and any
        // bytes make an f32.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.values.as_mut_ptr().cast(), length) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let length = size_of_val(self.values.as_slice());
        // SAFETY: these are the vector's bytes, borrowed as it is.
        Ok(unsafe { std::slice::from_raw_parts(self.values.as_ptr().cast(), length) })
    }
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
