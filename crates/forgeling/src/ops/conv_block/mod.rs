//! 3×3 convolution, batch norm, ReLU and 2×2 max pooling as one operation.

mod autodiff;
mod block_plan;
mod cpu;
mod gpu;
mod gpu_packed;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::tensor::Tensor;

pub(super) use self::block_plan::BlockPlan;
use super::check::fits;
use super::heuristics::Heuristics;
use super::implementation::{composite, computed_in};
use super::launch::has_kernels;
use super::plan::admit_op;
use super::reference;
use super::storage::{Half, StorageOps};
use crate::error::{Error, Result};

/// What [`conv_block`] gives.
#[derive(Debug, Clone)]
pub struct ConvBlockOutput {
    /// `[batch, out, height / 2, width / 2]`
    pub output: Tensor<4>,
    /// Mean of each channel of the convolution over the batch, `[out]`; not differentiable.
    pub mean: Tensor<1>,
    /// Biased variance of each channel, `[out]`; not differentiable.
    pub variance: Tensor<1>,
}

/// A convolution block with the statistics of the batch, as in training:
///
/// `y = pool(relu(gamma * (c - mean(c)) / sqrt(variance(c) + 1e-5) + beta))`, `c = conv(x, weight)`
///
/// with a 3×3 convolution of stride 1 and padding 1, and 2×2 max pooling of stride 2. There is no bias: the mean
/// would take it away again. Ioffe and Szegedy, *Batch Normalization*, 2015 (arXiv 1502.03167).
///
/// Shapes: `x [batch, in, height, width]`, `weight [out, in, 3, 3]`, `gamma` and `beta [out]`, result
/// `[batch, out, height / 2, width / 2]` with odd sizes rounded down; all on one device. The parameters are of the
/// input's dtype, or of f32 if the input is of half precision: then the result is of half precision too, and sums,
/// statistics and the gradients of the parameters are f32. Differentiable in all four. Where two values of a window are equal, the first one (row by row) gets the
/// gradient. NaN and infinity propagate.
///
/// # Errors
/// When shapes do not fit each other, when height or width is below 2, when a size is zero, or when dtypes
/// differ.
pub fn conv_block(
    x: Tensor<4>,
    weight: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
) -> Result<ConvBlockOutput> {
    const OPERATION: &str = "conv_block";
    check(
        OPERATION,
        &x,
        &weight,
        &[("gamma", &gamma), ("beta", &beta)],
    )?;
    if !has_own(&x, &weight) {
        return composite(OPERATION, x.dtype(), || {
            reference::conv_block(x, weight, gamma, beta)
        });
    }
    admit(OPERATION, &x, &weight)?;
    let heuristics = Heuristics::of(&x.device());
    let block = <Dispatch as ConvBlockOps>::conv_block(
        x.into_dispatch(),
        weight.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        heuristics,
    );
    Ok(ConvBlockOutput {
        output: Tensor::from_dispatch(block.output),
        mean: Tensor::from_dispatch(block.mean),
        variance: Tensor::from_dispatch(block.variance),
    })
}

/// What [`conv_block_running`] normalises with, each `[out]`.
#[derive(Debug, Clone)]
pub struct RunningNorm {
    /// Bias of the convolution.
    pub bias: Tensor<1>,
    /// Scale of the normalised activation.
    pub gamma: Tensor<1>,
    /// Shift of the normalised activation.
    pub beta: Tensor<1>,
    /// Running mean.
    pub mean: Tensor<1>,
    /// Running variance.
    pub variance: Tensor<1>,
}

/// A convolution block with statistics given, as in evaluation:
///
/// `y = pool(relu(gamma * (conv(x, weight) + bias - mean) / sqrt(variance + 1e-5) + beta))`
///
/// Shapes and dtypes as [`conv_block`]. Differentiable in `x`, `weight`, bias, gamma and beta; mean and variance are
/// constants.
///
/// # Errors
/// As [`conv_block`].
pub fn conv_block_running(x: Tensor<4>, weight: Tensor<4>, norm: RunningNorm) -> Result<Tensor<4>> {
    const OPERATION: &str = "conv_block_running";
    let vectors = [
        ("bias", &norm.bias),
        ("gamma", &norm.gamma),
        ("beta", &norm.beta),
        ("mean", &norm.mean),
        ("variance", &norm.variance),
    ];
    check(OPERATION, &x, &weight, &vectors)?;
    if !has_own(&x, &weight) {
        return composite(OPERATION, x.dtype(), || {
            reference::conv_block_running(x, weight, norm)
        });
    }
    admit(OPERATION, &x, &weight)?;
    let heuristics = Heuristics::of(&x.device());
    let block = <Dispatch as ConvBlockOps>::conv_block_running(
        x.into_dispatch(),
        weight.into_dispatch(),
        norm.bias.into_dispatch(),
        norm.gamma.into_dispatch(),
        norm.beta.into_dispatch(),
        norm.mean.detach().into_dispatch(),
        norm.variance.detach().into_dispatch(),
        false,
        heuristics,
    );
    Ok(Tensor::from_dispatch(block.output))
}

/// Whether the memory budget suffices, if there is one.
fn admit(operation: &'static str, x: &Tensor<4>, weight: &Tensor<4>) -> Result<()> {
    admit_op(operation, &x.device(), |sim| {
        sim.conv_block(sim.given(x), weight.dims()[0]).map(drop)
    })
}

fn has_own(x: &Tensor<4>, weight: &Tensor<4>) -> bool {
    let [batch, _, height, width] = x.dims();
    let convolved = batch * weight.dims()[0].next_multiple_of(4) * height * width;
    let largest = convolved.max(x.shape().num_elements());
    // Kernels count in 32 bits.
    i32::try_from(largest).is_ok() && has_kernels(&x.device(), x.dtype())
}

fn check(
    operation: &'static str,
    x: &Tensor<4>,
    weight: &Tensor<4>,
    vectors: &[(&str, &Tensor<1>)],
) -> Result<()> {
    let [batch, channels, height, width] = x.dims();
    let [output, input, kernel_height, kernel_width] = weight.dims();
    if input != channels || [kernel_height, kernel_width] != [3, 3] {
        return Err(
            Error::invalid(operation, "the weights do not fit the input")
                .expected(format!("weight [out, {channels}, 3, 3]"))
                .got(format!("{:?}", weight.dims())),
        );
    }
    if [batch, channels, output].contains(&0) || height < 2 || width < 2 {
        return Err(Error::invalid(operation, "empty input")
            .expected("a batch and channels of at least 1, height and width of at least 2")
            .got(format!("x {:?}, weight {:?}", x.dims(), weight.dims())));
    }
    let dtype = computed_in(x.dtype());
    if weight.dtype() != dtype {
        return Err(
            Error::invalid(operation, "the weights do not fit x in dtype")
                .expected(format!("{dtype:?} with x of {:?}", x.dtype()))
                .got(format!("{:?}", weight.dtype())),
        );
    }
    for (name, vector) in vectors {
        let misfit = format!("{name} does not fit");
        fits(operation, misfit, vector, [output], dtype)?;
    }
    Ok(())
}

/// What a forward pass gives and what its backward pass needs.
#[derive(ExtensionType)]
pub(crate) struct BlockForward<B: Backend> {
    pub output: FloatTensor<B>,
    /// The weights, laid out as the back end likes them.
    pub packed: FloatTensor<B>,
    /// The convolution without bias, laid out as the back end likes it; may be empty unless it is to be kept.
    pub convolved: FloatTensor<B>,
    /// The statistics, laid out as the back end likes them; running ones lack the bias.
    pub statistics: FloatTensor<B>,
    pub mean: FloatTensor<B>,
    /// Biased.
    pub variance: FloatTensor<B>,
}

/// Gradients of a block.
pub(crate) struct BlockGradients<B: Backend> {
    /// Of no elements unless asked for.
    pub x: FloatTensor<B>,
    pub weight: FloatTensor<B>,
    pub gamma: FloatTensor<B>,
    pub beta: FloatTensor<B>,
}

/// What a backward pass is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backwards {
    pub input_gradient: bool,
    /// Whether the statistics were given, so that no gradient flows through them.
    pub running: bool,
    pub heuristics: Heuristics,
}

/// In which format a backward pass gets what was packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Formats {
    /// The shape of the input, which its bits do not tell.
    pub shape: [usize; 4],
    /// That of the convolution.
    pub convolved: Half,
    /// Those of the input and of the output; `None` for what is not packed.
    pub x: Option<Half>,
    pub output: Option<Half>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait ConvBlockOps: Backend {
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> BlockForward<Self>;

    /// With running statistics; `keep` what a backward pass reads.
    #[allow(clippy::too_many_arguments)]
    fn conv_block_running(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        keep: bool,
        heuristics: Heuristics,
    ) -> BlockForward<Self>;
}

pub(crate) trait ConvBlockBackward: ConvBlockOps + StorageOps {
    /// As [`conv_block`](ConvBlockOps::conv_block), but the convolution is given in 16 bits, and never held as a whole
    /// otherwise; the output is the same bit for bit. With `mean` and `variance` unless these are of no elements.
    #[allow(clippy::too_many_arguments)]
    fn conv_block_packed(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        half: Half,
        heuristics: Heuristics,
    ) -> BlockForward<Self>;

    /// With `formats` from what is packed: then the output says what ReLU cut off, which a rounded convolution does not.
    /// Otherwise it is not read.
    #[allow(clippy::too_many_arguments)]
    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        output: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        formats: Option<Formats>,
        what: Backwards,
    ) -> BlockGradients<Self>;
}
