//! What follows the convolution of a Conv4 block, as operations whose gradients are differentiable again.

pub(super) mod composed;
mod cpu;
mod extension;
mod gpu;

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};
use extension::NormPoolOps;
use forgeling_shaders::epsilon::EPSILON;

use super::Statistics;
use super::check::{fits, vectors_fit};
use super::implementation::{composite, computed_in};
use super::launch::{has_kernels, is_cpu};
use crate::error::{Error, Result};

/// Mean and biased variance of each channel over the batch and all pixels:
///
/// `mean[c] = 1/M sum z`, `variance[c] = 1/M sum (z - mean[c])^2`, with `M = batch * height * width`
///
/// Shapes: `z [batch, channels, height, width]`, results `[channels]`, in f32 if `z` is of half precision. Both are
/// differentiable, once more than [`batch_norm`](super::batch_norm)'s. NaN and infinity spoil their channel.
///
/// # Errors
/// When a size is zero.
pub fn channel_moments(z: Tensor<4>) -> Result<Statistics> {
    const OPERATION: &str = "channel_moments";
    check_images(OPERATION, &z, 1)?;
    if !has_own(&z) {
        return composite(OPERATION, z.dtype(), || composed::channel_moments(z));
    }
    let channels = z.dims()[1];
    let moments = <Dispatch as NormPoolOps>::channel_moments(z.into_dispatch());
    let [mean, variance] = rows(Tensor::from_dispatch(moments), channels);
    Ok(Statistics { mean, variance })
}

/// A line, ReLU and max pooling of windows of 2×2 pixels with stride 2, rounding down:
///
/// `y = maxpool2(relu(z * scale[c] + shift[c]))`
///
/// Of equal values in a window the first counts, row by row, and where the largest is not above 0 nothing does, as in
/// PyTorch: there alone flows the gradient.
///
/// Shapes: `z [batch, channels, height, width]`, `scale` and `shift` `[channels]`, result
/// `[batch, channels, height / 2, width / 2]`, of the dtype of `z`. Differentiable in all three. The vectors have the
/// dtype of `z`, or are f32 where `z` is of half precision. A window with NaN gives NaN.
///
/// # Errors
/// When shapes do not fit each other, an image has fewer than 2×2 pixels, a size is zero, or dtypes differ.
pub fn affine_relu_pool(z: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>) -> Result<Tensor<4>> {
    const OPERATION: &str = "affine_relu_pool";
    check(OPERATION, &z, [("scale", &scale), ("shift", &shift)])?;
    if !has_own(&z) {
        return composite(OPERATION, z.dtype(), || {
            composed::affine_relu_pool(z, scale, shift)
        });
    }
    let [scale, shift] = [scale, shift].map(|vector| vector.cast(DType::F32));
    let y = <Dispatch as NormPoolOps>::affine_relu_pool(
        z.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
    );
    Ok(Tensor::from_dispatch(y))
}

/// Batch norm with the statistics of the batch, ReLU and max pooling: what follows the convolution of a Conv4 block.
///
/// `y = maxpool2(relu(gamma (z - mean) / sqrt(variance + 1e-5) + beta))`
///
/// Made of [`channel_moments`] and [`affine_relu_pool`], whose shapes, rules and errors it shares; differentiable in all
/// three, and so are the statistics that it gives too. [`norm_pool_grad`] is its gradient as an operation. Ioffe and
/// Szegedy, *Batch Normalization*, 2015 (arXiv 1502.03167).
///
/// # Errors
/// As [`affine_relu_pool`].
pub fn norm_pool(
    z: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
) -> Result<(Tensor<4>, Statistics)> {
    const OPERATION: &str = "norm_pool";
    check(OPERATION, &z, [("gamma", &gamma), ("beta", &beta)])?;
    let statistics = channel_moments(z.clone())?;
    let y = norm_pool_with(z, gamma, beta, &statistics)?;
    Ok((y, statistics))
}

/// As [`norm_pool`], with statistics that are given: differentiable in them too. Shapes: mean and variance `[channels]`,
/// in f32 if `z` is of half precision.
///
/// # Errors
/// As [`affine_relu_pool`].
pub fn norm_pool_with(
    z: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    statistics: &Statistics,
) -> Result<Tensor<4>> {
    const OPERATION: &str = "norm_pool_with";
    let Statistics { mean, variance } = statistics;
    check(OPERATION, &z, [("gamma", &gamma), ("beta", &beta)])?;
    check(OPERATION, &z, [("mean", mean), ("variance", variance)])?;
    let computed = computed_in(z.dtype());
    let [gamma, beta, mean, variance] =
        [gamma, beta, mean.clone(), variance.clone()].map(|vector| vector.cast(computed));
    let scale = gamma / (variance + EPSILON).sqrt();
    let shift = beta - mean * scale.clone();
    affine_relu_pool(z, scale, shift)
}

/// What [`norm_pool_grad`] gives.
#[derive(Debug, Clone)]
pub struct NormPoolGrad {
    /// That of `z`, of its shape and dtype.
    pub input: Tensor<4>,
    /// That of gamma, `[channels]`, in f32 if `z` is of half precision.
    pub gamma: Tensor<1>,
    /// That of beta, as gamma's.
    pub beta: Tensor<1>,
}

/// The gradients of [`norm_pool`] where its output has the gradient `grad`, as tensors that are differentiable again:
/// what a backward pass needs that is itself differentiated, as in MAML (Finn et al., 2017, arXiv 1703.03400).
///
/// With `x = (z - mean) / sigma`, `sigma = sqrt(variance + 1e-5)`, and `g` the values of `grad` at the pixels that count
/// in their windows and zero elsewhere:
///
/// `input = gamma / sigma (g - mean(g) - x mean(g x))`, `gamma = sum(g x)`, `beta = sum(g)`, of each channel
///
/// Shapes: `z [batch, channels, height, width]`, `gamma` and `beta` `[channels]`, `grad` as the output of [`norm_pool`],
/// of the dtype of `z`. Differentiable in `z`, `gamma` and `grad`; beta only says which pixels count, which has no
/// gradient.
///
/// # Errors
/// As [`affine_relu_pool`], and when `grad` is not of the output's shape.
pub fn norm_pool_grad(
    z: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    grad: Tensor<4>,
) -> Result<NormPoolGrad> {
    const OPERATION: &str = "norm_pool_grad";
    check(OPERATION, &z, [("gamma", &gamma), ("beta", &beta)])?;
    let [batch, channels, height, width] = z.dims();
    let pooled = [batch, channels, height / 2, width / 2];
    let misfit = "grad is not that of the output";
    fits(OPERATION, misfit, &grad, pooled, z.dtype())?;
    if !has_own(&z) {
        return composite(OPERATION, z.dtype(), || {
            composed::norm_pool_grad(z, gamma, beta, grad)
        });
    }
    let [gamma, beta] = [gamma, beta].map(|vector| vector.cast(DType::F32));
    let gradients = <Dispatch as NormPoolOps>::norm_pool_grad(
        z.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        grad.into_dispatch(),
    );
    let [gamma, beta] = rows(Tensor::from_dispatch(gradients.vectors), channels);
    Ok(NormPoolGrad {
        input: Tensor::from_dispatch(gradients.input),
        gamma,
        beta,
    })
}

/// Whether an implementation of ours computes; vectors have been checked to be of the dtype of `z` where it is f32.
fn has_own(z: &Tensor<4>) -> bool {
    has_kernels(&z.device(), z.dtype()) && (is_cpu(&z.device()) || gpu::takes(z.dims()))
}

/// The two rows of a tensor.
fn rows(tensor: Tensor<2>, length: usize) -> [Tensor<1>; 2] {
    [0, 1].map(|row| tensor.clone().narrow(0, row, 1).reshape([length]))
}

fn check_images(operation: &'static str, z: &Tensor<4>, least: usize) -> Result<()> {
    let [batch, channels, height, width] = z.dims();
    if [batch, channels].contains(&0) || height < least || width < least {
        return Err(Error::invalid(operation, "empty input")
            .expected(format!(
                "every size at least 1, images of at least {least}×{least} pixels"
            ))
            .got(format!("z {:?}", z.dims())));
    }
    Ok(())
}

fn check(operation: &'static str, z: &Tensor<4>, vectors: [(&str, &Tensor<1>); 2]) -> Result<()> {
    check_images(operation, z, 2)?;
    vectors_fit(operation, &vectors, z.dims()[1], z.dtype())
}
