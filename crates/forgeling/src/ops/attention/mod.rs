//! Softmax attention that never holds all its scores.

mod cpu;
mod gpu;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, backend_extension,
};
use burn::tensor::Tensor;

use super::check::{fits, not_empty};
use super::implementation::composite;
use super::launch::has_kernels;
use super::plan::admit_op;
use super::storage::{Order, StorageOps, Stored};
use super::{reference, tape};
use crate::error::{Error, Result};

const OPERATION: &str = "attention";

/// How [`attention`] weighs keys.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AttentionOptions {
    /// The factor of the scores. Default `None`, for `1 / sqrt(width)`.
    pub scale: Option<f64>,
    /// Whether query `n` sees keys `0..=n` only, counted from the first token of each. Default false.
    pub causal: bool,
}

impl AttentionOptions {
    pub(super) fn scale_of(self, width: usize) -> f64 {
        self.scale.unwrap_or_else(|| 1.0 / (width as f64).sqrt())
    }
}

/// The mean of the values, weighed by how well each key fits the query, for each head by itself:
///
/// `out[n] = sum_m p[n, m] value[m]`, `p[n] = softmax_m(scale * dot(query[n], key[m]))`
///
/// Vaswani et al., *Attention Is All You Need*, 2017 (arXiv 1706.03762).
///
/// Shapes: `query [batch, heads, queries, width]`, `key` and `value [batch, heads, keys, width]`, result
/// `[batch, heads, queries, width]`; all of one float dtype and on one device. Differentiable in all three. NaN and
/// infinity propagate; with [`AttentionOptions::causal`] they may also reach earlier queries, as 0 times NaN.
///
/// Memory grows with the number of tokens, not with its square: the backward pass computes the probabilities again from
/// each query's log-sum-exp. Dao et al., *FlashAttention*, 2022 (arXiv 2205.14135). Fastest on tensors that lie in
/// memory as `[batch, tokens, heads, width]`, as the output of a linear layer does after `reshape` and `swap_dims(1, 2)`;
/// on GPUs the result always does, on the CPU it lies as the query does.
///
/// # Errors
/// When shapes or dtypes do not fit each other, a size is zero, or the scale is not finite in f32.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    options: AttentionOptions,
) -> Result<Tensor<4>> {
    let scale = check(&query, [&key, &value], options)?;
    let [batches, heads, queries, width] = query.dims();
    let keys = key.dims()[2];
    // Kernels count in 32 bits: the two gradients of keys and values, and invocations.
    let tokens = queries.max(keys).next_multiple_of(32);
    let countable = [2, batches, heads, tokens, width.next_multiple_of(64)]
        .into_iter()
        .try_fold(1i32, |product, size| {
            product.checked_mul(i32::try_from(size).ok()?)
        })
        .is_some();
    if !countable || !has_kernels(&query.device(), query.dtype()) {
        return composite(OPERATION, query.dtype(), || {
            reference::attention(query, key, value, options)
        });
    }
    admit_op(OPERATION, &query.device(), |sim| {
        let [query, key, value] = [&query, &key, &value].map(|tensor| sim.given(tensor));
        sim.attention(query, key, value).map(drop)
    })?;
    let forward = <Dispatch as AttentionOps>::softmax_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        Weighing {
            scale,
            causal: options.causal,
        },
    );
    Ok(Tensor::from_dispatch(forward.output))
}

/// The scale, if all fits.
fn check(query: &Tensor<4>, others: [&Tensor<4>; 2], options: AttentionOptions) -> Result<f32> {
    let [batches, heads, queries, width] = query.dims();
    let keys = others[0].dims()[2];
    let got = format_args!("query {:?}, key {:?}", query.dims(), others[0].dims());
    not_empty(OPERATION, &[batches, heads, queries, width, keys], got)?;
    let shape = [batches, heads, keys, width];
    for (name, tensor) in ["key", "value"].into_iter().zip(others) {
        let misfit = format!("{name} does not fit the query");
        fits(OPERATION, misfit, tensor, shape, query.dtype())?;
    }
    let scale = options.scale_of(width) as f32;
    if !scale.is_finite() {
        return Err(Error::invalid(OPERATION, "the scale is out of range")
            .expected("a finite number")
            .got(scale));
    }
    Ok(scale)
}

/// [`AttentionOptions`] for a known width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighing {
    scale: f32,
    causal: bool,
}

/// What a forward pass gives and what its backward pass needs.
#[derive(ExtensionType)]
pub(crate) struct AttentionForward<B: Backend> {
    pub output: FloatTensor<B>,
    /// The log-sum-exp of each query's scores, `[batch, heads, queries]`.
    pub lse: FloatTensor<B>,
}

/// Gradients of an attention.
pub(crate) struct AttentionGradients<B: Backend> {
    pub query: FloatTensor<B>,
    pub key: FloatTensor<B>,
    pub value: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait AttentionOps: Backend {
    fn softmax_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        weighing: Weighing,
    ) -> AttentionForward<Self>;
}

pub(crate) trait AttentionBackward: AttentionOps + StorageOps {
    #[allow(clippy::too_many_arguments)]
    fn softmax_attention_backward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        output: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        weighing: Weighing,
    ) -> AttentionGradients<Self>;
}

/// What a backward pass reads.
#[derive(Debug, Clone)]
struct Kept<T> {
    query: Stored<T>,
    key: Stored<T>,
    value: Stored<T>,
    output: Stored<T>,
    lse: T,
    weighing: Weighing,
}

fn backward<B: AttentionBackward>(
    kept: Kept<FloatTensor<B>>,
    grad: FloatTensor<B>,
    parents: &mut tape::Parents<'_, B, 3>,
) {
    let all = B::softmax_attention_backward(
        kept.query.restore::<B>(),
        kept.key.restore::<B>(),
        kept.value.restore::<B>(),
        kept.output.restore::<B>(),
        kept.lse,
        grad,
        kept.weighing,
    );
    parents.give_all([all.query, all.key, all.value]);
}

impl<B: AttentionBackward, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn softmax_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        weighing: Weighing,
    ) -> AttentionForward<Self> {
        let ([query, key, value], parents) = tape::open([query, key, value]);
        let AttentionForward { output, lse } =
            B::softmax_attention(query.clone(), key.clone(), value.clone(), weighing);
        let ids = parents.each_ref().map(|parent| parent.id());
        let keep = |output: &FloatTensor<B>| {
            let store = |tensor, id| Stored::of_node::<B>(tensor, id, Order::Heads);
            let output = Stored::of::<B>(output.clone(), Order::Heads);
            let kept = Kept {
                query: store(query, ids[0]),
                key: store(key, ids[1]),
                value: store(value, ids[2]),
                output: output.clone(),
                lse: lse.clone(),
                weighing,
            };
            (kept, Some(output))
        };
        AttentionForward {
            output: tape::record_stored(parents, output, keep, backward::<B>),
            lse: Self::from_inner(lse),
        }
    }
}
