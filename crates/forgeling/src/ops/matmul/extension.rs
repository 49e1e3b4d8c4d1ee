//! The products as an extension of the back ends, and their backward pass.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, ExtensionType, TensorMetadata, backend_extension,
};
use burn::tensor::Shape;

use super::Activation;
#[cfg(feature = "fusion")]
use super::specs;
use crate::ops::heuristics::Heuristics;
use crate::ops::storage::{Order, StorageOps, Stored};

/// What a product ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct End {
    pub activation: Activation,
    /// Whether the bias counts.
    pub bias: bool,
    /// Whether a backward pass is to come.
    pub keep: bool,
}

impl End {
    /// Whether the value before the activation is what a backward pass needs.
    pub fn keeps_sum(self) -> bool {
        self.keep && self.activation == Activation::Gelu
    }
}

/// Sizes of products of `[.., rows, inner]` and `[.., inner, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub batch: usize,
    pub rows: usize,
    pub columns: usize,
    pub inner: usize,
}

impl Sizes {
    /// Of checked operands.
    pub fn of(a: &Shape, b: &Shape) -> Self {
        let rank = a.num_dims();
        Self {
            batch: a[..rank - 2].iter().product(),
            rows: a[rank - 2],
            columns: b[rank - 1],
            inner: a[rank - 1],
        }
    }
}

/// `shape` with another last dimension.
pub(crate) fn with_columns(shape: &Shape, columns: usize) -> Shape {
    let mut dims: Vec<usize> = shape.iter().copied().collect();
    if let Some(last) = dims.last_mut() {
        *last = columns;
    }
    Shape::from(dims)
}

/// The shape of the left side's gradient.
pub(crate) fn left_shape(grad: &Shape, b: &Shape) -> Shape {
    with_columns(grad, b[b.num_dims() - 2])
}

/// The shape of the right side's gradient.
pub(crate) fn right_shape(a: &Shape, grad: &Shape) -> Shape {
    let rank = a.num_dims();
    let mut dims: Vec<usize> = a.iter().copied().collect();
    dims[rank - 2..].copy_from_slice(&[a[rank - 1], grad[rank - 1]]);
    Shape::from(dims)
}

/// The result, and what a backward pass needs.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct MatmulForward<B: Backend> {
    pub output: FloatTensor<B>,
    /// The right side in the dtype of the left.
    pub right: FloatTensor<B>,
    /// The value before GELU, if it is to be kept; the output otherwise.
    pub kept: FloatTensor<B>,
}

/// Gradients of the right side and of the bias, in f32.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct RightGradients<B: Backend> {
    pub right: FloatTensor<B>,
    /// Of no meaning unless asked for.
    pub bias: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex, Fusion: cfg(feature = "fusion"))]
pub(crate) trait MatmulOps: StorageOps {
    /// `activation(a b + bias)`
    #[fusion(meta = specs::forward)]
    fn matmul(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        end: End,
        heuristics: Heuristics,
    ) -> MatmulForward<Self>;

    /// The gradient before the activation.
    #[fusion(dtype = grad, shape = grad)]
    fn activation_grad(
        kept: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// `grad b^T`
    #[fusion(dtype = grad, shape = left_shape(grad, b))]
    fn matmul_grad_left(
        grad: FloatTensor<Self>,
        b: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> FloatTensor<Self>;

    /// `a^T grad`, and the sum of the rows of `grad`.
    #[fusion(meta = specs::right)]
    fn matmul_grad_right(
        a: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        bias: bool,
        heuristics: Heuristics,
    ) -> RightGradients<Self>;
}

#[derive(Debug)]
struct Matmul;

/// What a backward pass reads.
#[derive(Debug, Clone)]
struct Kept<T> {
    a: Stored<T>,
    /// A parameter, or the other side of a product.
    right: Stored<T>,
    /// Where there is an activation.
    kept: Option<Stored<T>>,
    /// Whether the right side's gradient belongs to a tensor of the left's dtype.
    same_dtype: bool,
    end: End,
    heuristics: Heuristics,
}

impl<B: MatmulOps> Backward<B, 3> for Matmul {
    type State = Kept<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let Kept {
            a,
            right,
            kept,
            same_dtype,
            end,
            heuristics,
        } = ops.state;
        let [left_node, right_node, bias_node] = ops.parents;
        let mut grad = grads.consume::<B>(&ops.node);
        if let Some(kept) = kept {
            grad = B::activation_grad(kept.restore::<B>(), grad, end.activation);
        }
        if let Some(node) = left_node {
            let right = right.restore::<B>();
            let value = B::matmul_grad_left(grad.clone(), right, heuristics);
            grads.register::<B>(node.id, value);
        }
        let bias_node = bias_node.filter(|_| end.bias);
        if right_node.is_none() && bias_node.is_none() {
            return;
        }
        let a = a.restore::<B>();
        let dtype = a.dtype();
        let value = B::matmul_grad_right(a, grad, bias_node.is_some(), heuristics);
        if let Some(node) = right_node {
            let right = if same_dtype && value.right.dtype() != dtype {
                B::float_cast(value.right, dtype.into())
            } else {
                value.right
            };
            grads.register::<B>(node.id, right);
        }
        if let Some(node) = bias_node {
            grads.register::<B>(node.id, value.bias);
        }
    }
}

impl<B: MatmulOps, C: CheckpointStrategy> MatmulOps for Autodiff<B, C> {
    fn matmul(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        end: End,
        heuristics: Heuristics,
    ) -> MatmulForward<Self> {
        let (a, a_node) = a.into_parts();
        let (b, b_node) = b.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let end = End { keep: true, ..end };
        let same_dtype = a.dtype() == b.dtype();
        let (a_id, b_id) = (a_node.id(), b_node.id());
        let forward = B::matmul(a.clone(), b, bias, end, heuristics);
        let prepared = Matmul
            .prepare::<C>([a_node, b_node, bias_node])
            .compute_bound()
            .stateful();
        let output = match prepared {
            OpsKind::Tracked(prep) => {
                let store = |tensor| Stored::of::<B>(tensor, Order::Plain);
                let right = forward.right.clone();
                let kept =
                    (end.activation != Activation::None).then(|| store(forward.kept.clone()));
                // Weights are no activations.
                let right = match right.rank() {
                    2 => Stored::Full(right),
                    _ => Stored::of_node::<B>(right, b_id, Order::Plain),
                };
                let state = Kept {
                    a: Stored::of_node::<B>(a, a_id, Order::Plain),
                    right,
                    kept: kept.clone(),
                    same_dtype,
                    end,
                    heuristics,
                };
                let tracked = prep.finish(state, forward.output);
                if let Some(output) = kept.filter(|_| !end.keeps_sum()) {
                    output.share(tracked.id());
                }
                tracked
            }
            OpsKind::UnTracked(prep) => prep.finish(forward.output),
        };
        MatmulForward {
            output,
            right: Self::from_inner(forward.right),
            kept: Self::from_inner(forward.kept),
        }
    }

    // The tape is first order, as everywhere in burn: the gradients themselves are not recorded.
    fn activation_grad(
        kept: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::activation_grad(
            kept.into_primitive(),
            grad.into_primitive(),
            activation,
        ))
    }

    fn matmul_grad_left(
        grad: FloatTensor<Self>,
        b: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::matmul_grad_left(
            grad.into_primitive(),
            b.into_primitive(),
            heuristics,
        ))
    }

    fn matmul_grad_right(
        a: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        bias: bool,
        heuristics: Heuristics,
    ) -> RightGradients<Self> {
        let (a, grad) = (a.into_primitive(), grad.into_primitive());
        let value = B::matmul_grad_right(a, grad, bias, heuristics);
        RightGradients {
            right: Self::from_inner(value.right),
            bias: Self::from_inner(value.bias),
        }
    }
}
