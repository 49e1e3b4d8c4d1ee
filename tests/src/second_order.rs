//! Gradients as operations of their own, with the gradients of these: one body for every device, natively and in a
//! browser.

use burn::tensor::{DType, Device as Tensors};
use forgeling::Readback;
use forgeling::ops::{conv2d_grad_input, conv2d_grad_weight, reference};

use super::conv_parity::Convolution;
use super::ops_parity::{Body, Results, named, tensor};

/// Shapes of a convolution's input, weight and output.
///
/// # Panics
/// When the kernel does not fit.
pub fn convolution_shapes(sizes: Convolution) -> [[usize; 4]; 3] {
    let [outputs, rows, columns] = sizes.weight;
    let [images, channels, height, width] = sizes.x;
    let options = sizes.options;
    let out = |axis: usize, size: usize, kernel: usize| {
        (size + 2 * options.padding[axis] - kernel) / options.stride[axis] + 1
    };
    let y = [
        images,
        outputs,
        out(0, height, rows),
        out(1, width, columns),
    ];
    let weight = [outputs, channels / options.groups, rows, columns];
    [sizes.x, weight, y]
}

/// The gradient of a convolution's input, and the gradients of that.
///
/// # Panics
/// When anything fails.
pub async fn of_input(body: Body, sizes: Convolution, dtype: DType, device: &Tensors) -> Results {
    let [x, weight, y] = convolution_shapes(sizes);
    let size = [x[2], x[3]];
    let grad = tensor(y, 1.0, device).require_grad();
    let weight = tensor(weight, 2.0, device).require_grad();
    let (stored, w) = (grad.clone().cast(dtype), weight.clone());
    let dx = match body {
        Body::Own => conv2d_grad_input(stored, w, size, sizes.options).unwrap(),
        Body::Reference => reference::conv2d_grad_input(stored, w, size, sizes.options),
    };
    assert_eq!(dx.dtype(), dtype);
    let dx = dx.cast(DType::F32);
    let direction = tensor(x, 5.0, device);
    let gradients = (dx.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(dx)
        .with(grad.grad(&gradients).unwrap())
        .with(weight.grad(&gradients).unwrap());
    named(&["dx", "grad of grad", "grad of weight"], trip).await
}

/// The gradient of a convolution's weight, and the gradients of that.
///
/// # Panics
/// When anything fails.
pub async fn of_weight(body: Body, sizes: Convolution, dtype: DType, device: &Tensors) -> Results {
    let [x, weight, y] = convolution_shapes(sizes);
    let kernel = [weight[2], weight[3]];
    let x = tensor(x, 1.0, device).require_grad();
    let grad = tensor(y, 2.0, device).require_grad();
    let (stored, g) = (x.clone().cast(dtype), grad.clone().cast(dtype));
    let dweight = match body {
        Body::Own => conv2d_grad_weight(stored, g, kernel, sizes.options).unwrap(),
        Body::Reference => reference::conv2d_grad_weight(stored, g, kernel, sizes.options),
    };
    assert_eq!(dweight.dtype(), DType::F32);
    let direction = tensor(weight, 5.0, device);
    let gradients = (dweight.clone() * direction).sum().backward();
    let trip = Readback::new()
        .with(dweight)
        .with(x.grad(&gradients).unwrap())
        .with(grad.grad(&gradients).unwrap());
    named(&["dweight", "grad of x", "grad of grad"], trip).await
}
