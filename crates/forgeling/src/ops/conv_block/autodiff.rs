//! The block on the tape.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend};

use super::{Backwards, BlockForward, BlockGradients, ConvBlockOps, EPSILON};
use crate::ops::heuristics::Heuristics;

/// What a backward pass reads.
#[derive(Debug, Clone)]
struct Kept<T> {
    x: T,
    weight: T,
    packed: T,
    gamma: T,
    beta: T,
    convolved: T,
    statistics: T,
    variance: T,
    heuristics: Heuristics,
}

impl<T> Kept<T> {
    fn backward<B>(self, grad: T, input_gradient: bool, running: bool) -> BlockGradients<B>
    where
        B: ConvBlockOps<FloatTensorPrimitive = T>,
    {
        B::conv_block_backward(
            self.x,
            self.weight,
            self.packed,
            self.gamma,
            self.beta,
            self.convolved,
            self.statistics,
            grad,
            Backwards {
                input_gradient,
                running,
                heuristics: self.heuristics,
            },
        )
    }
}

/// With the statistics of the batch; parents are x, weight, gamma and beta.
#[derive(Debug)]
struct OfBatch;

impl<B: ConvBlockOps> Backward<B, 4> for OfBatch {
    type State = Kept<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let input_gradient = ops.parents[0].is_some();
        let block = ops.state.backward::<B>(grad, input_gradient, false);
        let gradients = [block.x, block.weight, block.gamma, block.beta];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// With running statistics; parents are x, weight, gamma, beta and bias.
#[derive(Debug)]
struct OfRunning;

impl<B: ConvBlockOps> Backward<B, 5> for OfRunning {
    type State = Kept<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let input_gradient = ops.parents[0].is_some();
        let (gamma, variance) = (ops.state.gamma.clone(), ops.state.variance.clone());
        let block = ops.state.backward::<B>(grad, input_gradient, true);
        let gradients = [block.x, block.weight, block.gamma, block.beta.clone()];
        let [x, weight, of_gamma, beta, bias] = ops.parents;
        for (parent, gradient) in [x, weight, of_gamma, beta].into_iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
        if let Some(node) = bias {
            // The bias is shifted as beta is, and scaled by the norm on its way.
            let deviation = B::float_sqrt(B::float_add_scalar(variance, EPSILON.into()));
            let scale = B::float_div(gamma, deviation);
            grads.register::<B>(node.id, B::float_mul(block.beta, scale));
        }
    }
}

fn untracked<B: ConvBlockOps, C: CheckpointStrategy>(
    output: FloatTensor<Autodiff<B, C>>,
    block: BlockForward<B>,
) -> BlockForward<Autodiff<B, C>> {
    let inner = Autodiff::<B, C>::from_inner;
    BlockForward {
        output,
        packed: inner(block.packed),
        convolved: inner(block.convolved),
        statistics: inner(block.statistics),
        mean: inner(block.mean),
        variance: inner(block.variance),
    }
}

impl<B: ConvBlockOps, C: CheckpointStrategy> ConvBlockOps for Autodiff<B, C> {
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (beta, beta_node) = beta.into_parts();
        let block = B::conv_block(
            x.clone(),
            weight.clone(),
            gamma.clone(),
            beta.clone(),
            heuristics,
        );
        let prepared = OfBatch
            .prepare::<C>([x_node, weight_node, gamma_node, beta_node])
            .compute_bound()
            .stateful();
        let output = match prepared {
            OpsKind::Tracked(prep) => {
                let kept = Kept {
                    x,
                    weight,
                    packed: block.packed.clone(),
                    gamma,
                    beta,
                    convolved: block.convolved.clone(),
                    statistics: block.statistics.clone(),
                    variance: block.variance.clone(),
                    heuristics,
                };
                prep.finish(kept, block.output.clone())
            }
            OpsKind::UnTracked(prep) => prep.finish(block.output.clone()),
        };
        untracked(output, block)
    }

    fn conv_block_running(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        _keep: bool,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (beta, beta_node) = beta.into_parts();
        let (mean, variance) = (mean.into_primitive(), variance.into_primitive());
        let forward = |keep: bool| {
            B::conv_block_running(
                x.clone(),
                weight.clone(),
                bias.clone(),
                gamma.clone(),
                beta.clone(),
                mean.clone(),
                variance.clone(),
                keep,
                heuristics,
            )
        };
        let prepared = OfRunning
            .prepare::<C>([x_node, weight_node, gamma_node, beta_node, bias_node])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prep) => {
                let block = forward(true);
                let kept = Kept {
                    x,
                    weight,
                    packed: block.packed.clone(),
                    gamma,
                    beta,
                    convolved: block.convolved.clone(),
                    statistics: block.statistics.clone(),
                    variance,
                    heuristics,
                };
                untracked(prep.finish(kept, block.output.clone()), block)
            }
            OpsKind::UnTracked(prep) => {
                let block = forward(false);
                untracked(prep.finish(block.output.clone()), block)
            }
        }
    }

    // The tape is first order, as everywhere in burn: the gradients themselves are not recorded.
    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        what: Backwards,
    ) -> BlockGradients<Self> {
        let block = B::conv_block_backward(
            x.into_primitive(),
            weight.into_primitive(),
            packed.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            convolved.into_primitive(),
            statistics.into_primitive(),
            grad.into_primitive(),
            what,
        );
        BlockGradients {
            x: Self::from_inner(block.x),
            weight: Self::from_inner(block.weight),
            gamma: Self::from_inner(block.gamma),
            beta: Self::from_inner(block.beta),
        }
    }
}
