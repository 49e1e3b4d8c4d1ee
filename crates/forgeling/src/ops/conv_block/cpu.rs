//! The block on the CPU back end.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;

use super::{Backwards, BlockForward, BlockGradients, ConvBlockBackward, ConvBlockOps, Formats};
use crate::ops::cpu::conv_block as cpu;
use crate::ops::cpu::half::Values;
use crate::ops::cpu_tensors::{tensor, with_values};
use crate::ops::heuristics::Heuristics;
use crate::ops::storage::Half;

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

/// With the statistics' means and variances, as the forward pass found them.
fn assemble(
    forward: cpu::Forward,
    weight: FlexTensor,
    shape: cpu::BlockShape,
) -> BlockForward<Flex> {
    let convolved = [forward.convolved.len()];
    let (means, variances) = forward.statistics.split_at(shape.output);
    let [mean, variance] = [means, variances].map(|row| tensor(row.to_vec(), [shape.output]));
    BlockForward {
        output: tensor(forward.output, pooled(shape)),
        packed: weight,
        convolved: tensor(forward.convolved, convolved),
        statistics: tensor(forward.statistics, [2 * shape.output]),
        mean,
        variance,
    }
}

/// What the bias adds, the mean may as well lack.
fn given(mean: impl Iterator<Item = f32>, variance: &[f32]) -> Vec<f32> {
    mean.chain(variance.iter().copied()).collect()
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
        assemble(forward, weight, shape)
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
            let means = mean.iter().zip(bias).map(|(mean, bias)| mean - bias);
            let statistics = given(means, variance);
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
        BlockForward {
            mean,
            variance,
            ..assemble(forward, weight, shape)
        }
    }
}

impl ConvBlockBackward for Flex {
    fn conv_block_packed(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        half: Half,
        _heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let shape = sizes(&x.shape(), &weight.shape());
        let inputs = [&x, &weight, &gamma, &beta, &mean, &variance];
        let forward = with_values(inputs, |[x, weight, gamma, beta, mean, variance]| {
            let given = (!mean.is_empty()).then(|| given(mean.iter().copied(), variance));
            cpu::forward_packed(x, weight, gamma, beta, given, half.code(), shape)
        });
        assemble(forward, weight, shape)
    }

    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        output: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        formats: Option<Formats>,
        what: Backwards,
    ) -> BlockGradients<Self> {
        let of_input = formats.map_or_else(|| x.shape(), |formats| Shape::new(formats.shape));
        let shape = sizes(&of_input, &weight.shape());
        let inputs = [
            &x,
            &weight,
            &gamma,
            &beta,
            &convolved,
            &output,
            &statistics,
            &grad,
        ];
        let gradients = with_values(
            inputs,
            |[x, weight, gamma, beta, convolved, output, statistics, grad]| {
                let read = |values, length, half: Option<Half>| {
                    Values::new(values, length, half.map(Half::code))
                };
                let block = cpu::Block {
                    x: read(x, shape.input_len(), formats.and_then(|all| all.x)),
                    weight,
                    gamma,
                    beta,
                    convolved: read(
                        convolved,
                        shape.convolved_len(),
                        formats.map(|all| all.convolved),
                    ),
                    output: formats.map(|all| read(output, shape.output_len(), all.output)),
                    statistics,
                    running: what.running,
                    grad,
                    shape,
                };
                cpu::backward(&block, what.input_gradient)
            },
        );
        let channels = [shape.output];
        // The input's is empty unless it was asked for.
        let of_input = if gradients.x.is_empty() {
            Shape::new([0])
        } else {
            of_input
        };
        BlockGradients {
            x: tensor(gradients.x, of_input),
            weight: tensor(gradients.weight, weight.shape()),
            gamma: tensor(gradients.gamma, channels),
            beta: tensor(gradients.beta, channels),
        }
    }
}
