//! The convolution on the CPU back end.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::{Conv2dBackward, Conv2dOps, ConvShape, weight_shape, x_shape, y_shape};
use crate::ops::cpu::conv2d as cpu;
use crate::ops::cpu_tensors::{tensor, with_values};
use crate::ops::heuristics::Heuristics;

impl Conv2dOps for Flex {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: ConvShape,
        _heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let y = with_values([&x, &weight, &bias], |[x, weight, bias]| {
            if shape.is_depthwise() {
                cpu::depthwise::forward(x, weight, bias, &shape)
            } else {
                cpu::forward(x, weight, bias, &shape)
            }
        });
        tensor(y, y_shape(&shape))
    }

    fn convolve_grad_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvShape,
        _heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let dx = with_values([&grad, &weight], |[grad, weight]| {
            if shape.is_depthwise() {
                cpu::depthwise::input_gradient(grad, weight, &shape)
            } else {
                cpu::input_gradient(grad, weight, &shape)
            }
        });
        tensor(dx, x_shape(&shape))
    }

    fn convolve_grad_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: ConvShape,
        _heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let dweight = with_values([&x, &grad], |[x, grad]| {
            if shape.is_depthwise() {
                cpu::depthwise::weight_gradient(x, grad, &shape)
            } else {
                cpu::weight_gradient(x, grad, &shape)
            }
        });
        tensor(dweight, weight_shape(&shape))
    }
}

impl Conv2dBackward for Flex {
    fn convolve_grad_bias(grad: FloatTensor<Self>, shape: ConvShape) -> FloatTensor<Self> {
        let dbias = with_values([&grad], |[grad]| cpu::bias_gradient(grad, &shape));
        tensor(dbias, [shape.outputs])
    }
}
