//! Products of matrices, with a bias and an activation in the same pass.

mod cpu;
mod extension;
mod gpu;

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};
use forgeling_shaders::activation::{GELU, RELU};
use serde::{Deserialize, Serialize};

use self::extension::{End, MatmulOps};
pub(super) use self::gpu::splits;
use super::check::{not_empty, same_dtype};
use super::heuristics::Heuristics;
use super::implementation::composite;
use super::launch::has_kernels;
use super::plan::admit_op;
use super::reference;
use crate::error::{Error, Result};

/// What is done to each element of a layer's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing. The default.
    #[default]
    None,
    /// `max(z, 0)`, with slope 0 at 0. Nair and Hinton, *Rectified Linear Units Improve Restricted Boltzmann
    /// Machines*, 2010.
    Relu,
    /// `z P(Z <= z)` with a normal `Z`: the exact form `z/2 (1 + erf(z / sqrt(2)))`, not the one with tanh. Hendrycks
    /// and Gimpel, *Gaussian Error Linear Units*, 2016 (arXiv 1606.08415).
    Gelu,
}

impl Activation {
    /// Its number in the kernels.
    fn code(self) -> usize {
        match self {
            Self::None => 0,
            Self::Relu => RELU,
            Self::Gelu => GELU,
        }
    }
}

/// A layer of neurons: `y[r, o] = activation(sum_i x[r, i] weight[i, o] + bias[o])`
///
/// Shapes: `x [rows, in]`, `weight [in, out]` as in burn's `Linear` (PyTorch has it transposed), `bias [out]`, result
/// `[rows, out]` of `x`'s dtype; all on one device. Weight and bias have `x`'s dtype or are f32, as they are to be
/// beside `x` of half precision. Differentiable in all three. NaN propagates.
///
/// On a GPU this is one launch forward, and backward one for each of the gradients of `x` and of the weight; that of
/// the bias comes with the weight's, and an activation takes one more. Where rows are few and the sum is long, a
/// product is two launches, and in half precision the weight is cast in one more.
///
/// # Errors
/// When shapes do not fit each other, when a size is zero, or when a dtype is neither `x`'s nor f32.
pub fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
) -> Result<Tensor<2>> {
    const OPERATION: &str = "linear";
    let ([rows, input], [weight_input, output]) = (x.dims(), weight.dims());
    if input != weight_input {
        return Err(
            Error::invalid(OPERATION, "the weights do not fit the input")
                .expected(format!("weight [{input}, out]"))
                .got(format!("{:?}", weight.dims())),
        );
    }
    let got = format_args!("x {:?}, weight {:?}", x.dims(), weight.dims());
    not_empty(OPERATION, &[rows, input, output], got)?;
    if let Some(bias) = bias.as_ref().filter(|bias| bias.dims() != [output]) {
        return Err(Error::invalid(OPERATION, "the bias does not fit")
            .expected(format!("[{output}]"))
            .got(format!("{:?}", bias.dims())));
    }
    let bias_dtype = bias.as_ref().map_or(DType::F32, Tensor::dtype);
    for (name, dtype) in [("weight", weight.dtype()), ("bias", bias_dtype)] {
        if dtype != x.dtype() && dtype != DType::F32 {
            return Err(
                Error::invalid(OPERATION, format!("the {name}'s dtype does not fit"))
                    .expected(format!("{:?} or F32", x.dtype()))
                    .got(format!("{dtype:?}")),
            );
        }
    }
    let parameters = [weight.dtype(), bias_dtype];
    let own = parameters.iter().all(|dtype| *dtype == DType::F32)
        && countable([1, rows, output, input])
        && has_kernels(&x.device(), x.dtype());
    if !own {
        return composite(OPERATION, x.dtype(), || {
            reference::linear(x, weight, bias, activation)
        });
    }
    admit_op(OPERATION, &x.device(), |sim| {
        sim.linear(sim.given(&x), output, activation).map(drop)
    })?;
    let end = End {
        activation,
        bias: bias.is_some(),
        keep: false,
    };
    let heuristics = Heuristics::of(&x.device());
    let bias = bias.unwrap_or_else(|| Tensor::empty([NOTHING], (&x.device(), DType::F32)));
    let forward = <Dispatch as MatmulOps>::matmul(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        end,
        heuristics,
    );
    Ok(Tensor::from_dispatch(forward.output))
}

/// Products of matrices: `out[e, m, n] = sum_k a[e, m, k] b[e, k, n]`
///
/// Shapes: `a [E, M, K]`, `b [E, K, N]`, result `[E, M, N]`; both of one float dtype, which is the result's, and on one
/// device. Half precision is summed in f32. Differentiable in both. NaN propagates.
///
/// On a GPU this is one launch forward and one for each gradient, two where the result is small and the sum long.
///
/// # Errors
/// When the shapes do not fit each other, when a size is zero, or when dtypes differ.
pub fn matmul(a: Tensor<3>, b: Tensor<3>) -> Result<Tensor<3>> {
    const OPERATION: &str = "matmul";
    let ([batch, rows, inner], [b_batch, b_inner, columns]) = (a.dims(), b.dims());
    if batch != b_batch || inner != b_inner {
        return Err(Error::invalid(OPERATION, "the matrices do not fit")
            .expected(format!("b [{batch}, {inner}, columns]"))
            .got(format!("{:?}", b.dims())));
    }
    let got = format_args!("a {:?}, b {:?}", a.dims(), b.dims());
    not_empty(OPERATION, &[batch, rows, inner, columns], got)?;
    same_dtype(OPERATION, ["a", "b"], [a.dtype(), b.dtype()])?;
    if !countable([batch, rows, columns, inner]) || !has_kernels(&a.device(), a.dtype()) {
        return composite(OPERATION, a.dtype(), || reference::matmul(a, b));
    }
    admit_op(OPERATION, &a.device(), |sim| {
        sim.matmul(sim.given(&a), sim.given(&b)).map(drop)
    })?;
    let heuristics = Heuristics::of(&a.device());
    let nothing = Tensor::<1>::empty([NOTHING], (&a.device(), DType::F32));
    let forward = <Dispatch as MatmulOps>::matmul(
        a.into_dispatch(),
        b.into_dispatch(),
        nothing.into_dispatch(),
        End::default(),
        heuristics,
    );
    Ok(Tensor::from_dispatch(forward.output))
}

/// Numbers of a tensor that stands for none: something must be bound.
const NOTHING: usize = 4;

/// Whether kernels that count in 32 bits can count the elements of operands, result and gradients of
/// `[batch, rows, columns, inner]`, with padding.
fn countable([batch, rows, columns, inner]: [usize; 4]) -> bool {
    let sides = [(rows, inner), (inner, columns), (rows, columns)];
    sides.into_iter().all(|(a, b)| {
        let padded = (a + 8)
            .checked_mul(b + 8)
            .and_then(|c| c.checked_mul(batch));
        padded.is_some_and(|count| i32::try_from(count).is_ok())
    })
}
