//! General convolution.

mod autodiff;
mod cpu;
mod gpu;
mod gradients;
mod normalized;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor, TensorData};

use super::check::{fits, is_half, not_empty, same_dtype};
use super::heuristics::Heuristics;
use super::implementation::composite;
use super::launch::has_kernels;
use super::plan::{ConvSizes, admit_op};
use super::reference;
use super::storage::StorageOps;
use crate::error::{Error, Result};

pub(super) use super::cpu::conv2d::ConvShape;
pub(super) use gpu::weight_parts;
pub use gradients::{conv2d_grad_input, conv2d_grad_weight};
pub use normalized::{FixedNorm, conv2d_norm_running};

const OPERATION: &str = "conv2d";

/// How a convolution moves over the image. Dilation is not in scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Rows and columns from one place of the kernel to the next. Default 1.
    pub stride: [usize; 2],
    /// Rows of zeros above and below, columns of zeros left and right. Default 0.
    pub padding: [usize; 2],
    /// Groups of channels, each convolved by itself. As many as there are channels make a depthwise convolution;
    /// as many as there are tasks let the parameters of all tasks work in one launch. Default 1.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Self {
            stride: [1, 1],
            padding: [0, 0],
            groups: 1,
        }
    }
}

/// Convolution, that is cross-correlation as everywhere in deep learning:
///
/// `y[n, o, h, w] = bias[o] + sum_{i, k, l} x[n, g in/groups + i, h s - p + k, w s - p + l] weight[o, i, k, l]`
///
/// with `g` the group of channel `o`, and zero outside the image. LeCun et al., *Gradient-Based Learning Applied to
/// Document Recognition*, 1998; groups: Krizhevsky et al., 2012.
///
/// Shapes: `x [batch, in, height, width]`, `weight [out, in / groups, rows, columns]`, `bias [out]`, result
/// `[batch, out, (height + 2 padding - rows) / stride + 1, ..]`, rounded down. Differentiable in all three. The
/// parameters have the dtype of `x`, or are f32 where `x` is of half precision: sums are then taken in f32, and
/// the result has the dtype of `x`. NaN and infinity reach every value whose window holds them.
///
/// # Errors
/// When shapes do not fit each other or the groups, when the kernel does not fit into the padded image, when a size or
/// a stride is zero, or when dtypes differ.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: Conv2dOptions,
) -> Result<Tensor<4>> {
    check(&x, &weight, bias.as_ref(), options)?;
    let shape = sizes(x.dims(), weight.dims(), options);
    let parameters = [Some(weight.dtype()), bias.as_ref().map(Tensor::dtype)];
    if !has_own(&x, &parameters, &shape) {
        return composite(OPERATION, x.dtype(), || {
            reference::conv2d(x, weight, bias, options)
        });
    }
    admit(OPERATION, &x, &shape)?;
    let heuristics = Heuristics::of(&x.device());
    // No bias is one of no elements: the back ends' methods take no optional tensors.
    let bias = bias.unwrap_or_else(|| {
        let none = TensorData::new(Vec::<f32>::new(), [0]);
        Tensor::from_data(none, &x.device())
    });
    let y = <Dispatch as Conv2dOps>::convolve(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        shape,
        heuristics,
    );
    Ok(Tensor::from_dispatch(y))
}

fn admit(operation: &'static str, x: &Tensor<4>, shape: &ConvShape) -> Result<()> {
    admit_op(operation, &x.device(), |sim| {
        let sizes = ConvSizes {
            outputs: shape.outputs,
            kernel: shape.kernel,
            stride: shape.stride,
            padding: shape.padding,
            groups: shape.groups,
        };
        sim.conv2d(sim.given(x), sizes).map(drop)
    })
}

pub(super) fn sizes(x: [usize; 4], weight: [usize; 4], options: Conv2dOptions) -> ConvShape {
    ConvShape {
        images: x[0],
        groups: options.groups,
        inputs: x[1],
        outputs: weight[0],
        size: [x[2], x[3]],
        kernel: [weight[2], weight[3]],
        stride: options.stride,
        padding: options.padding,
    }
}

const fn weight_shape(shape: &ConvShape) -> [usize; 4] {
    let [rows, columns] = shape.kernel;
    [shape.outputs, shape.inputs / shape.groups, rows, columns]
}

const fn x_shape(shape: &ConvShape) -> [usize; 4] {
    let [height, width] = shape.size;
    [shape.images, shape.inputs, height, width]
}

fn y_shape(shape: &ConvShape) -> [usize; 4] {
    let [height, width] = shape.out();
    [shape.images, shape.outputs, height, width]
}

/// Whether an implementation of ours computes with activations on the device and of the dtype of `image`, and with parameters of
/// these dtypes.
fn has_own(image: &Tensor<4>, parameters: &[Option<DType>], shape: &ConvShape) -> bool {
    let [height, width] = shape.out();
    let [inputs, outputs] = shape.group().map(|channels| channels.next_multiple_of(4));
    let x = shape.images * shape.inputs * shape.size[0] * shape.size[1];
    let y = shape.images * height * width * shape.groups * outputs;
    let packed = shape.groups * shape.taps() * inputs * outputs;
    let largest = y.max(packed).max(x);
    // Kernels count in 32 bits, and rows and columns with their padding too.
    let countable = i32::try_from(largest).is_ok()
        && (0..2).all(|axis| shape.size[axis] + 2 * shape.padding[axis] < 1 << 24);
    let plain = parameters
        .iter()
        .flatten()
        .all(|&dtype| dtype == DType::F32);
    countable && plain && has_kernels(&image.device(), image.dtype())
}

fn check(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: Conv2dOptions,
) -> Result<()> {
    check_shapes(OPERATION, x.dims(), weight.dims(), options)?;
    check_dtypes(OPERATION, "x", x.dtype(), weight.dtype())?;
    if let Some(bias) = bias {
        let (shape, dtype) = ([weight.dims()[0]], weight.dtype());
        fits(OPERATION, "bias does not fit", bias, shape, dtype)?;
    }
    Ok(())
}

/// Parameters beside activations of half precision may be f32.
fn check_dtypes(operation: &'static str, name: &str, x: DType, weight: DType) -> Result<()> {
    if is_half(x) && weight == DType::F32 {
        return Ok(());
    }
    same_dtype(operation, [name, "weight"], [x, weight])
}

fn check_shapes(
    operation: &'static str,
    x: [usize; 4],
    weight: [usize; 4],
    options: Conv2dOptions,
) -> Result<()> {
    let [_, channels, height, width] = x;
    let [output, input, rows, columns] = weight;
    let Conv2dOptions {
        stride,
        padding,
        groups,
    } = options;
    if stride.contains(&0) || groups == 0 {
        return Err(Error::invalid(operation, "options of zero")
            .expected("strides and groups of at least 1")
            .got(format!("{options:?}")));
    }
    let got = format_args!("x {x:?}, weight {weight:?}");
    not_empty(operation, &[x, weight].concat(), got)?;
    if input * groups != channels || !output.is_multiple_of(groups) {
        let expected = if channels.is_multiple_of(groups) {
            format!("weight [a multiple of {groups}, {}, ..]", channels / groups)
        } else {
            format!("x with a multiple of {groups} channels")
        };
        return Err(
            Error::invalid(operation, "the weights do not fit the input and its groups")
                .expected(expected)
                .got(format!("x {x:?}, weight {weight:?}")),
        );
    }
    if rows > height + 2 * padding[0] || columns > width + 2 * padding[1] {
        return Err(
            Error::invalid(operation, "the kernel does not fit into the padded image")
                .expected(format!(
                    "at most [{}, {}]",
                    height + 2 * padding[0],
                    width + 2 * padding[1]
                ))
                .got(format!("[{rows}, {columns}]")),
        );
    }
    Ok(())
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait Conv2dOps: Backend {
    /// `bias` is of no elements if there is none.
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self>;

    fn convolve_grad_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self>;

    fn convolve_grad_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self>;
}

pub(crate) trait Conv2dBackward: Conv2dOps + StorageOps {
    fn convolve_grad_bias(grad: FloatTensor<Self>, shape: ConvShape) -> FloatTensor<Self>;
}
