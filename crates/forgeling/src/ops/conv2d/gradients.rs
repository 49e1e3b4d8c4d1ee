//! The gradients of a convolution as operations of their own, which are differentiable again.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::{
    Conv2dOps, Conv2dOptions, ConvShape, check_dtypes, check_shapes, has_own, sizes, y_shape,
};
use crate::error::{Error, Result};
use crate::ops::check::same_dtype;
use crate::ops::heuristics::Heuristics;
use crate::ops::implementation::composite;
use crate::ops::reference;

/// The gradient of [`conv2d`](super::conv2d)'s input, as a tensor that is differentiable again: what a backward pass
/// needs that is itself differentiated, as in MAML (Finn et al., 2017, arXiv 1703.03400).
///
/// `dx[n, i, a, b] = sum_{o, k, l} grad[n, o, h, w] weight[o, i, k, l]` over those taps with `h s - p + k = a` and
/// `w s - p + l = b`, within the groups.
///
/// Shapes: `grad [batch, out, ..]` as the convolution of images of `size` (rows and columns) has them,
/// `weight [out, in / groups, rows, columns]`, result `[batch, in, size..]` of the dtype of `grad`. Differentiable in
/// both: with `u` the gradient of the result, that of `grad` is `conv2d(u, weight)`, and that of `weight` is
/// [`conv2d_grad_weight`]`(u, grad)`. The weight has the dtype of `grad`, or is f32 where that is of half precision.
///
/// # Errors
/// As [`conv2d`](super::conv2d), and when `grad` is not of the shape that the convolution has.
pub fn conv2d_grad_input(
    grad: Tensor<4>,
    weight: Tensor<4>,
    size: [usize; 2],
    options: Conv2dOptions,
) -> Result<Tensor<4>> {
    const OPERATION: &str = "conv2d_grad_input";
    let [batch, ..] = grad.dims();
    let inputs = weight.dims()[1] * options.groups;
    let x = [batch, inputs, size[0], size[1]];
    let shape = check(OPERATION, x, weight.dims(), &grad, options)?;
    check_dtypes(OPERATION, "grad", grad.dtype(), weight.dtype())?;
    if !has_own(&grad, &[Some(weight.dtype())], &shape) {
        return composite(OPERATION, grad.dtype(), || {
            reference::conv2d_grad_input(grad, weight, size, options)
        });
    }
    let heuristics = Heuristics::of(&grad.device());
    let (grad, weight) = (grad.into_dispatch(), weight.into_dispatch());
    let dx = <Dispatch as Conv2dOps>::convolve_grad_input(grad, weight, shape, heuristics);
    Ok(Tensor::from_dispatch(dx))
}

/// The gradient of [`conv2d`](super::conv2d)'s weight, as a tensor that is differentiable again; see
/// [`conv2d_grad_input`].
///
/// `dweight[o, i, k, l] = sum_{n, h, w} x[n, g in/groups + i, h s - p + k, w s - p + l] grad[n, o, h, w]`
///
/// Shapes: `x [batch, in, height, width]`, `grad [batch, out, ..]` as the convolution has them with a kernel of so many
/// rows and columns, result `[out, in / groups, rows, columns]`, in f32 if the inputs are of half precision.
/// Differentiable in both: with `u` the gradient of the result, that of `x` is [`conv2d_grad_input`]`(grad, u)`, and
/// that of `grad` is `conv2d(x, u)`.
///
/// # Errors
/// As [`conv2d`](super::conv2d), and when `grad` is not of the shape or dtype that the convolution has.
pub fn conv2d_grad_weight(
    x: Tensor<4>,
    grad: Tensor<4>,
    kernel: [usize; 2],
    options: Conv2dOptions,
) -> Result<Tensor<4>> {
    const OPERATION: &str = "conv2d_grad_weight";
    let inputs = x.dims()[1].checked_div(options.groups).unwrap_or(0);
    let weight = [grad.dims()[1], inputs, kernel[0], kernel[1]];
    let shape = check(OPERATION, x.dims(), weight, &grad, options)?;
    same_dtype(OPERATION, ["x", "grad"], [x.dtype(), grad.dtype()])?;
    if !has_own(&x, &[], &shape) {
        return composite(OPERATION, x.dtype(), || {
            reference::conv2d_grad_weight(x, grad, kernel, options)
        });
    }
    let heuristics = Heuristics::of(&x.device());
    let (x, grad) = (x.into_dispatch(), grad.into_dispatch());
    let dweight = <Dispatch as Conv2dOps>::convolve_grad_weight(x, grad, shape, heuristics);
    Ok(Tensor::from_dispatch(dweight))
}

fn check(
    operation: &'static str,
    x: [usize; 4],
    weight: [usize; 4],
    grad: &Tensor<4>,
    options: Conv2dOptions,
) -> Result<ConvShape> {
    check_shapes(operation, x, weight, options)?;
    let shape = sizes(x, weight, options);
    let expected = y_shape(&shape);
    if grad.dims() != expected {
        return Err(
            Error::invalid(operation, "grad is not of the convolution's shape")
                .expected(format!("{expected:?}"))
                .got(format!("{:?}", grad.dims())),
        );
    }
    Ok(shape)
}
