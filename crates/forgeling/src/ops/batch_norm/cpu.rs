//! Batch norm on the CPU back end.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;

use super::{AfterNorm, BatchNormBackward, BatchNormOps, NormForward, NormGradients, NormOptions};
use crate::ops::cpu::batch_norm as cpu;
use crate::ops::cpu_tensors::{tensor, with_values};

fn sizes(x: &Shape) -> cpu::NormShape {
    cpu::NormShape {
        images: x[0],
        channels: x[1],
        pixels: x[2] * x[3],
    }
}

/// What an activation leaves.
pub(in crate::ops) const fn clip(after: AfterNorm) -> cpu::Clip {
    match after {
        AfterNorm::Nothing => cpu::Clip::NOTHING,
        AfterNorm::Relu => cpu::Clip::RELU,
        AfterNorm::Relu6 => cpu::Clip::RELU6,
    }
}

impl BatchNormOps for Flex {
    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: NormOptions,
    ) -> NormForward<Self> {
        let shape = sizes(&x.shape());
        let inputs = [&x, &gamma, &beta, &residual];
        let forward = with_values(inputs, |[x, gamma, beta, residual]| {
            let epsilon = options.epsilon;
            cpu::forward(
                x,
                gamma,
                beta,
                residual,
                epsilon,
                clip(options.after),
                shape,
            )
        });
        let (means, variances) = forward.statistics.split_at(shape.channels);
        let (mean, variance) = (means.to_vec(), variances.to_vec());
        NormForward {
            output: tensor(forward.output, x.shape()),
            statistics: tensor(forward.statistics, [2 * shape.channels]),
            mean: tensor(mean, [shape.channels]),
            variance: tensor(variance, [shape.channels]),
        }
    }
}

impl BatchNormBackward for Flex {
    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> NormGradients<Self> {
        let shape = sizes(&x.shape());
        let inputs = [&x, &gamma, &output, &statistics, &grad];
        let gradients = with_values(inputs, |[x, gamma, output, statistics, grad]| {
            cpu::backward(&cpu::Norm {
                x,
                gamma,
                output,
                statistics,
                grad,
                epsilon: options.epsilon,
                clip: clip(options.after),
                shape,
            })
        });
        let residual = if options.cuts() {
            tensor(gradients.flow, x.shape())
        } else {
            grad
        };
        NormGradients {
            x: tensor(gradients.x, x.shape()),
            residual,
            gamma: tensor(gradients.gamma, [shape.channels]),
            beta: tensor(gradients.beta, [shape.channels]),
        }
    }
}
