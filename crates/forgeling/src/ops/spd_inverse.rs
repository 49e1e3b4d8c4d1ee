//! Inverses of symmetric positive definite matrices.

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use forgeling_shaders::SPD_INVERSE;
use forgeling_shaders::spd_inverse::LARGEST;

use super::check::not_empty;
use super::cpu::spd_inverse::{self as cpu, SpdInverseShape};
use super::cpu_tensors::computed;
use super::implementation::composite;
use super::launch::{Grid, Launch, f32s, has_kernels};
use super::matmul::matmul;
use super::reference;
use crate::error::{Error, Result};

const OPERATION: &str = "spd_inverse";

/// Inverses of symmetric positive definite matrices: `inverse[e] = a[e]^-1`
///
/// Shapes: `a [batch, n, n]`, `n` at most 512, result the same. Differentiable: `da = -inverse^T dinverse inverse^T`.
/// Gauss-Jordan elimination without a search for pivots, which these matrices do not need; on the CPU in f64, so that the
/// result is right to f32's rounding, on GPUs in f32, where the error grows with the matrix's condition.
///
/// A matrix that is not positive definite, as far as the dtype's rounding can tell, becomes NaN as a whole, and so does
/// one that holds NaN; the others of the batch do not. That a matrix is symmetric is not looked at.
///
/// # Errors
/// When a matrix is not square or too large, or a size is zero.
pub fn spd_inverse(a: Tensor<3>) -> Result<Tensor<3>> {
    let [batch, n, columns] = a.dims();
    if n != columns || n > LARGEST {
        return Err(Error::invalid(OPERATION, "no square matrices of this size")
            .expected(format!("[batch, n, n], n at most {LARGEST}"))
            .got(format!("{:?}", a.dims())));
    }
    not_empty(OPERATION, &[batch, n], format_args!("{:?}", a.dims()))?;
    let inverse = untracked(a.clone().without_autodiff())?;
    if !a.is_autodiff() {
        return Ok(inverse);
    }
    let inverse = Tensor::from_inner(inverse);
    if !a.is_tracked() {
        return Ok(inverse);
    }
    // The derivative of x a x with respect to a, which is all that is wanted of it.
    let product = matmul(matmul(inverse.clone(), a)?, inverse.clone())?;
    Ok(inverse - (product.clone() - product.detach()))
}

fn untracked(a: Tensor<3>) -> Result<Tensor<3>> {
    let dtype = a.dtype();
    let countable = i32::try_from(a.shape().num_elements()).is_ok();
    let own = dtype == DType::F32 && countable && has_kernels(&a.device(), dtype);
    if !own {
        return composite(OPERATION, dtype, || reference::spd_inverse(a));
    }
    let inverse = <Dispatch as SpdInverseOps>::spd_inverse(a.into_dispatch());
    Ok(Tensor::from_dispatch(inverse))
}

// The gradient comes of products outside.
#[backend_extension(Cube, Flex)]
pub(crate) trait SpdInverseOps: Backend {
    fn spd_inverse(a: FloatTensor<Self>) -> FloatTensor<Self>;
}

fn sizes(a: &Shape, steps: Range<usize>) -> SpdInverseShape {
    let nan = f32::NAN.to_bits() as usize;
    [a[0], a[1], nan, steps.start, steps.end]
}

/// Rounds of an invocation in one launch, about. llvmpipe stops all loops after 65,536.
const ROUNDS: usize = 1 << 14;

impl SpdInverseOps for CubeBackend {
    fn spd_inverse(a: FloatTensor<Self>) -> FloatTensor<Self> {
        let shape = a.shape();
        let n = shape[1];
        let of_step = 2 + (n * n).div_ceil(SPD_INVERSE.workgroup_size as usize);
        let steps = (ROUNDS / of_step).max(1);
        let launch = |first: usize, inverse: Option<FloatTensor<Self>>| {
            let [inverse] = Launch {
                kernel: &SPD_INVERSE,
                sizes: sizes(&shape, first..n.min(first + steps)).to_vec(),
                grid: Grid::Workgroups(shape[0]),
                outputs: [f32s(shape.clone())],
                inputs: vec![a.clone()],
            }
            .run_into([inverse]);
            inverse
        };
        let first = launch(0, None);
        let later = (steps..n).step_by(steps);
        later.fold(first, |inverse, step| launch(step, Some(inverse)))
    }
}

impl SpdInverseOps for Flex {
    fn spd_inverse(a: FloatTensor<Self>) -> FloatTensor<Self> {
        let shape = a.shape();
        computed([&a], shape.clone(), |[a], inverse| {
            cpu::spd_inverse(a, inverse, sizes(&shape, 0..shape[1]));
        })
    }
}
