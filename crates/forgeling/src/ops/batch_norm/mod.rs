//! Batch norm, a residual and an activation as one operation.

mod cpu;
mod gpu;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, backend_extension,
};
use burn::tensor::{DType, Tensor, TensorData};

pub(super) use cpu::clip;
pub(super) use gpu::slots;

use super::check::{check_epsilon, fits, not_empty, vectors_fit};
use super::heuristics::Heuristics;
use super::implementation::composite;
use super::launch::has_kernels;
use super::plan::{NormSizes, admit_op};
use super::storage::{Order, StorageOps, Stored};
use super::{Statistics, reference, tape};
use crate::error::Result;

/// What follows the normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterNorm {
    /// Nothing. The default.
    #[default]
    Nothing,
    /// `max(0, z)`
    Relu,
    /// `min(6, max(0, z))`
    Relu6,
}

/// Batch norm with the statistics of the batch, as in training:
///
/// `y = activation(gamma (x - mean(x)) / sqrt(variance(x) + epsilon) + beta + residual)`
///
/// with mean and biased variance of each channel over the batch and all pixels, which are given too: not
/// differentiable. Ioffe and Szegedy, *Batch Normalization*, 2015 (arXiv 1502.03167); residuals: He et al., 2015
/// (arXiv 1512.03385).
///
/// Shapes: `x`, `residual` and the result `[batch, channels, height, width]`, `gamma` and `beta` `[channels]`.
/// PyTorch's default for `epsilon` is 1e-5, TensorFlow's 1e-3. Differentiable in all four. The parameters have the dtype of
/// `x`, or are f32 where `x` is of half precision. NaN and infinity spoil their channel.
///
/// # Errors
/// When shapes do not fit each other, a size is zero, dtypes differ, or epsilon is not a positive number that f32 can hold.
pub fn batch_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    residual: Option<Tensor<4>>,
    activation: AfterNorm,
) -> Result<(Tensor<4>, Statistics)> {
    const OPERATION: &str = "batch_norm";
    let vectors = [("gamma", &gamma), ("beta", &beta)];
    let normalized = (x.dims(), x.dtype());
    check(OPERATION, normalized, &vectors, epsilon, residual.as_ref())?;
    let countable = i32::try_from(x.shape().num_elements()).is_ok();
    let plain = [gamma.dtype(), beta.dtype()] == [DType::F32; 2];
    if !countable || !plain || !has_kernels(&x.device(), x.dtype()) {
        return composite(OPERATION, x.dtype(), || {
            reference::batch_norm(x, gamma, beta, epsilon, residual, activation)
        });
    }
    admit_op(OPERATION, &x.device(), |sim| {
        let residual = residual.as_ref().map(|residual| sim.given(residual));
        let cuts = activation != AfterNorm::Nothing;
        sim.batch_norm(sim.given(&x), residual, NormSizes { cuts })
            .map(drop)
    })?;
    let options = NormOptions {
        epsilon,
        residual: residual.is_some(),
        after: activation,
        heuristics: Heuristics::of(&x.device()),
    };
    // No residual is one of no elements: the back ends' methods take no optional tensors.
    let residual = residual.unwrap_or_else(|| {
        let none = TensorData::new(Vec::<f32>::new(), [0, 0, 0, 0]);
        Tensor::from_data(none, &x.device())
    });
    let norm = <Dispatch as BatchNormOps>::normalize(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        residual.into_dispatch(),
        options,
    );
    let statistics = Statistics {
        mean: Tensor::from_dispatch(norm.mean),
        variance: Tensor::from_dispatch(norm.variance),
    };
    Ok((Tensor::from_dispatch(norm.output), statistics))
}

/// Batch norm with statistics given, as in evaluation:
///
/// `y = activation(gamma (x - mean) / sqrt(variance + epsilon) + beta + residual)`
///
/// Shapes and errors as [`batch_norm`], mean and variance `[channels]`. Made of stock operations.
///
/// # Errors
/// As [`batch_norm`].
pub fn batch_norm_running(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    statistics: Statistics,
    epsilon: f64,
    residual: Option<Tensor<4>>,
    activation: AfterNorm,
) -> Result<Tensor<4>> {
    const OPERATION: &str = "batch_norm_running";
    let vectors = [
        ("gamma", &gamma),
        ("beta", &beta),
        ("mean", &statistics.mean),
        ("variance", &statistics.variance),
    ];
    let normalized = (x.dims(), x.dtype());
    check(OPERATION, normalized, &vectors, epsilon, residual.as_ref())?;
    Ok(reference::batch_norm_running(
        x, gamma, beta, statistics, epsilon, residual, activation,
    ))
}

/// All that is given fits what is normalized, of this shape and dtype.
pub(super) fn check(
    operation: &'static str,
    (shape, dtype): ([usize; 4], DType),
    vectors: &[(&str, &Tensor<1>)],
    epsilon: f64,
    residual: Option<&Tensor<4>>,
) -> Result<()> {
    not_empty(operation, &shape, format_args!("x {shape:?}"))?;
    vectors_fit(operation, vectors, shape[1], dtype)?;
    check_epsilon(operation, epsilon)?;
    if let Some(residual) = residual {
        fits(
            operation,
            "the residual does not fit",
            residual,
            shape,
            dtype,
        )?;
    }
    Ok(())
}

/// What is done besides normalizing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NormOptions {
    epsilon: f64,
    residual: bool,
    after: AfterNorm,
    heuristics: Heuristics,
}

impl NormOptions {
    /// Whether values are cut off.
    fn cuts(&self) -> bool {
        self.after != AfterNorm::Nothing
    }
}

/// What a forward pass gives and what its backward pass needs.
#[derive(ExtensionType)]
pub(crate) struct NormForward<B: Backend> {
    pub output: FloatTensor<B>,
    /// The statistics, laid out as the back end likes them.
    pub statistics: FloatTensor<B>,
    pub mean: FloatTensor<B>,
    /// Biased.
    pub variance: FloatTensor<B>,
}

/// Gradients of a batch norm.
pub(crate) struct NormGradients<B: Backend> {
    pub x: FloatTensor<B>,
    /// That of the residual, whether there is one or not.
    pub residual: FloatTensor<B>,
    pub gamma: FloatTensor<B>,
    pub beta: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait BatchNormOps: Backend {
    /// `residual` is of no elements if there is none.
    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: NormOptions,
    ) -> NormForward<Self>;
}

pub(crate) trait BatchNormBackward: BatchNormOps + StorageOps {
    /// `output` is only read with an activation.
    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> NormGradients<Self>;
}

/// What a backward pass reads.
#[derive(Debug, Clone)]
struct Kept<T> {
    x: Stored<T>,
    gamma: T,
    /// Where it says what the activation cut off.
    output: Option<Stored<T>>,
    statistics: T,
    options: NormOptions,
}

fn backward<B: BatchNormBackward>(
    kept: Kept<FloatTensor<B>>,
    grad: FloatTensor<B>,
    parents: &mut tape::Parents<'_, B, 4>,
) {
    let output = match kept.output {
        Some(output) => output.restore::<B>(),
        None => kept.statistics.clone(),
    };
    let norm = B::normalize_backward(
        kept.x.restore::<B>(),
        kept.gamma,
        output,
        kept.statistics,
        grad,
        kept.options,
    );
    parents.give_all([norm.x, norm.gamma, norm.beta, norm.residual]);
}

impl<B: BatchNormBackward, C: CheckpointStrategy> BatchNormOps for Autodiff<B, C> {
    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: NormOptions,
    ) -> NormForward<Self> {
        let ([x, gamma, beta, residual], parents) = tape::open([x, gamma, beta, residual]);
        let norm = B::normalize(x.clone(), gamma.clone(), beta, residual, options);
        let x_id = parents[0].id();
        let keep = |output: &FloatTensor<B>| {
            let x = Stored::of_node::<B>(x, x_id, Order::Images);
            let cuts = options.cuts();
            let output = cuts.then(|| Stored::of::<B>(output.clone(), Order::Images));
            let kept = Kept {
                x,
                gamma,
                output: output.clone(),
                statistics: norm.statistics.clone(),
                options,
            };
            (kept, output)
        };
        NormForward {
            output: tape::record_stored(parents, norm.output, keep, backward::<B>),
            statistics: Self::from_inner(norm.statistics),
            mean: Self::from_inner(norm.mean),
            variance: Self::from_inner(norm.variance),
        }
    }
}
