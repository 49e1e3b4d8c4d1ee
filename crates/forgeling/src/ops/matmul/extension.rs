//! The products as an extension of the back ends, and their backward pass.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, ExtensionType, TensorMetadata, backend_extension,
};
use burn::tensor::Shape;

use super::Activation;
use crate::ops::cpu::gemm::ProductShape;
use crate::ops::heuristics::Heuristics;
use crate::ops::storage::{Order, StorageOps, Stored};
use crate::ops::tape;

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

/// The sizes of a product of checked operands.
pub(crate) fn product_shape(a: &Shape, b: &Shape) -> ProductShape {
    let rank = a.num_dims();
    ProductShape {
        batch: a[..rank - 2].iter().product(),
        rows: a[rank - 2],
        columns: b[rank - 1],
        inner: a[rank - 1],
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
pub(crate) struct MatmulForward<B: Backend> {
    pub output: FloatTensor<B>,
    /// The right side in the dtype of the left.
    pub right: FloatTensor<B>,
    /// The value before GELU, if it is to be kept; the output otherwise.
    pub kept: FloatTensor<B>,
}

/// Gradients of the right side and of the bias, in f32.
pub(crate) struct RightGradients<B: Backend> {
    pub right: FloatTensor<B>,
    /// Of no meaning unless asked for.
    pub bias: FloatTensor<B>,
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait MatmulOps: Backend {
    /// `activation(a b + bias)`
    fn matmul(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        end: End,
        heuristics: Heuristics,
    ) -> MatmulForward<Self>;
}

pub(crate) trait MatmulBackward: MatmulOps + StorageOps {
    /// The gradient before the activation.
    fn activation_grad(
        kept: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// `grad b^T`
    fn matmul_grad_left(
        grad: FloatTensor<Self>,
        b: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> FloatTensor<Self>;

    /// `a^T grad`, and the sum of the rows of `grad`.
    fn matmul_grad_right(
        a: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        bias: bool,
        heuristics: Heuristics,
    ) -> RightGradients<Self>;
}

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

fn backward<B: MatmulBackward>(
    kept: Kept<FloatTensor<B>>,
    mut grad: FloatTensor<B>,
    parents: &mut tape::Parents<'_, B, 3>,
) {
    let Kept {
        a,
        right,
        kept,
        same_dtype,
        end,
        heuristics,
    } = kept;
    if let Some(kept) = kept {
        grad = B::activation_grad(kept.restore::<B>(), grad, end.activation);
    }
    parents.give_with(0, || {
        B::matmul_grad_left(grad.clone(), right.restore::<B>(), heuristics)
    });
    let of_bias = end.bias && parents.wants(2);
    if !parents.wants(1) && !of_bias {
        return;
    }
    let a = a.restore::<B>();
    let dtype = a.dtype();
    let value = B::matmul_grad_right(a, grad, of_bias, heuristics);
    parents.give_with(1, || {
        if same_dtype && value.right.dtype() != dtype {
            B::float_cast(value.right, dtype.into())
        } else {
            value.right
        }
    });
    if of_bias {
        parents.give(2, value.bias);
    }
}

impl<B: MatmulBackward, C: CheckpointStrategy> MatmulOps for Autodiff<B, C> {
    fn matmul(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        end: End,
        heuristics: Heuristics,
    ) -> MatmulForward<Self> {
        let ([a, b, bias], parents) = tape::open([a, b, bias]);
        let end = End { keep: true, ..end };
        let same_dtype = a.dtype() == b.dtype();
        let MatmulForward {
            output,
            right,
            kept,
        } = B::matmul(a.clone(), b, bias, end, heuristics);
        let (a_id, b_id) = (parents[0].id(), parents[1].id());
        let keep = |_: &FloatTensor<B>| {
            let kept = (end.activation != Activation::None)
                .then(|| Stored::of::<B>(kept.clone(), Order::Plain));
            // Weights are no activations.
            let right = match right.rank() {
                2 => Stored::Full(right.clone()),
                _ => Stored::of_node::<B>(right.clone(), b_id, Order::Plain),
            };
            let output = kept.clone().filter(|_| !end.keeps_sum());
            let all = Kept {
                a: Stored::of_node::<B>(a, a_id, Order::Plain),
                right,
                kept,
                same_dtype,
                end,
                heuristics,
            };
            (all, output)
        };
        MatmulForward {
            output: tape::record_stored(parents, output, keep, backward::<B>),
            right: Self::from_inner(right),
            kept: Self::from_inner(kept),
        }
    }
}
