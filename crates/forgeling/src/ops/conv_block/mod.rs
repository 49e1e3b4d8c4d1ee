//! 3×3 convolution, batch norm, ReLU and 2×2 max pooling as one operation.

mod flex;
mod gpu;
#[cfg(feature = "fusion")]
mod specs;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, backend_extension,
};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};

use super::cpu::conv_block as cpu;
use super::heuristics::Heuristics;
use super::launch::has_kernels;
use super::reference;
use crate::error::{Error, Result};

/// Added to variances; PyTorch's default.
pub(super) const EPSILON: f64 = cpu::EPSILON;

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
/// `[batch, out, height / 2, width / 2]` with odd sizes rounded down; all of one float dtype and on one device.
/// Differentiable in all four. Where two values of a window are equal, the first one (row by row) gets the
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
    if !own_body(&x, &weight, &[&gamma, &beta]) {
        return Ok(reference::conv_block(x, weight, gamma, beta));
    }
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
/// Shapes and errors as [`conv_block`].
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
    if !own_body(&x, &weight, &vectors.map(|(_, vector)| vector)) {
        return Ok(reference::conv_block_running(x, weight, norm));
    }
    let heuristics = Heuristics::of(&x.device());
    let out = <Dispatch as ConvBlockOps>::conv_block_running(
        x.into_dispatch(),
        weight.into_dispatch(),
        norm.bias.into_dispatch(),
        norm.gamma.into_dispatch(),
        norm.beta.into_dispatch(),
        norm.mean.into_dispatch(),
        norm.variance.into_dispatch(),
        heuristics,
    );
    Ok(Tensor::from_dispatch(out))
}

fn own_body(x: &Tensor<4>, weight: &Tensor<4>, vectors: &[&Tensor<1>]) -> bool {
    let [batch, _, height, width] = x.dims();
    let convolved = batch * weight.dims()[0].next_multiple_of(4) * height * width;
    let largest = convolved.max(x.shape().num_elements());
    // Kernels count in 32 bits.
    let countable = i32::try_from(largest).is_ok();
    let parameters = vectors.iter().map(|vector| vector.dtype());
    countable
        && parameters
            .chain([weight.dtype()])
            .all(|dtype| dtype == DType::F32)
        && has_kernels(&x.device(), x.dtype())
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
    if weight.dtype() != x.dtype() {
        return Err(Error::invalid(operation, "x and weight differ in dtype")
            .expected(format!("{:?}", x.dtype()))
            .got(format!("{:?}", weight.dtype())));
    }
    for (name, vector) in vectors {
        if vector.dims() != [output] || vector.dtype() != x.dtype() {
            return Err(Error::invalid(operation, format!("{name} does not fit"))
                .expected(format!("[{output}] of {:?}", x.dtype()))
                .got(format!("{:?} of {:?}", vector.dims(), vector.dtype())));
        }
    }
    Ok(())
}

/// What a forward pass gives and what its backward pass needs.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct BlockForward<B: Backend> {
    pub output: FloatTensor<B>,
    /// The weights, laid out as the back end likes them.
    pub packed: FloatTensor<B>,
    /// The convolution without bias, laid out as the back end likes it.
    pub convolved: FloatTensor<B>,
    /// The statistics, laid out as the back end likes them.
    pub statistics: FloatTensor<B>,
    pub mean: FloatTensor<B>,
    /// Biased.
    pub variance: FloatTensor<B>,
}

/// Gradients of a block.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct BlockGradients<B: Backend> {
    /// Of no elements unless asked for.
    pub x: FloatTensor<B>,
    pub weight: FloatTensor<B>,
    pub gamma: FloatTensor<B>,
    pub beta: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex, Fusion: cfg(feature = "fusion"))]
pub(crate) trait ConvBlockOps: Backend {
    #[fusion(meta = specs::forward)]
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> BlockForward<Self>;

    #[allow(clippy::too_many_arguments)]
    #[fusion(meta = specs::backward)]
    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        input_gradient: bool,
        heuristics: Heuristics,
    ) -> BlockGradients<Self>;

    /// With running statistics. This body serves where gradients are wanted as well.
    #[allow(clippy::too_many_arguments)]
    #[fusion(default)]
    fn conv_block_running(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        _heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let convolved = Self::conv2d(x, weight, Some(bias), options);
        let normalised = Self::batch_norm(convolved, gamma, beta, mean, variance, EPSILON);
        Self::max_pool2d(
            Self::relu(normalised),
            [2, 2],
            [2, 2],
            [0, 0],
            [1, 1],
            false,
        )
    }
}

#[derive(Debug)]
struct ConvBlock;

/// What a backward pass reads.
#[derive(Debug, Clone)]
struct Kept<T> {
    x: T,
    weight: T,
    packed: T,
    gamma: T,
    beta: T,
    convolved: T,
    statistics: T,
    heuristics: Heuristics,
}

impl<B: ConvBlockOps> Backward<B, 4> for ConvBlock {
    type State = Kept<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let kept = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let block = B::conv_block_backward(
            kept.x,
            kept.weight,
            kept.packed,
            kept.gamma,
            kept.beta,
            kept.convolved,
            kept.statistics,
            grad,
            ops.parents[0].is_some(),
            kept.heuristics,
        );
        let gradients = [block.x, block.weight, block.gamma, block.beta];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: ConvBlockOps, C: CheckpointStrategy> ConvBlockOps for Autodiff<B, C> {
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (beta, beta_node) = beta.into_parts();
        let block = B::conv_block(
            x.clone(),
            weight.clone(),
            gamma.clone(),
            beta.clone(),
            heuristics,
        );
        let prepared = ConvBlock
            .prepare::<C>([x_node, weight_node, gamma_node, beta_node])
            .compute_bound()
            .stateful();
        let output = match prepared {
            OpsKind::Tracked(prep) => {
                let kept = Kept {
                    x,
                    weight,
                    packed: block.packed.clone(),
                    gamma,
                    beta,
                    convolved: block.convolved.clone(),
                    statistics: block.statistics.clone(),
                    heuristics,
                };
                prep.finish(kept, block.output)
            }
            OpsKind::UnTracked(prep) => prep.finish(block.output),
        };
        BlockForward {
            output,
            packed: Self::from_inner(block.packed),
            convolved: Self::from_inner(block.convolved),
            statistics: Self::from_inner(block.statistics),
            mean: Self::from_inner(block.mean),
            variance: Self::from_inner(block.variance),
        }
    }

    // The tape is first order, as everywhere in burn: the gradients themselves are not recorded.
    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        input_gradient: bool,
        heuristics: Heuristics,
    ) -> BlockGradients<Self> {
        let block = B::conv_block_backward(
            x.into_primitive(),
            weight.into_primitive(),
            packed.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            convolved.into_primitive(),
            statistics.into_primitive(),
            grad.into_primitive(),
            input_gradient,
            heuristics,
        );
        BlockGradients {
            x: Self::from_inner(block.x),
            weight: Self::from_inner(block.weight),
            gamma: Self::from_inner(block.gamma),
            beta: Self::from_inner(block.beta),
        }
    }
}
