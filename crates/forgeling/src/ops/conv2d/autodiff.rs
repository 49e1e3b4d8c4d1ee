//! The convolution and its two gradients on the tape. They are one family, linear in each of its inputs: with `y` the
//! convolution of `x` and `weight`, each of `y`, the input's gradient and the weight's gradient has gradients that are
//! the other two.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use burn::tensor::TensorData;

use super::{Conv2dOps, ConvShape};
use crate::ops::heuristics::Heuristics;
use crate::ops::storage::{Order, Stored};

/// The convolution; parents are the input, the weight and the bias.
#[derive(Debug)]
struct Conv2d;

/// What a backward pass reads.
#[derive(Debug, Clone)]
struct Kept<T> {
    x: Stored<T>,
    weight: T,
    shape: ConvShape,
    heuristics: Heuristics,
}

impl<B: Conv2dOps> Backward<B, 3> for Conv2d {
    type State = Kept<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let Kept {
            x,
            weight,
            shape,
            heuristics,
        } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let [of_x, of_weight, of_bias] = ops.parents;
        // The input's comes last, when the input itself is no longer there.
        if let Some(node) = of_weight {
            let x = x.restore::<B>();
            let value = B::convolve_grad_weight(x, grad.clone(), shape, heuristics);
            grads.register::<B>(node.id, value);
        }
        if let Some(node) = of_bias {
            grads.register::<B>(node.id, B::convolve_grad_bias(grad.clone(), shape));
        }
        if let Some(node) = of_x {
            let value = B::convolve_grad_input(grad, weight, shape, heuristics);
            grads.register::<B>(node.id, value);
        }
    }
}

/// The gradient of the input; parents are the gradient of the output, and the weight.
#[derive(Debug)]
struct GradInput;

/// What its backward pass reads. Gradients are kept as they are: they may be too small for 16 bits.
#[derive(Debug, Clone)]
struct KeptWeight<T> {
    grad: T,
    weight: T,
    shape: ConvShape,
    heuristics: Heuristics,
}

impl<B: Conv2dOps> Backward<B, 2> for GradInput {
    type State = KeptWeight<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let KeptWeight {
            grad,
            weight,
            shape,
            heuristics,
        } = ops.state;
        let flow = grads.consume::<B>(&ops.node);
        let [of_grad, of_weight] = ops.parents;
        if let Some(node) = of_weight {
            let value = B::convolve_grad_weight(flow.clone(), grad, shape, heuristics);
            grads.register::<B>(node.id, value);
        }
        if let Some(node) = of_grad {
            let value = convolve_plainly::<B>(flow, weight, shape, heuristics);
            grads.register::<B>(node.id, value);
        }
    }
}

/// The gradient of the weight; parents are the input, and the gradient of the output.
#[derive(Debug)]
struct GradWeight;

/// What its backward pass reads.
#[derive(Debug, Clone)]
struct KeptInput<T> {
    x: Stored<T>,
    grad: T,
    shape: ConvShape,
    heuristics: Heuristics,
}

impl<B: Conv2dOps> Backward<B, 2> for GradWeight {
    type State = KeptInput<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let KeptInput {
            x,
            grad,
            shape,
            heuristics,
        } = ops.state;
        let flow = grads.consume::<B>(&ops.node);
        let [of_x, of_grad] = ops.parents;
        if let Some(node) = of_grad {
            let value = convolve_plainly::<B>(x.restore::<B>(), flow.clone(), shape, heuristics);
            grads.register::<B>(node.id, value);
        }
        if let Some(node) = of_x {
            let value = B::convolve_grad_input(grad, flow, shape, heuristics);
            grads.register::<B>(node.id, value);
        }
    }
}

/// The convolution without a bias.
fn convolve_plainly<B: Conv2dOps>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    shape: ConvShape,
    heuristics: Heuristics,
) -> FloatTensor<B> {
    let none = TensorData::new(Vec::<f32>::new(), [0]);
    let none = B::float_from_data(none, &weight.device());
    B::convolve(x, weight, none, shape, heuristics)
}

impl<B: Conv2dOps, C: CheckpointStrategy> Conv2dOps for Autodiff<B, C> {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let y = B::convolve(x.clone(), weight.clone(), bias, shape, heuristics);
        let x_id = x_node.id();
        let prepared = Conv2d
            .prepare::<C>([x_node, weight_node, bias_node])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prep) => {
                let kept = Kept {
                    x: Stored::of_node::<B>(x, x_id, Order::Images),
                    weight,
                    shape,
                    heuristics,
                };
                prep.finish(kept, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn convolve_grad_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let (grad, grad_node) = grad.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let dx = B::convolve_grad_input(grad.clone(), weight.clone(), shape, heuristics);
        let prepared = GradInput
            .prepare::<C>([grad_node, weight_node])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prep) => {
                let kept = KeptWeight {
                    grad,
                    weight,
                    shape,
                    heuristics,
                };
                prep.finish(kept, dx)
            }
            OpsKind::UnTracked(prep) => prep.finish(dx),
        }
    }

    fn convolve_grad_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (grad, grad_node) = grad.into_parts();
        let dweight = B::convolve_grad_weight(x.clone(), grad.clone(), shape, heuristics);
        let x_id = x_node.id();
        let prepared = GradWeight
            .prepare::<C>([x_node, grad_node])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prep) => {
                let kept = KeptInput {
                    x: Stored::of_node::<B>(x, x_id, Order::Images),
                    grad,
                    shape,
                    heuristics,
                };
                prep.finish(kept, dweight)
            }
            OpsKind::UnTracked(prep) => prep.finish(dweight),
        }
    }

    // Nothing asks for its gradient.
    fn convolve_grad_bias(grad: FloatTensor<Self>, shape: ConvShape) -> FloatTensor<Self> {
        Self::from_inner(B::convolve_grad_bias(grad.into_primitive(), shape))
    }
}
