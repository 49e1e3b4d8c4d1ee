//! The block on the CPU back end.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;

use super::{Backwards, BlockForward, BlockGradients, ConvBlockBackward, ConvBlockOps, Formats};
use crate::ops::cpu::conv_block as cpu;
use crate::ops::cpu::half::Values;
use crate::ops::flex::{tensor, with_values};
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

/// That of `x` is empty unless it was asked for.
fn assemble(gradients: cpu::Gradients, x: Shape, weight: Shape) -> BlockGradients<Flex> {
    let of_input = if gradients.x.is_empty() {
        Shape::new([0])
    } else {
        x
    };
    let channels = [weight[0]];
    BlockGradients {
        x: tensor(gradients.x, of_input),
        weight: tensor(gradients.weight, weight),
        gamma: tensor(gradients.gamma, channels),
        beta: tensor(gradients.beta, channels),
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

impl ConvBlockBackward for Flex {
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
                    x: Values::Full(x),
                    weight,
                    gamma,
                    beta,
                    convolved: Values::Full(convolved),
                    output: None,
                    statistics,
                    running: what.running,
                    grad,
                    shape,
                };
                cpu::backward(&block, what.input_gradient)
            },
        );
        assemble(gradients, x.shape(), weight.shape())
    }

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
        let words = forward.convolved.len();
        let (means, variances) = forward.statistics.split_at(shape.output);
        let (mean, variance) = (means.to_vec(), variances.to_vec());
        BlockForward {
            output: tensor(forward.output, pooled(shape)),
            packed: weight,
            convolved: tensor(forward.convolved, [words]),
            statistics: tensor(forward.statistics, [2 * shape.output]),
            mean: tensor(mean, [shape.output]),
            variance: tensor(variance, [shape.output]),
        }
    }

    fn conv_block_packed_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        output: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        formats: Formats,
        what: Backwards,
    ) -> BlockGradients<Self> {
        let of_input = Shape::new(formats.shape);
        let shape = sizes(&of_input, &weight.shape());
        let code = |half: Option<Half>| half.map(Half::code);
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
                let format = code(Some(formats.convolved));
                let outputs = shape.output_len();
                let block = cpu::Block {
                    x: Values::new(x, shape.input_len(), code(formats.x)),
                    weight,
                    gamma,
                    beta,
                    convolved: Values::new(convolved, shape.convolved_len(), format),
                    output: Some(Values::new(output, outputs, code(formats.output))),
                    statistics,
                    running: what.running,
                    grad,
                    shape,
                };
                cpu::backward(&block, what.input_gradient)
            },
        );
        assemble(gradients, of_input, weight.shape())
    }
}
