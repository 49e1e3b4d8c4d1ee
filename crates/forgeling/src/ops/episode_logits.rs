//! Logits of whole episodes, straight from the features of their images.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, TensorMetadata,
    backend_extension,
};
use burn::tensor::{Shape, Tensor};
use forgeling_shaders::{EPISODE_LOGITS, EPISODE_LOGITS_GRAD, EPISODE_PROTOTYPES};

use super::check::not_empty;
use super::cpu::episode::{self as cpu, EpisodeShape};
use super::cpu_tensors::{computed, tensor, with_values};
use super::implementation::composite;
use super::launch::{Launch, f32s, has_kernels};
use super::plan::admit_op;
use super::{reference, tape};
use crate::error::{Error, Result};

/// How many of each an episode batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpisodeCounts {
    /// Episodes.
    pub episodes: usize,
    /// Classes of an episode.
    pub ways: usize,
    /// Support examples of a class.
    pub shots: usize,
    /// Query examples of a class.
    pub queries: usize,
}

impl EpisodeCounts {
    /// Support examples of all episodes, which come first among the features.
    pub const fn supports(self) -> usize {
        self.episodes * self.ways * self.shots
    }

    /// Support and query examples of all episodes.
    pub const fn rows(self) -> usize {
        self.supports() + self.episodes * self.ways * self.queries
    }
}

/// Negative squared Euclidean distances of every query to the mean of each class's support:
///
/// `logits[e, q, n] = -sum_d (f[e, q, d] - c[e, n, d])^2`, `c[e, n, d] = mean_k f[e, n, k, d]`
///
/// Shapes: `features [episodes * ways * (shots + queries), width]`, all supports first (`[episode, way, shot]`), then
/// all queries (`[episode, way, query]`); result `[episodes, ways * queries, ways]`, in f32 if the features are of half
/// precision, which squares soon leave. Differentiable. Snell et al.,
/// *Prototypical Networks for Few-shot Learning*, 2017 (arXiv 1703.05175).
///
/// The same as [`super::prototype_logits`] of means of slices, in two kernels forward and one backward.
///
/// # Errors
/// When the number of rows is not that of `counts`, or a size is zero.
pub fn episode_logits(features: Tensor<2>, counts: EpisodeCounts) -> Result<Tensor<3>> {
    const OPERATION: &str = "episode_logits";
    let [rows, width] = features.dims();
    let EpisodeCounts {
        episodes,
        ways,
        shots,
        queries,
    } = counts;
    let got = format_args!("{counts:?} with {width} features");
    not_empty(OPERATION, &[episodes, ways, shots, queries, width], got)?;
    if rows != counts.rows() {
        return Err(
            Error::invalid(OPERATION, "the features are not those of the episodes")
                .expected(format!("[{}, features]", counts.rows()))
                .got(format!("{:?}", features.dims())),
        );
    }
    let countable = i32::try_from((rows * width).max(rows * ways)).is_ok();
    let dtype = features.dtype();
    if !countable || !has_kernels(&features.device(), dtype) {
        let reference = || reference::episode_logits(features, counts);
        return composite(OPERATION, dtype, reference);
    }
    admit_op(OPERATION, &features.device(), |sim| {
        sim.episode_logits(sim.given(&features), counts).map(drop)
    })?;
    let forward = <Dispatch as EpisodeOps>::episode_logits(features.into_dispatch(), counts);
    Ok(Tensor::from_dispatch(forward.logits))
}

/// Logits, and the prototypes that the backward pass needs.
#[derive(ExtensionType)]
pub(crate) struct EpisodeForward<B: Backend> {
    pub logits: FloatTensor<B>,
    pub prototypes: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait EpisodeOps: Backend {
    fn episode_logits(features: FloatTensor<Self>, counts: EpisodeCounts) -> EpisodeForward<Self>;
}

pub(crate) trait EpisodeBackward: EpisodeOps {
    fn episode_logits_grad(
        features: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        counts: EpisodeCounts,
    ) -> FloatTensor<Self>;
}

fn logits_shape(counts: EpisodeCounts) -> Shape {
    Shape::new([counts.episodes, counts.ways * counts.queries, counts.ways])
}

fn prototypes_shape(counts: EpisodeCounts, width: usize) -> Shape {
    Shape::new([counts.episodes, counts.ways, width])
}

fn sizes(counts: EpisodeCounts, width: usize) -> EpisodeShape {
    [
        counts.episodes,
        counts.ways,
        counts.shots,
        counts.queries,
        width,
    ]
}

impl EpisodeOps for CubeBackend {
    fn episode_logits(features: FloatTensor<Self>, counts: EpisodeCounts) -> EpisodeForward<Self> {
        let width = features.shape()[1];
        let sizes = sizes(counts, width);
        let prototypes = Launch::per_element(
            &EPISODE_PROTOTYPES,
            vec![features.clone()],
            f32s(prototypes_shape(counts, width)),
            sizes,
        );
        let logits = Launch::per_element(
            &EPISODE_LOGITS,
            vec![features, prototypes.clone()],
            f32s(logits_shape(counts)),
            sizes,
        );
        EpisodeForward { logits, prototypes }
    }
}

impl EpisodeBackward for CubeBackend {
    fn episode_logits_grad(
        features: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        counts: EpisodeCounts,
    ) -> FloatTensor<Self> {
        let shape = features.shape();
        let output = (shape.clone(), features.dtype());
        let sizes = sizes(counts, shape[1]);
        let inputs = vec![features, prototypes, grad];
        Launch::per_element(&EPISODE_LOGITS_GRAD, inputs, output, sizes)
    }
}

impl EpisodeOps for Flex {
    fn episode_logits(features: FloatTensor<Self>, counts: EpisodeCounts) -> EpisodeForward<Self> {
        let width = features.shape()[1];
        let sizes = sizes(counts, width);
        let mut prototypes = vec![0.0; counts.episodes * counts.ways * width];
        let mut logits = vec![0.0; logits_shape(counts).num_elements()];
        with_values([&features], |[features]| {
            cpu::episode_prototypes(features, &mut prototypes, sizes);
            cpu::episode_logits(features, &prototypes, &mut logits, sizes);
        });
        EpisodeForward {
            logits: tensor(logits, logits_shape(counts)),
            prototypes: tensor(prototypes, prototypes_shape(counts, width)),
        }
    }
}

impl EpisodeBackward for Flex {
    fn episode_logits_grad(
        features: FloatTensor<Self>,
        prototypes: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        counts: EpisodeCounts,
    ) -> FloatTensor<Self> {
        let shape = features.shape();
        let sizes = sizes(counts, shape[1]);
        let inputs = [&features, &prototypes, &grad];
        computed(inputs, shape, |[features, prototypes, grad], gradient| {
            cpu::episode_logits_grad(features, prototypes, grad, gradient, sizes);
        })
    }
}

impl<B: EpisodeBackward, C: CheckpointStrategy> EpisodeOps for Autodiff<B, C> {
    fn episode_logits(features: FloatTensor<Self>, counts: EpisodeCounts) -> EpisodeForward<Self> {
        let ([features], parents) = tape::open([features]);
        let EpisodeForward { logits, prototypes } = B::episode_logits(features.clone(), counts);
        let logits = tape::record::<B, _, 1>(
            parents,
            logits,
            |_| (features, prototypes.clone(), counts),
            |(features, prototypes, counts), grad, parents| {
                parents.give_with(0, || {
                    B::episode_logits_grad(features, prototypes, grad, counts)
                });
            },
        );
        EpisodeForward {
            logits,
            prototypes: Self::from_inner(prototypes),
        }
    }
}
