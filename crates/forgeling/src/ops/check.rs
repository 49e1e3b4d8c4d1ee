//! What operations ask of their arguments, and the errors where it does not hold.

use std::fmt::Display;

use burn::tensor::{DType, Tensor};

use crate::error::{Error, Result};

/// Whether a dtype is one of 16 bits, beside which parameters may be f32.
pub(super) const fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// No size is zero; `got` tells all of them.
pub(super) fn not_empty(operation: &'static str, sizes: &[usize], got: impl Display) -> Result<()> {
    if sizes.contains(&0) {
        return Err(Error::invalid(operation, "empty input")
            .expected("every size at least 1")
            .got(got));
    }
    Ok(())
}

/// What is added to a variance is a positive number, also in f32.
pub(super) fn check_epsilon(operation: &'static str, epsilon: f64) -> Result<()> {
    let small = epsilon as f32;
    if small > 0.0 && small.is_finite() {
        return Ok(());
    }
    Err(Error::invalid(operation, "epsilon is out of range")
        .expected("a positive number")
        .got(epsilon))
}

/// The tensor has this shape and dtype.
pub(super) fn fits<const D: usize>(
    operation: &'static str,
    misfit: impl Into<String>,
    tensor: &Tensor<D>,
    shape: [usize; D],
    dtype: DType,
) -> Result<()> {
    if tensor.dims() != shape || tensor.dtype() != dtype {
        return Err(Error::invalid(operation, misfit)
            .expected(format!("{shape:?} of {dtype:?}"))
            .got(format!("{:?} of {:?}", tensor.dims(), tensor.dtype())));
    }
    Ok(())
}

/// Parameters `[length]` beside activations of the dtype `stored`: they have this dtype, or are f32 if it is half
/// precision.
pub(super) fn vectors_fit(
    operation: &'static str,
    vectors: &[(&str, &Tensor<1>)],
    length: usize,
    stored: DType,
) -> Result<()> {
    for (name, vector) in vectors {
        let wide = is_half(stored) && vector.dtype() == DType::F32;
        let dtype = if wide { DType::F32 } else { stored };
        fits(
            operation,
            format!("{name} does not fit"),
            vector,
            [length],
            dtype,
        )?;
    }
    Ok(())
}

/// Two tensors with these names have one dtype.
pub(super) fn same_dtype(
    operation: &'static str,
    names: [&str; 2],
    [first, second]: [DType; 2],
) -> Result<()> {
    if first != second {
        let [one, other] = names;
        let message = format!("{one} and {other} differ in dtype");
        return Err(Error::invalid(operation, message)
            .expected(format!("{first:?}"))
            .got(format!("{second:?}")));
    }
    Ok(())
}
