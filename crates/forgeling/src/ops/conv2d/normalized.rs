//! Convolution and batch norm in one trip through memory, as in evaluation.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor, TensorData};

use super::{Conv2dOptions, ConvShape, admit, check, conv2d, has_own, sizes, y_shape};
use crate::error::Result;
use crate::ops::batch_norm::{self, clip};
use crate::ops::cpu::batch_norm::terms;
use crate::ops::cpu::conv2d as cpu;
use crate::ops::cpu_tensors::{tensor, with_values};
use crate::ops::launch::is_cpu;
use crate::ops::{AfterNorm, Statistics, batch_norm_running};

const OPERATION: &str = "conv2d_norm_running";

/// A batch norm whose statistics are given.
#[derive(Debug, Clone)]
pub struct FixedNorm {
    /// Scale of each channel, `[channels]`.
    pub gamma: Tensor<1>,
    /// Shift of each channel, `[channels]`.
    pub beta: Tensor<1>,
    /// Mean and biased variance.
    pub statistics: Statistics,
    /// What is added to variances.
    pub epsilon: f64,
}

/// [`conv2d`] without a bias, then [`batch_norm_running`]:
///
/// `y = activation(gamma (conv(x, weight) - mean) / sqrt(variance + epsilon) + beta + residual)`
///
/// On the CPU, where nothing is differentiated, maps are written once; elsewhere by these two operations.
///
/// # Errors
/// As theirs.
pub fn conv2d_norm_running(
    x: Tensor<4>,
    weight: Tensor<4>,
    options: Conv2dOptions,
    norm: FixedNorm,
    residual: Option<Tensor<4>>,
    activation: AfterNorm,
) -> Result<Tensor<4>> {
    let FixedNorm {
        gamma,
        beta,
        statistics,
        epsilon,
    } = norm;
    check(&x, &weight, None, options)?;
    let shape = sizes(x.dims(), weight.dims(), options);
    let Statistics { mean, variance } = &statistics;
    let all = [&gamma, &beta, mean, variance];
    let plain = all.iter().all(|vector| vector.dtype() == DType::F32);
    let tracked = [&x, &weight].map(|tensor| tensor.device().is_autodiff());
    let one_trip = is_cpu(&x.device())
        && plain
        && tracked == [false; 2]
        && has_own(&x, &[Some(weight.dtype())], &shape);
    if !one_trip {
        let y = conv2d(x, weight, None, options)?;
        return batch_norm_running(y, gamma, beta, statistics, epsilon, residual, activation);
    }
    let names = ["gamma", "beta", "mean", "variance"];
    let named: Vec<_> = names.into_iter().zip(all).collect();
    let normalized = (y_shape(&shape), x.dtype());
    batch_norm::check(OPERATION, normalized, &named, epsilon, residual.as_ref())?;
    admit(OPERATION, &x, &shape)?;
    // No residual is one of no elements: the back ends' methods take no optional tensors.
    let residual = residual.unwrap_or_else(|| {
        let none = TensorData::new(Vec::<f32>::new(), [0, 0, 0, 0]);
        Tensor::from_data(none, &x.device())
    });
    let Statistics { mean, variance } = statistics;
    let vectors = Tensor::stack::<2>(vec![gamma, beta, mean, variance], 0);
    let y = <Dispatch as ConvNormOps>::convolve_and_normalize(
        x.into_dispatch(),
        weight.into_dispatch(),
        vectors.into_dispatch(),
        residual.into_dispatch(),
        shape,
        (epsilon, activation),
    );
    Ok(Tensor::from_dispatch(y))
}

// Others never come here.
#[backend_extension(Flex)]
pub(crate) trait ConvNormOps: Backend {
    /// `vectors` are gamma, beta, means and variances; `residual` is of no elements if there is none.
    fn convolve_and_normalize(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        vectors: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        shape: ConvShape,
        norm: (f64, AfterNorm),
    ) -> FloatTensor<Self>;
}

impl ConvNormOps for Flex {
    fn convolve_and_normalize(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        vectors: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        shape: ConvShape,
        (epsilon, after): (f64, AfterNorm),
    ) -> FloatTensor<Self> {
        let inputs = [&x, &weight, &vectors, &residual];
        let y = with_values(inputs, |[x, weight, vectors, residual]| {
            let of = |row: usize, channel: usize| vectors[row * shape.outputs + channel];
            let terms = (0..shape.outputs).map(|channel| {
                let [gamma, beta, mean, variance] = [0, 1, 2, 3].map(|row| of(row, channel));
                terms([gamma, beta], [mean, variance].map(f64::from), epsilon)
            });
            let finish = cpu::Finish {
                terms: &terms.collect::<Vec<_>>(),
                residual,
                clip: clip(after),
            };
            match shape.is_depthwise() {
                true => cpu::depthwise::finished(x, weight, &finish, &shape),
                false => cpu::finished(x, weight, &finish, &shape),
            }
        });
        tensor(y, y_shape(&shape))
    }
}
