//! The block on the CPU back end.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;

use super::{Backwards, BlockForward, BlockGradients, ConvBlockOps};
use crate::ops::cpu::conv_block as cpu;
use crate::ops::flex::{tensor, with_values};
use crate::ops::heuristics::Heuristics;

fn sizes(x: &Shape, weight: &Shape) -> cpu::BlockShape {
    cpu::BlockShape {
        images: x[0],
        input: x[1],
        output: weight[0],
        height: x[2],
        width: x[3],
    }
}

fn pooled(shape: cpu::BlockShape) -> [usize; 4] {
    let [height, width] = shape.pooled();
    [shape.images, shape.output, height, width]
}

impl ConvBlockOps for Flex {
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        _heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let shape = sizes(&x.shape(), &weight.shape());
        let forward = with_values([&x, &weight, &gamma, &beta], |[x, weight, gamma, beta]| {
            cpu::forward(x, weight, gamma, beta, None, shape)
        });
        let convolved = [shape.images, shape.output, shape.height, shape.width];
        let (means, variances) = forward.statistics.split_at(shape.output);
        let (mean, variance) = (means.to_vec(), variances.to_vec());
        BlockForward {
            output: tensor(forward.output, pooled(shape)),
            packed: weight,
            convolved: tensor(forward.convolved, convolved),
            statistics: tensor(forward.statistics, [2 * shape.output]),
            mean: tensor(mean, [shape.output]),
            variance: tensor(variance, [shape.output]),
        }
    }

    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        what: Backwards,
    ) -> BlockGradients<Self> {
        let shape = sizes(&x.shape(), &weight.shape());
        let inputs = [&x, &weight, &gamma, &beta, &convolved, &statistics, &grad];
        let gradients = with_values(
            inputs,
            |[x, weight, gamma, beta, convolved, statistics, grad]| {
                let block = cpu::Block {
                    x,
                    weight,
                    gamma,
                    beta,
                    convolved,
                    statistics,
                    running: what.running,
                    grad,
                    shape,
                };
                cpu::backward(&block, what.input_gradient)
            },
        );
        let of_input = if what.input_gradient {
            x.shape()
        } else {
            Shape::new([0])
        };
        BlockGradients {
            x: tensor(gradients.x, of_input),
            weight: tensor(gradients.weight, weight.shape()),
            gamma: tensor(gradients.gamma, gamma.shape()),
            beta: tensor(gradients.beta, beta.shape()),
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
        keep: bool,
        _heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let shape = sizes(&x.shape(), &weight.shape());
        let inputs = [&x, &weight, &bias, &gamma, &beta, &mean, &variance];
        let forward = with_values(inputs, |[x, weight, bias, gamma, beta, mean, variance]| {
            // What the bias adds, the mean may as well lack.
            let means = mean.iter().zip(bias).map(|(mean, bias)| mean - bias);
            let statistics: Vec<f32> = means.chain(variance.iter().copied()).collect();
            if keep {
                cpu::forward(x, weight, gamma, beta, Some(statistics), shape)
            } else {
                let terms = cpu::affine(gamma, beta, &statistics);
                cpu::Forward {
                    output: cpu::forward_with(x, weight, &terms, shape),
                    convolved: Vec::new(),
                    statistics,
                }
            }
        });
        let convolved = [forward.convolved.len()];
        BlockForward {
            output: tensor(forward.output, pooled(shape)),
            packed: weight,
            convolved: tensor(forward.convolved, convolved),
            statistics: tensor(forward.statistics, [2 * shape.output]),
            mean,
            variance,
        }
    }
}
