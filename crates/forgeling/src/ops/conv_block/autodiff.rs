//! The block on the tape.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use burn::tensor::{DType, Shape};

use super::{Backwards, BlockForward, BlockGradients, ConvBlockOps, EPSILON, Formats};
use crate::ops::heuristics::Heuristics;
use crate::ops::storage::{Half, Order, Storage, Stored, WORTH_PACKING};

/// What a backward pass reads.
#[derive(Debug, Clone)]
struct Kept<T> {
    x: Stored<T>,
    weight: T,
    packed: T,
    gamma: T,
    beta: T,
    convolved: Convolved<T>,
    statistics: T,
    variance: T,
    heuristics: Heuristics,
}

/// The convolution as it is, or packed; then with the output.
#[derive(Debug, Clone)]
enum Convolved<T> {
    Full(T),
    Packed {
        bits: T,
        half: Half,
        output: Stored<T>,
        shape: [usize; 4],
    },
}

impl<T: TensorMetadata + 'static> Kept<T> {
    fn backward<B>(self, grad: T, input_gradient: bool, running: bool) -> BlockGradients<B>
    where
        B: ConvBlockOps<FloatTensorPrimitive = T>,
    {
        let what = Backwards {
            input_gradient,
            running,
            heuristics: self.heuristics,
        };
        match self.convolved {
            Convolved::Full(convolved) => B::conv_block_backward(
                self.x.restore::<B>(),
                self.weight,
                self.packed,
                self.gamma,
                self.beta,
                convolved,
                self.statistics,
                grad,
                what,
            ),
            Convolved::Packed {
                bits,
                half,
                output,
                shape,
            } => {
                let ((x, of_x), (output, of_output)) = (self.x.into_bits(), output.into_bits());
                let formats = Formats {
                    shape,
                    convolved: half,
                    x: of_x,
                    output: of_output,
                };
                B::conv_block_packed_backward(
                    x,
                    self.weight,
                    self.packed,
                    self.gamma,
                    self.beta,
                    bits,
                    output,
                    self.statistics,
                    grad,
                    formats,
                    what,
                )
            }
        }
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

fn untracked_gradients<B: ConvBlockOps, C: CheckpointStrategy>(
    block: BlockGradients<B>,
) -> BlockGradients<Autodiff<B, C>> {
    let inner = Autodiff::<B, C>::from_inner;
    BlockGradients {
        x: inner(block.x),
        weight: inner(block.weight),
        gamma: inner(block.gamma),
        beta: inner(block.beta),
    }
}

/// What goes into a block, without the tape.
struct Block<B: ConvBlockOps> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    /// Mean without the bias, and variance, if they are given.
    given: Option<[FloatTensor<B>; 2]>,
    heuristics: Heuristics,
}

impl<B: ConvBlockOps> Block<B> {
    /// In which format the convolution is to be kept.
    fn half(&self) -> Option<Half> {
        let (x, weight) = (self.x.shape(), self.weight.shape());
        let worth = x[0] * weight[0] * x[2] * x[3] >= WORTH_PACKING;
        let single = self.x.dtype() == DType::F32;
        Storage::current().half().filter(|_| single && worth)
    }

    fn packed(&self, half: Half) -> BlockForward<B> {
        let [mean, variance] = self.given.clone().unwrap_or_else(|| {
            let none = || {
                let device = self.x.device();
                B::float_zeros(Shape::new([0]), &device, DType::F32.into())
            };
            [none(), none()]
        });
        B::conv_block_packed(
            self.x.clone(),
            self.weight.clone(),
            self.gamma.clone(),
            self.beta.clone(),
            mean,
            variance,
            half,
            self.heuristics,
        )
    }

    /// What a backward pass reads of a block whose convolution is packed if there is a `half`.
    fn keep(
        self,
        forward: &BlockForward<B>,
        variance: FloatTensor<B>,
        x_id: NodeId,
        half: Option<Half>,
    ) -> Kept<FloatTensor<B>> {
        let convolved = forward.convolved.clone();
        let convolved = match half {
            None => Convolved::Full(convolved),
            Some(half) => Convolved::Packed {
                bits: convolved,
                half,
                output: Stored::of::<B>(forward.output.clone(), Order::Images),
                shape: self.x.shape().dims(),
            },
        };
        Kept {
            x: Stored::of_node::<B>(self.x, x_id, Order::Images),
            weight: self.weight,
            packed: forward.packed.clone(),
            gamma: self.gamma,
            beta: self.beta,
            convolved,
            statistics: forward.statistics.clone(),
            variance,
            heuristics: self.heuristics,
        }
    }
}

/// The output as the next operations may store it.
fn output_of<T: Clone>(kept: &Kept<T>) -> Option<Stored<T>> {
    match &kept.convolved {
        Convolved::Packed { output, .. } => Some(output.clone()),
        Convolved::Full(_) => None,
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
        let x_id = x_node.id();
        let block = Block::<B> {
            x,
            weight,
            gamma,
            beta,
            given: None,
            heuristics,
        };
        let full = |block: &Block<B>| {
            B::conv_block(
                block.x.clone(),
                block.weight.clone(),
                block.gamma.clone(),
                block.beta.clone(),
                heuristics,
            )
        };
        let prepared = OfBatch
            .prepare::<C>([x_node, weight_node, gamma_node, beta_node])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(prep) => {
                let half = block.half();
                let forward = half.map_or_else(|| full(&block), |half| block.packed(half));
                let kept = block.keep(&forward, forward.variance.clone(), x_id, half);
                let shared = output_of(&kept);
                let output = prep.finish(kept, forward.output.clone());
                if let Some(shared) = shared {
                    shared.share(output.id());
                }
                untracked(output, forward)
            }
            OpsKind::UnTracked(prep) => {
                let forward = full(&block);
                untracked(prep.finish(forward.output.clone()), forward)
            }
        }
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
        let x_id = x_node.id();
        let mut block = Block::<B> {
            x,
            weight,
            gamma,
            beta,
            given: None,
            heuristics,
        };
        let full = |block: &Block<B>, bias: FloatTensor<B>, mean: FloatTensor<B>, keep: bool| {
            B::conv_block_running(
                block.x.clone(),
                block.weight.clone(),
                bias,
                block.gamma.clone(),
                block.beta.clone(),
                mean,
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
                let half = block.half();
                let forward = if let Some(half) = half {
                    // What the bias adds, the mean may as well lack.
                    block.given = Some([B::float_sub(mean, bias), variance.clone()]);
                    block.packed(half)
                } else {
                    full(&block, bias, mean, true)
                };
                let kept = block.keep(&forward, variance, x_id, half);
                let shared = output_of(&kept);
                let output = prep.finish(kept, forward.output.clone());
                if let Some(shared) = shared {
                    shared.share(output.id());
                }
                untracked(output, forward)
            }
            OpsKind::UnTracked(prep) => {
                let forward = full(&block, bias, mean, false);
                untracked(prep.finish(forward.output.clone()), forward)
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
        untracked_gradients(B::conv_block_backward(
            x.into_primitive(),
            weight.into_primitive(),
            packed.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            convolved.into_primitive(),
            statistics.into_primitive(),
            grad.into_primitive(),
            what,
        ))
    }

    fn conv_block_packed(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        half: Half,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let block = B::conv_block_packed(
            x.into_primitive(),
            weight.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            mean.into_primitive(),
            variance.into_primitive(),
            half,
            heuristics,
        );
        untracked(Self::from_inner(block.output.clone()), block)
    }

    fn conv_block_packed_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        output: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        formats: Formats,
        what: Backwards,
    ) -> BlockGradients<Self> {
        untracked_gradients(B::conv_block_packed_backward(
            x.into_primitive(),
            weight.into_primitive(),
            packed.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
            convolved.into_primitive(),
            output.into_primitive(),
            statistics.into_primitive(),
            grad.into_primitive(),
            formats,
            what,
        ))
    }
}
