//! The convolution and its two gradients on the tape. They are one family, linear in each of its inputs: with `y` the
//! convolution of `x` and `weight`, each of `y`, the input's gradient and the weight's gradient has gradients that are
//! the other two.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::TensorData;

use super::{Conv2dBackward, Conv2dOps, ConvShape};
use crate::ops::heuristics::Heuristics;
use crate::ops::storage::{Order, Stored};
use crate::ops::tape;

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

impl<B: Conv2dBackward, C: CheckpointStrategy> Conv2dOps for Autodiff<B, C> {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let ([x, weight, bias], parents) = tape::open([x, weight, bias]);
        let y = B::convolve(x.clone(), weight.clone(), bias, shape, heuristics);
        let x_id = parents[0].id();
        tape::record::<B, _, 3>(
            parents,
            y,
            |_| {
                let x = Stored::of_node::<B>(x, x_id, Order::Images);
                (x, weight, shape, heuristics)
            },
            |(x, weight, shape, heuristics), grad, parents| {
                // The input's comes last, when the input itself is no longer there.
                parents.give_with(1, || {
                    B::convolve_grad_weight(x.restore::<B>(), grad.clone(), shape, heuristics)
                });
                parents.give_with(2, || B::convolve_grad_bias(grad.clone(), shape));
                parents.give_with(0, || {
                    B::convolve_grad_input(grad, weight, shape, heuristics)
                });
            },
        )
    }

    fn convolve_grad_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let ([grad, weight], parents) = tape::open([grad, weight]);
        let dx = B::convolve_grad_input(grad.clone(), weight.clone(), shape, heuristics);
        tape::record::<B, _, 2>(
            parents,
            dx,
            // Gradients are kept as they are: they may be too small for 16 bits.
            |_| (grad, weight, shape, heuristics),
            |(grad, weight, shape, heuristics), flow, parents| {
                parents.give_with(1, || {
                    B::convolve_grad_weight(flow.clone(), grad, shape, heuristics)
                });
                parents.give_with(0, || convolve_plainly::<B>(flow, weight, shape, heuristics));
            },
        )
    }

    fn convolve_grad_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let ([x, grad], parents) = tape::open([x, grad]);
        let dweight = B::convolve_grad_weight(x.clone(), grad.clone(), shape, heuristics);
        let x_id = parents[0].id();
        tape::record::<B, _, 2>(
            parents,
            dweight,
            |_| {
                let x = Stored::of_node::<B>(x, x_id, Order::Images);
                (x, grad, shape, heuristics)
            },
            |(x, grad, shape, heuristics), flow, parents| {
                parents.give_with(1, || {
                    convolve_plainly::<B>(x.restore::<B>(), flow.clone(), shape, heuristics)
                });
                parents.give_with(0, || B::convolve_grad_input(grad, flow, shape, heuristics));
            },
        )
    }
}
