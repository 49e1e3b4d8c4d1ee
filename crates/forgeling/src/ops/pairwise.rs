//! Squared distances of all pairs of rows, as they are and as the logits of prototypes.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor};
use forgeling_shaders::{
    PAIRWISE_SQ_DISTANCE, PAIRWISE_SQ_DISTANCE_GRAD_A, PAIRWISE_SQ_DISTANCE_GRAD_B,
};

use super::check::{not_empty, same_dtype};
use super::cpu::pairwise::{self as cpu, PairwiseShape};
use super::cpu_tensors::computed;
use super::implementation::composite;
use super::launch::{Launch, f32s, has_kernels};
use super::{reference, tape};
use crate::error::{Error, Result};

/// Squared Euclidean distances of every row of `a` to every row of `b`:
///
/// `distances[e, q, n] = sum_d (a[e, q, d] - b[e, n, d])^2`
///
/// Shapes: `a [E, Q, D]`, `b [E, N, D]`, result `[E, Q, N]`, in f32 if the inputs are of half precision, which squares
/// soon leave; both inputs of one float dtype and on one device. Never negative, and exactly 0 for equal rows, since
/// the differences themselves are squared. Differentiable in both. NaN and infinity propagate.
///
/// This is one kernel forward and one per gradient; dtypes without a kernel use [`mod@reference`].
///
/// # Errors
/// When batch or features differ, when a size is zero, or when dtypes differ.
pub fn pairwise_sq_distance(a: Tensor<3>, b: Tensor<3>) -> Result<Tensor<3>> {
    distances("pairwise_sq_distance", ["a", "b"], a, b, 1.0)
}

/// Negative squared Euclidean distances of every query to every class prototype of its episode:
///
/// `logits[e, q, n] = -sum_d (query[e, q, d] - prototypes[e, n, d])^2`
///
/// Shapes: `query [E, Q, D]`, `prototypes [E, N, D]`, result `[E, Q, N]`. Snell et al., *Prototypical Networks for
/// Few-shot Learning*, 2017 (arXiv 1703.05175). The negative of [`pairwise_sq_distance`], in the same kernels.
///
/// # Errors
/// As [`pairwise_sq_distance`].
pub fn prototype_logits(query: Tensor<3>, prototypes: Tensor<3>) -> Result<Tensor<3>> {
    let names = ["query", "prototypes"];
    distances("prototype_logits", names, query, prototypes, -1.0)
}

/// Distances times `factor`.
fn distances(
    operation: &'static str,
    names: [&str; 2],
    a: Tensor<3>,
    b: Tensor<3>,
    factor: f32,
) -> Result<Tensor<3>> {
    let [batch, rows, features] = a.dims();
    let [b_batch, others, b_features] = b.dims();
    let [a_name, b_name] = names;
    if batch != b_batch || features != b_features {
        let message = format!("{a_name} and {b_name} differ in batch or features");
        return Err(Error::invalid(operation, message)
            .expected(format!("{b_name} [{batch}, rows, {features}]"))
            .got(format!("{:?}", b.dims())));
    }
    let got = format_args!("{a_name} {:?}, {b_name} {:?}", a.dims(), b.dims());
    not_empty(operation, &[batch, rows, others, features], got)?;
    same_dtype(operation, names, [a.dtype(), b.dtype()])?;
    let largest = (batch * rows * features)
        .max(batch * others * features)
        .max(batch * rows * others);
    let own_kernel =
        PAIRWISE_SQ_DISTANCE.grid(largest).is_some() && has_kernels(&a.device(), a.dtype());
    if !own_kernel {
        return composite(operation, a.dtype(), || {
            let distances = reference::pairwise_sq_distance(a, b);
            if factor == 1.0 {
                distances
            } else {
                distances * factor
            }
        });
    }
    let (a, b) = (a.into_dispatch(), b.into_dispatch());
    let distances = <Dispatch as PairwiseOps>::pairwise_sq_distance(a, b, factor);
    Ok(Tensor::from_dispatch(distances))
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait PairwiseOps: Backend {
    fn pairwise_sq_distance(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self>;
}

pub(crate) trait PairwiseBackward: PairwiseOps {
    fn pairwise_sq_distance_grad_a(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self>;

    fn pairwise_sq_distance_grad_b(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self>;
}

/// `[batch, rows, others, features]` of checked inputs, and the factor.
fn sizes(a: &Shape, b: &Shape, factor: f32) -> PairwiseShape {
    [a[0], a[1], b[1], a[2], factor.to_bits() as usize]
}

impl PairwiseOps for CubeBackend {
    fn pairwise_sq_distance(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        let sizes = sizes(&a.shape(), &b.shape(), factor);
        let output = f32s([sizes[0], sizes[1], sizes[2]]);
        Launch::per_element(&PAIRWISE_SQ_DISTANCE, vec![a, b], output, sizes)
    }
}

impl PairwiseBackward for CubeBackend {
    fn pairwise_sq_distance_grad_a(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        let output = (a.shape(), a.dtype());
        let sizes = sizes(&a.shape(), &b.shape(), factor);
        let inputs = vec![a, b, grad];
        Launch::per_element(&PAIRWISE_SQ_DISTANCE_GRAD_A, inputs, output, sizes)
    }

    fn pairwise_sq_distance_grad_b(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        let output = (b.shape(), b.dtype());
        let sizes = sizes(&a.shape(), &b.shape(), factor);
        let inputs = vec![a, b, grad];
        Launch::per_element(&PAIRWISE_SQ_DISTANCE_GRAD_B, inputs, output, sizes)
    }
}

impl PairwiseOps for Flex {
    fn pairwise_sq_distance(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        let sizes = sizes(&a.shape(), &b.shape(), factor);
        let shape = Shape::new([sizes[0], sizes[1], sizes[2]]);
        computed([&a, &b], shape, |[a, b], distances| {
            cpu::pairwise_sq_distance(a, b, distances, sizes);
        })
    }
}

impl PairwiseBackward for Flex {
    fn pairwise_sq_distance_grad_a(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        let sizes = sizes(&a.shape(), &b.shape(), factor);
        computed([&a, &b, &grad], a.shape(), |[a, b, grad], out| {
            cpu::pairwise_sq_distance_grad_a(a, b, grad, out, sizes);
        })
    }

    fn pairwise_sq_distance_grad_b(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        let sizes = sizes(&a.shape(), &b.shape(), factor);
        computed([&a, &b, &grad], b.shape(), |[a, b, grad], out| {
            cpu::pairwise_sq_distance_grad_b(a, b, grad, out, sizes);
        })
    }
}

impl<B: PairwiseBackward, C: CheckpointStrategy> PairwiseOps for Autodiff<B, C> {
    fn pairwise_sq_distance(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        let ([a, b], parents) = tape::open([a, b]);
        let distances = B::pairwise_sq_distance(a.clone(), b.clone(), factor);
        tape::record::<B, _, 2>(
            parents,
            distances,
            |_| (a, b, factor),
            |(a, b, factor), grad, parents| {
                parents.give_with(0, || {
                    B::pairwise_sq_distance_grad_a(a.clone(), b.clone(), grad.clone(), factor)
                });
                parents.give_with(1, || B::pairwise_sq_distance_grad_b(a, b, grad, factor));
            },
        )
    }
}
