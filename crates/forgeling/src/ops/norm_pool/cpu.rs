//! The operations on the CPU back end.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;

use super::extension::{
    LineGradients, NormPoolBackward, NormPoolOps, PoolGradients, SecondGradients,
};
use crate::ops::cpu::norm_pool as cpu;
use crate::ops::cpu_tensors::{tensor, with_values};

fn sizes(z: &Shape) -> cpu::PoolShape {
    cpu::PoolShape {
        images: z[0],
        channels: z[1],
        height: z[2],
        width: z[3],
    }
}

impl NormPoolOps for Flex {
    fn channel_moments(z: FloatTensor<Self>) -> FloatTensor<Self> {
        let shape = sizes(&z.shape());
        let moments = with_values([&z], |[z]| cpu::channel_moments(z, shape));
        tensor(moments, [2, shape.channels])
    }

    fn affine_relu_pool(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let shape = sizes(&z.shape());
        let y = with_values([&z, &scale, &shift], |[z, scale, shift]| {
            cpu::affine_relu_pool(z, scale, shift, shape)
        });
        tensor(y, shape.pooled())
    }

    fn norm_pool_grad(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> PoolGradients<Self> {
        let shape = sizes(&z.shape());
        let inputs = [&z, &gamma, &beta, &grad];
        let gradients = with_values(inputs, |[z, gamma, beta, grad]| {
            cpu::norm_pool_grad(z, gamma, beta, grad, shape)
        });
        let vectors = gradients.numbers[..2 * shape.channels].to_vec();
        PoolGradients {
            input: tensor(gradients.input, z.shape()),
            vectors: tensor(vectors, [2, shape.channels]),
            numbers: tensor(gradients.numbers, [4, shape.channels]),
        }
    }
}

impl NormPoolBackward for Flex {
    fn channel_moments_grad(
        z: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let shape = sizes(&z.shape());
        let dz = with_values([&z, &moments, &grad], |[z, moments, grad]| {
            cpu::channel_moments_grad(z, moments, grad, shape)
        });
        tensor(dz, z.shape())
    }

    fn affine_relu_pool_grad(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> LineGradients<Self> {
        let shape = sizes(&z.shape());
        let inputs = [&z, &scale, &shift, &grad];
        let line = with_values(inputs, |[z, scale, shift, grad]| {
            cpu::affine_relu_pool_grad(z, scale, shift, grad, shape)
        });
        LineGradients {
            z: tensor(line.z, z.shape()),
            scale: tensor(line.scale, [shape.channels]),
            shift: tensor(line.shift, [shape.channels]),
        }
    }

    fn norm_pool_second(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        of_vectors: bool,
    ) -> SecondGradients<Self> {
        let shape = sizes(&z.shape());
        let inputs = [&z, &gamma, &beta, &grad, &numbers, &flow];
        let second = with_values(inputs, |[z, gamma, beta, grad, numbers, flow]| {
            let given = cpu::Given {
                z,
                gamma,
                beta,
                grad,
                numbers,
                shape,
            };
            if of_vectors {
                given.through_vectors(flow)
            } else {
                given.through_input(flow)
            }
        });
        SecondGradients {
            z: tensor(second.z, z.shape()),
            gamma: tensor(second.gamma, [shape.channels]),
            grad: tensor(second.grad, shape.pooled()),
        }
    }
}
