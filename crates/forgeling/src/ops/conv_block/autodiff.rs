//! The block on the tape.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use burn::tensor::{DType, Shape};
use forgeling_shaders::epsilon::EPSILON;

use super::{Backwards, BlockForward, BlockGradients, ConvBlockBackward, ConvBlockOps, Formats};
use crate::ops::heuristics::Heuristics;
use crate::ops::storage::{Half, Order, Storage, Stored, WORTH_PACKING};
use crate::ops::tape::{self, Parents, Pull};

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
        B: ConvBlockBackward<FloatTensorPrimitive = T>,
    {
        let what = Backwards {
            input_gradient,
            running,
            heuristics: self.heuristics,
        };
        let (x, convolved, output, formats) = match self.convolved {
            Convolved::Full(convolved) => {
                let nothing = self.statistics.clone();
                (self.x.restore::<B>(), convolved, nothing, None)
            }
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
                (x, bits, output, Some(formats))
            }
        };
        B::conv_block_backward(
            x,
            self.weight,
            self.packed,
            self.gamma,
            self.beta,
            convolved,
            output,
            self.statistics,
            grad,
            formats,
            what,
        )
    }
}

/// With the statistics of the batch; parents are x, weight, gamma and beta.
fn backward<B: ConvBlockBackward>(
    kept: Kept<FloatTensor<B>>,
    grad: FloatTensor<B>,
    parents: &mut Parents<'_, B, 4>,
) {
    let block = kept.backward::<B>(grad, parents.wants(0), false);
    parents.give_all([block.x, block.weight, block.gamma, block.beta]);
}

/// With running statistics; parents are x, weight, gamma, beta and bias.
fn backward_running<B: ConvBlockBackward>(
    kept: Kept<FloatTensor<B>>,
    grad: FloatTensor<B>,
    parents: &mut Parents<'_, B, 5>,
) {
    let (gamma, variance) = (kept.gamma.clone(), kept.variance.clone());
    let block = kept.backward::<B>(grad, parents.wants(0), true);
    parents.give_all([block.x, block.weight, block.gamma, block.beta.clone()]);
    parents.give_with(4, || {
        // The bias is shifted as beta is, and scaled by the norm on its way.
        let deviation = B::float_sqrt(B::float_add_scalar(variance, EPSILON.into()));
        let scale = B::float_div(gamma, deviation);
        B::float_mul(block.beta, scale)
    });
}

/// What goes into a block, without the tape.
struct Block<B: ConvBlockBackward> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    /// Mean without the bias, and variance, if they are given.
    given: Option<[FloatTensor<B>; 2]>,
    heuristics: Heuristics,
}

impl<B: ConvBlockBackward> Block<B> {
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

    /// Puts the block on the tape, whose convolution is packed if there is a `half`.
    fn record<C: CheckpointStrategy, const N: usize>(
        self,
        parents: [NodeGuard; N],
        forward: BlockForward<B>,
        variance: FloatTensor<B>,
        half: Option<Half>,
        pull: Pull<B, Kept<FloatTensor<B>>, N>,
    ) -> BlockForward<Autodiff<B, C>> {
        let x_id = parents[0].id();
        let keep = |output: &FloatTensor<B>| {
            let convolved = forward.convolved.clone();
            let (convolved, stored) = match half {
                None => (Convolved::Full(convolved), None),
                Some(half) => {
                    let output = Stored::of::<B>(output.clone(), Order::Images);
                    let packed = Convolved::Packed {
                        bits: convolved,
                        half,
                        output: output.clone(),
                        shape: self.x.shape().dims(),
                    };
                    (packed, Some(output))
                }
            };
            let kept = Kept {
                x: Stored::of_node::<B>(self.x, x_id, Order::Images),
                weight: self.weight,
                packed: forward.packed.clone(),
                gamma: self.gamma,
                beta: self.beta,
                convolved,
                statistics: forward.statistics.clone(),
                variance,
                heuristics: self.heuristics,
            };
            (kept, stored)
        };
        let inner = Autodiff::<B, C>::from_inner;
        BlockForward {
            output: tape::record_stored(parents, forward.output, keep, pull),
            packed: inner(forward.packed),
            convolved: inner(forward.convolved),
            statistics: inner(forward.statistics),
            mean: inner(forward.mean),
            variance: inner(forward.variance),
        }
    }
}

impl<B: ConvBlockBackward, C: CheckpointStrategy> ConvBlockOps for Autodiff<B, C> {
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let inputs = [x, weight, gamma, beta];
        let tracked = inputs.iter().any(|input| input.is_tracked());
        let ([x, weight, gamma, beta], parents) = tape::open(inputs);
        let block = Block::<B> {
            x,
            weight,
            gamma,
            beta,
            given: None,
            heuristics,
        };
        let half = block.half().filter(|_| tracked);
        let forward = match half {
            Some(half) => block.packed(half),
            None => B::conv_block(
                block.x.clone(),
                block.weight.clone(),
                block.gamma.clone(),
                block.beta.clone(),
                heuristics,
            ),
        };
        let variance = forward.variance.clone();
        block.record(parents, forward, variance, half, backward::<B>)
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
        let inputs = [x, weight, gamma, beta, bias];
        let tracked = inputs.iter().any(|input| input.is_tracked());
        let ([x, weight, gamma, beta, bias], parents) = tape::open(inputs);
        let (mean, variance) = (mean.into_primitive(), variance.into_primitive());
        let mut block = Block::<B> {
            x,
            weight,
            gamma,
            beta,
            given: None,
            heuristics,
        };
        let half = block.half().filter(|_| tracked);
        let forward = if let Some(half) = half {
            // What the bias adds, the mean may as well lack.
            block.given = Some([B::float_sub(mean, bias), variance.clone()]);
            block.packed(half)
        } else {
            B::conv_block_running(
                block.x.clone(),
                block.weight.clone(),
                bias,
                block.gamma.clone(),
                block.beta.clone(),
                mean,
                variance.clone(),
                tracked,
                heuristics,
            )
        };
        block.record(parents, forward, variance, half, backward_running::<B>)
    }
}
