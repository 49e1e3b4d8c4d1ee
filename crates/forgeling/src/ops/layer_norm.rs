//! Normalisation of rows.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, TensorMetadata,
    backend_extension,
};
use burn::tensor::{DType, Shape, Tensor};
use forgeling_shaders::layer_norm::LANES;
use forgeling_shaders::layer_norm_backward::SIDE;
use forgeling_shaders::{LAYER_NORM, LAYER_NORM_BACKWARD};

use super::check::{check_epsilon, not_empty, vectors_fit};
use super::cpu::layer_norm as cpu;
use super::cpu_tensors::{tensor, with_values};
use super::implementation::composite;
use super::launch::{Grid, Launch, PART, f32s, has_kernels, part};
use super::plan::admit_op;
use super::storage::{Order, StorageOps, Stored};
use super::{reference, tape};
use crate::error::Result;

const OPERATION: &str = "layer_norm";

/// Normalises each row to mean 0 and variance 1, then scales and shifts its columns:
///
/// `y[r, c] = gamma[c] (x[r, c] - mean(x[r])) / sqrt(variance(x[r]) + epsilon) + beta[c]`
///
/// with the biased variance. Ba, Kiros and Hinton, *Layer Normalization*, 2016 (arXiv 1607.06450).
///
/// Shapes: `x [rows, width]`, `gamma` and `beta [width]`, result `[rows, width]` of x's dtype. `gamma` and `beta` have the
/// dtype of `x`, or f32 where that is of half precision. PyTorch's default for `epsilon` is 1e-5. Differentiable in
/// `x`, `gamma` and `beta`. A row with NaN or infinity becomes NaN, the other rows do not.
///
/// # Errors
/// When shapes or dtypes do not fit each other, a size is zero, or epsilon is not a positive number that f32 can hold.
pub fn layer_norm(
    x: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Result<Tensor<2>> {
    check(&x, &[("gamma", &gamma), ("beta", &beta)], epsilon)?;
    let [rows, width] = x.dims();
    // Kernels count in 32 bits, and give a row so many invocations at least.
    let largest = (rows.next_multiple_of(SIDE) + width) as u64 * width.max(LANES) as u64;
    let parameters = [gamma.dtype(), beta.dtype()];
    let own = i32::try_from(largest).is_ok()
        && parameters == [DType::F32; 2]
        && has_kernels(&x.device(), x.dtype());
    if !own {
        return composite(OPERATION, x.dtype(), || {
            reference::layer_norm(x, gamma, beta, epsilon)
        });
    }
    admit_op(OPERATION, &x.device(), |sim| {
        sim.layer_norm(sim.given(&x)).map(drop)
    })?;
    let forward = <Dispatch as LayerNormOps>::row_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon as f32,
    );
    Ok(Tensor::from_dispatch(forward.output))
}

fn check(x: &Tensor<2>, vectors: &[(&str, &Tensor<1>)], epsilon: f64) -> Result<()> {
    not_empty(OPERATION, &x.dims(), format_args!("x {:?}", x.dims()))?;
    vectors_fit(OPERATION, vectors, x.dims()[1], x.dtype())?;
    check_epsilon(OPERATION, epsilon)
}

/// What a forward pass gives and what its backward pass needs.
#[derive(ExtensionType)]
pub(crate) struct LayerNormForward<B: Backend> {
    pub output: FloatTensor<B>,
    /// `[rows, 2]`: mean and `1 / sqrt(variance + epsilon)`.
    pub statistics: FloatTensor<B>,
}

/// Gradients of a normalisation.
pub(crate) struct LayerNormGradients<B: Backend> {
    pub x: FloatTensor<B>,
    pub gamma: FloatTensor<B>,
    pub beta: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait LayerNormOps: Backend {
    fn row_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> LayerNormForward<Self>;
}

pub(crate) trait LayerNormBackward: LayerNormOps + StorageOps {
    fn row_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> LayerNormGradients<Self>;
}

fn sizes(x: &Shape, epsilon: f32) -> Vec<usize> {
    vec![x[0], x[1], epsilon.to_bits() as usize]
}

impl LayerNormOps for CubeBackend {
    fn row_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> LayerNormForward<Self> {
        let (shape, stored) = (x.shape(), x.dtype());
        let [output, statistics] = Launch {
            kernel: &LAYER_NORM,
            sizes: sizes(&shape, epsilon),
            grid: Grid::Invocations(shape[0] * LANES),
            outputs: [(shape.clone(), stored), f32s([shape[0], 2])],
            inputs: vec![x, gamma, beta],
        }
        .run();
        LayerNormForward { output, statistics }
    }
}

impl LayerNormBackward for CubeBackend {
    fn row_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> LayerNormGradients<Self> {
        let (shape, stored) = (x.shape(), x.dtype());
        let (rows, width) = (shape[0], shape[1]);
        let row = width.next_multiple_of(PART);
        let [x, parameters] = Launch {
            kernel: &LAYER_NORM_BACKWARD,
            sizes: sizes(&shape, 0.0),
            grid: Grid::Workgroups(rows.div_ceil(SIDE) + width.div_ceil(SIDE)),
            outputs: [(shape, stored), f32s([2 * row])],
            inputs: vec![x, gamma, statistics, grad],
        }
        .run();
        LayerNormGradients {
            x,
            gamma: part(&parameters, 0, width),
            beta: part(&parameters, row, width),
        }
    }
}

impl LayerNormOps for Flex {
    fn row_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> LayerNormForward<Self> {
        let shape = x.shape();
        let forward = with_values([&x, &gamma, &beta], |[x, gamma, beta]| {
            cpu::forward(x, gamma, beta, epsilon)
        });
        LayerNormForward {
            statistics: tensor(forward.statistics, [shape[0], 2]),
            output: tensor(forward.y, shape),
        }
    }
}

impl LayerNormBackward for Flex {
    fn row_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> LayerNormGradients<Self> {
        let inputs = [&x, &gamma, &statistics, &grad];
        let gradients = with_values(inputs, |[x, gamma, statistics, grad]| {
            cpu::backward(x, gamma, statistics, grad)
        });
        LayerNormGradients {
            x: tensor(gradients.x, x.shape()),
            gamma: tensor(gradients.gamma, gamma.shape()),
            beta: tensor(gradients.beta, gamma.shape()),
        }
    }
}

impl<B: LayerNormBackward, C: CheckpointStrategy> LayerNormOps for Autodiff<B, C> {
    fn row_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> LayerNormForward<Self> {
        let ([x, gamma, beta], parents) = tape::open([x, gamma, beta]);
        let LayerNormForward { output, statistics } =
            B::row_norm(x.clone(), gamma.clone(), beta, epsilon);
        let x_id = parents[0].id();
        let output = tape::record::<B, _, 3>(
            parents,
            output,
            |_| {
                let x = Stored::of_node::<B>(x, x_id, Order::Plain);
                (x, gamma, statistics.clone())
            },
            |(x, gamma, statistics), grad, parents| {
                let all = B::row_norm_backward(x.restore::<B>(), gamma, statistics, grad);
                parents.give_all([all.x, all.gamma, all.beta]);
            },
        );
        LayerNormForward {
            output,
            statistics: Self::from_inner(statistics),
        }
    }
}
