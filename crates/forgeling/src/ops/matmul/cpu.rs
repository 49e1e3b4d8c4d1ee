//! The products on the CPU back end.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};

use super::Activation;
use super::extension::{
    End, MatmulBackward, MatmulForward, MatmulOps, RightGradients, left_shape, product_shape,
    right_shape, with_columns,
};
use crate::ops::cpu::activation::activation_grad;
use crate::ops::cpu::gemm::{self, Matrices, activated, column_sums, product, relu_gradient};
use crate::ops::cpu_tensors::{computed, tensor, with_values};
use crate::ops::heuristics::Heuristics;

impl MatmulOps for Flex {
    fn matmul(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        end: End,
        _heuristics: Heuristics,
    ) -> MatmulForward<Self> {
        let sizes = product_shape(&a.shape(), &b.shape());
        let mut out = vec![0.0; sizes.batch * sizes.rows * sizes.columns];
        with_values([&a, &b, &bias], |[a, b, bias]| {
            let end = gemm::End {
                bias: end.bias.then_some(bias),
                relu: end.activation == Activation::Relu,
            };
            let (a, b) = (
                Matrices::new(a, sizes.inner),
                Matrices::new(b, sizes.columns),
            );
            product(sizes, a, b, end, &mut out);
        });
        let shape = with_columns(&a.shape(), sizes.columns);
        let (output, kept) = if end.activation == Activation::Gelu {
            let output = activated(&out, end.activation.code());
            (tensor(output, shape.clone()), tensor(out, shape))
        } else {
            let output = tensor(out, shape);
            (output.clone(), output)
        };
        MatmulForward {
            output,
            right: b,
            kept,
        }
    }
}

impl MatmulBackward for Flex {
    fn activation_grad(
        kept: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let values = with_values([&kept, &grad], |[kept, grad]| {
            if activation == Activation::Relu {
                return relu_gradient(kept, grad);
            }
            let mut out = vec![0.0; grad.len()];
            activation_grad(kept, grad, &mut out, activation.code());
            out
        });
        tensor(values, grad.shape())
    }

    fn matmul_grad_left(
        grad: FloatTensor<Self>,
        b: FloatTensor<Self>,
        _heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let shape = left_shape(&grad.shape(), &b.shape());
        let sizes = product_shape(&shape, &b.shape());
        computed([&grad, &b], shape, |[grad, b], out| {
            let grad = Matrices::new(grad, sizes.columns);
            let b = Matrices::new(b, sizes.columns).transposed();
            product(sizes.of_left(), grad, b, gemm::End::default(), out);
        })
    }

    fn matmul_grad_right(
        a: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        bias: bool,
        _heuristics: Heuristics,
    ) -> RightGradients<Self> {
        let shape = right_shape(&a.shape(), &grad.shape());
        let sizes = product_shape(&a.shape(), &shape);
        let mut out = vec![0.0; shape.num_elements()];
        let sums = with_values([&a, &grad], |[a, grad]| {
            let sums = if bias {
                column_sums(grad, sizes.columns)
            } else {
                vec![0.0; sizes.columns]
            };
            let a = Matrices::new(a, sizes.inner).transposed();
            let grad = Matrices::new(grad, sizes.columns);
            product(sizes.of_right(), a, grad, gemm::End::default(), &mut out);
            sums
        });
        RightGradients {
            right: tensor(out, shape),
            bias: tensor(sums, [sizes.columns]),
        }
    }
}
