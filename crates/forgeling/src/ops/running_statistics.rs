//! Moving the running statistics of batch norm towards those of a batch.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, TensorMetadata,
    backend_extension,
};
use burn::tensor::{DType, Tensor};
use forgeling_shaders::RUNNING_STATISTICS;

use super::cpu::loss as cpu;
use super::cpu_tensors::{tensor, with_values};
use super::launch::{Launch, PART, f32s, has_kernels, part};
use super::reference;

/// Statistics of each channel, all `[channels]`.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Means.
    pub mean: Tensor<1>,
    /// Variances.
    pub variance: Tensor<1>,
}

/// How far statistics move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blend {
    /// Weight of the batch.
    pub momentum: f32,
    /// What the batch's variance is multiplied with: `n / (n - 1)` makes a biased one unbiased.
    pub correction: f32,
}

/// `mean = (1 - m) mean + m (batch mean + bias)`, `variance = (1 - m) variance + m correction batch variance`
///
/// Not differentiable: what comes out is detached. All tensors are of one length, as the block made them.
pub fn running_statistics(
    running: Statistics,
    bias: Tensor<1>,
    batch: Statistics,
    blend: Blend,
) -> Statistics {
    let own = bias.dtype() == DType::F32 && has_kernels(&bias.device(), DType::F32);
    if !own {
        return reference::running_statistics(running, bias, batch, blend);
    }
    let moved = <Dispatch as StatisticsOps>::running_statistics(
        running.mean.into_dispatch(),
        running.variance.into_dispatch(),
        bias.into_dispatch(),
        batch.mean.into_dispatch(),
        batch.variance.into_dispatch(),
        blend,
    );
    Statistics {
        mean: Tensor::from_dispatch(moved.mean),
        variance: Tensor::from_dispatch(moved.variance),
    }
}

/// What comes out.
#[derive(ExtensionType)]
pub(crate) struct Moved<B: Backend> {
    pub mean: FloatTensor<B>,
    pub variance: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait StatisticsOps: Backend {
    fn running_statistics(
        old_mean: FloatTensor<Self>,
        old_variance: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        blend: Blend,
    ) -> Moved<Self>;
}

fn sizes(channels: usize, blend: Blend) -> [usize; 3] {
    [
        channels,
        blend.momentum.to_bits() as usize,
        blend.correction.to_bits() as usize,
    ]
}

impl StatisticsOps for CubeBackend {
    fn running_statistics(
        old_mean: FloatTensor<Self>,
        old_variance: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        blend: Blend,
    ) -> Moved<Self> {
        let channels = bias.shape()[0];
        let row = channels.next_multiple_of(PART);
        let moved = Launch::per_element(
            &RUNNING_STATISTICS,
            vec![old_mean, old_variance, bias, mean, variance],
            f32s([2 * row]),
            sizes(channels, blend),
        );
        Moved {
            mean: part(&moved, 0, channels),
            variance: part(&moved, row, channels),
        }
    }
}

impl StatisticsOps for Flex {
    fn running_statistics(
        old_mean: FloatTensor<Self>,
        old_variance: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        blend: Blend,
    ) -> Moved<Self> {
        let channels = bias.shape()[0];
        let row = channels.next_multiple_of(PART);
        let mut moved = vec![0.0; 2 * row];
        let inputs = [&old_mean, &old_variance, &bias, &mean, &variance];
        with_values(inputs, |[old_mean, old_variance, bias, mean, variance]| {
            let (moved, sizes) = (&mut moved, sizes(channels, blend));
            cpu::running_statistics(old_mean, old_variance, bias, mean, variance, moved, sizes);
        });
        Moved {
            mean: tensor(moved[..channels].to_vec(), [channels]),
            variance: tensor(moved[row..row + channels].to_vec(), [channels]),
        }
    }
}

impl<B: StatisticsOps, C: CheckpointStrategy> StatisticsOps for Autodiff<B, C> {
    fn running_statistics(
        old_mean: FloatTensor<Self>,
        old_variance: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        blend: Blend,
    ) -> Moved<Self> {
        let inputs = [old_mean, old_variance, bias, mean, variance];
        let [old_mean, old_variance, bias, mean, variance] =
            inputs.map(|tensor| tensor.into_primitive());
        let moved = B::running_statistics(old_mean, old_variance, bias, mean, variance, blend);
        Moved {
            mean: Self::from_inner(moved.mean),
            variance: Self::from_inner(moved.variance),
        }
    }
}
