//! Which implementation the operations use.

use std::sync::atomic::{AtomicU8, Ordering};

use burn::tensor::DType;

#[cfg(not(feature = "composite"))]
use crate::error::Error;
use crate::error::Result;

/// What an operation is computed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Implementation {
    /// Our own kernels on GPUs and our own code on the CPU, where there is some for the device and dtype. The default.
    #[default]
    Own,
    /// The composite [`mod@super::reference`] everywhere, which is plain burn: for comparing the two. Needs the cargo
    /// feature `composite`.
    Composite,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Chooses the implementation of all operations from here on, in the whole process.
pub fn set_implementation(implementation: Implementation) {
    CHOSEN.store(implementation as u8, Ordering::Relaxed);
}

/// The implementation in use.
pub fn implementation() -> Implementation {
    if CHOSEN.load(Ordering::Relaxed) == Implementation::Composite as u8 {
        Implementation::Composite
    } else {
        Implementation::Own
    }
}

/// The dtype of sums, and of parameters beside activations of `dtype`: half precision is only for storing.
pub(super) fn computed_in(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        _ => dtype,
    }
}

/// The composite `reference` of an operation that nothing of our own can do.
///
/// # Errors
/// When the composites were left out of this build, as in the web package: they hold stock operations for every
/// device, which are most of a module's size.
#[cfg(feature = "composite")]
pub(super) fn composite<T>(
    _operation: &'static str,
    _dtype: DType,
    reference: impl FnOnce() -> T,
) -> Result<T> {
    Ok(reference())
}

/// As its twin, in a build without composites.
#[cfg(not(feature = "composite"))]
pub(super) fn composite<T>(
    operation: &'static str,
    dtype: DType,
    _reference: impl FnOnce() -> T,
) -> Result<T> {
    Err(
        Error::invalid(operation, "no implementation for this dtype or device")
            .expected("f32, or f16 on a GPU whose shaders have it")
            .got(format!("{dtype:?}")),
    )
}
