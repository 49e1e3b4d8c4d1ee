//! Operations on the tape of burn's autodiff.
//!
//! An operation's `Autodiff` implementation opens its inputs, computes with the back end below, and records what is to be done
//! backward. The tape is of first order: what a backward function computes is not recorded.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::storage::{StorageOps, Stored};

/// A tensor on the tape, whatever its strategy of checkpointing.
type Tracked<B> = FloatTensor<Autodiff<B>>;

/// The tensors without the tape, and their places on it.
pub(super) fn open<B: Backend, const N: usize>(
    tensors: [Tracked<B>; N],
) -> ([FloatTensor<B>; N], [NodeGuard; N]) {
    let nodes = tensors.each_ref().map(|tensor| tensor.node());
    (tensors.map(|tensor| tensor.into_primitive()), nodes)
}

/// Gives the parents their gradients, from what was kept and from the output's gradient.
pub(super) type Pull<B, S, const N: usize> = fn(S, FloatTensor<B>, &mut Parents<'_, B, N>);

/// The inputs of an operation, waiting for their gradients.
pub(super) struct Parents<'a, B, const N: usize> {
    wanted: [Option<NodeId>; N],
    gradients: &'a mut Gradients,
    backend: PhantomData<B>,
}

impl<B: Backend, const N: usize> Parents<'_, B, N> {
    pub fn wants(&self, parent: usize) -> bool {
        self.wanted[parent].is_some()
    }

    /// Drops the gradient unless it is wanted.
    pub fn give(&mut self, parent: usize, gradient: FloatTensor<B>) {
        if let Some(node) = self.wanted[parent] {
            self.gradients.register::<B>(node, gradient);
        }
    }

    /// Computes the gradient if it is wanted.
    pub fn give_with(&mut self, parent: usize, gradient: impl FnOnce() -> FloatTensor<B>) {
        if self.wants(parent) {
            self.give(parent, gradient());
        }
    }

    /// Those of the first parents, in order.
    pub fn give_all(&mut self, gradients: impl IntoIterator<Item = FloatTensor<B>>) {
        for (parent, gradient) in gradients.into_iter().enumerate() {
            self.give(parent, gradient);
        }
    }
}

#[derive(Debug)]
struct Recorded<B: Backend, S, const N: usize>(Pull<B, S, N>);

impl<B: Backend, S: Clone + Send + Debug + 'static, const N: usize> Backward<B, N>
    for Recorded<B, S, N>
{
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let mut parents = Parents {
            wanted: ops.parents.map(|parent| parent.map(|node| node.id)),
            gradients: grads,
            backend: PhantomData,
        };
        (self.0)(ops.state, grad, &mut parents);
    }
}

/// Puts the output of `parents` on the tape. What is to be kept is only asked for, given the output, where a gradient
/// is to flow; nothing is computed twice, so no strategy of checkpointing matters.
pub(super) fn record<B: Backend, S: Clone + Send + Debug + 'static, const N: usize>(
    parents: [NodeGuard; N],
    output: FloatTensor<B>,
    keep: impl FnOnce(&FloatTensor<B>) -> S,
    pull: Pull<B, S, N>,
) -> Tracked<B> {
    let prepared = Recorded(pull).prepare::<NoCheckpointing>(parents);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(keep(&output), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

/// As [`record`], of an operation that also says how it stored its output, if it did: the operations to come may keep
/// the same.
pub(super) fn record_stored<B: StorageOps, S: Clone + Send + Debug + 'static, const N: usize>(
    parents: [NodeGuard; N],
    output: FloatTensor<B>,
    keep: impl FnOnce(&FloatTensor<B>) -> (S, Option<Stored<FloatTensor<B>>>),
    pull: Pull<B, S, N>,
) -> Tracked<B> {
    let mut stored = None;
    let keep = |output: &FloatTensor<B>| {
        let (kept, output) = keep(output);
        stored = output;
        kept
    };
    let tracked = record(parents, output, keep, pull);
    if let Some(output) = stored {
        output.share(tracked.id());
    }
    tracked
}
