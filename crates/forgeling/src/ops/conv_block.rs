//! 3×3 convolution, batch norm, ReLU and 2×2 max pooling as one operation.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Shape, Tensor};

use super::cpu::conv_block as cpu;
use super::flex::{tensor, with_values};
use super::launch::has_cpu_bodies;
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
    if x.dtype() != DType::F32 || !has_cpu_bodies(&x.device()) {
        return Ok(reference::conv_block(x, weight, gamma, beta));
    }
    let output = weight.dims()[0];
    let (out, _, statistics) = <Dispatch as ConvBlockOps>::conv_block(
        x.into_dispatch(),
        weight.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
    );
    let statistics = Tensor::<2>::from_dispatch(statistics);
    let row = |index| statistics.clone().narrow(0, index, 1).reshape([output]);
    Ok(ConvBlockOutput {
        output: Tensor::from_dispatch(out),
        mean: row(0),
        variance: row(1),
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
    if x.dtype() != DType::F32 || !has_cpu_bodies(&x.device()) {
        return Ok(reference::conv_block_running(x, weight, norm));
    }
    let out = <Dispatch as ConvBlockOps>::conv_block_running(
        x.into_dispatch(),
        weight.into_dispatch(),
        norm.bias.into_dispatch(),
        norm.gamma.into_dispatch(),
        norm.beta.into_dispatch(),
        norm.mean.into_dispatch(),
        norm.variance.into_dispatch(),
    );
    Ok(Tensor::from_dispatch(out))
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

#[backend_extension(Autodiff, Flex)]
pub(crate) trait ConvBlockOps: Backend {
    /// Output, convolution without bias, and statistics `[2, out]`: means and biased variances.
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of `x` (of no elements unless asked for), weight, gamma and beta.
    #[allow(clippy::too_many_arguments, clippy::type_complexity)]
    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        input_gradient: bool,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );

    /// With running statistics. This body serves where gradients are wanted as well.
    fn conv_block_running(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
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

fn sizes(x: &Shape, weight: &Shape) -> cpu::BlockShape {
    cpu::BlockShape {
        images: x[0],
        input: x[1],
        output: weight[0],
        height: x[2],
        width: x[3],
    }
}

fn pooled(shape: cpu::BlockShape) -> [usize; 4] {
    let [height, width] = shape.pooled();
    [shape.images, shape.output, height, width]
}

impl ConvBlockOps for Flex {
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let shape = sizes(&x.shape(), &weight.shape());
        let forward = with_values([&x, &weight, &gamma, &beta], |[x, weight, gamma, beta]| {
            cpu::forward(x, weight, gamma, beta, shape)
        });
        let convolved = [shape.images, shape.output, shape.height, shape.width];
        (
            tensor(forward.output, pooled(shape)),
            tensor(forward.convolved, convolved),
            tensor(forward.statistics, [2, shape.output]),
        )
    }

    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        input_gradient: bool,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        let shape = sizes(&x.shape(), &weight.shape());
        let inputs = [&x, &weight, &gamma, &beta, &convolved, &statistics, &grad];
        let gradients = with_values(
            inputs,
            |[x, weight, gamma, beta, convolved, statistics, grad]| {
                let block = cpu::Block {
                    x,
                    weight,
                    gamma,
                    beta,
                    convolved,
                    statistics,
                    grad,
                    shape,
                };
                cpu::backward(&block, input_gradient)
            },
        );
        let of_input = if input_gradient {
            x.shape()
        } else {
            Shape::new([0])
        };
        (
            tensor(gradients.x, of_input),
            tensor(gradients.weight, weight.shape()),
            tensor(gradients.gamma, gamma.shape()),
            tensor(gradients.beta, beta.shape()),
        )
    }

    fn conv_block_running(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let shape = sizes(&x.shape(), &weight.shape());
        let inputs = [&x, &weight, &bias, &gamma, &beta, &mean, &variance];
        let out = with_values(inputs, |[x, weight, bias, gamma, beta, mean, variance]| {
            // What the bias adds, the mean may as well lack.
            let means = mean.iter().zip(bias).map(|(mean, bias)| mean - bias);
            let statistics: Vec<f32> = means.chain(variance.iter().copied()).collect();
            cpu::forward_with(x, weight, &cpu::affine(gamma, beta, &statistics), shape)
        });
        tensor(out, pooled(shape))
    }
}

#[derive(Debug)]
struct ConvBlock;

impl<B: ConvBlockOps> Backward<B, 4> for ConvBlock {
    /// x, weight, gamma, beta, convolved, statistics
    type State = [FloatTensor<B>; 6];

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [x, weight, gamma, beta, convolved, statistics] = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (dx, dweight, dgamma, dbeta) = B::conv_block_backward(
            x,
            weight,
            gamma,
            beta,
            convolved,
            statistics,
            grad,
            ops.parents[0].is_some(),
        );
        for (parent, gradient) in ops.parents.into_iter().zip([dx, dweight, dgamma, dbeta]) {
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
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (beta, beta_node) = beta.into_parts();
        let (out, convolved, statistics) =
            B::conv_block(x.clone(), weight.clone(), gamma.clone(), beta.clone());
        let prepared = ConvBlock
            .prepare::<C>([x_node, weight_node, gamma_node, beta_node])
            .compute_bound()
            .stateful();
        let out = match prepared {
            OpsKind::Tracked(prep) => {
                let kept = (convolved.clone(), statistics.clone());
                prep.finish([x, weight, gamma, beta, kept.0, kept.1], out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        };
        (
            out,
            Self::from_inner(convolved),
            Self::from_inner(statistics),
        )
    }

    // The tape is first order, as everywhere in burn: the gradients themselves are not recorded.
    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        input_gradient: bool,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        let (dx, dweight, dgamma, dbeta) = B::conv_block_backward(
            x.into_primitive(),
            weight.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            convolved.into_primitive(),
            statistics.into_primitive(),
            grad.into_primitive(),
            input_gradient,
        );
        (
            Self::from_inner(dx),
            Self::from_inner(dweight),
            Self::from_inner(dgamma),
            Self::from_inner(dbeta),
        )
    }
}
