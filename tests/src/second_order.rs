//! Gradients as operations of their own, with the gradients of these: one test for every device, natively and in a
//! browser.

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::ops::{
    Statistics, affine_relu_pool, channel_moments, conv2d_grad_input, conv2d_grad_weight,
    norm_pool, norm_pool_grad, reference,
};

use super::conv_parity::Convolution;
use super::ops_parity::{Body, Results, named, tensor};
use super::values::waves;

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

/// Images for [`moments`], [`pooled`] and [`second`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Waves.
    Waves,
    /// Waves in steps, so that windows have equal values, with a blank part in every image.
    Ties,
    /// As [`Images::Ties`], with channel 0 the same value everywhere.
    Constant,
}

/// Sizes of images and what is on them: single windows, odd and distinct sizes, rows of windows shorter than a block and
/// no multiple of one, and those of Conv4.
pub const IMAGES: [([usize; 4], Images); 9] = [
    ([1, 1, 2, 2], Images::Waves),
    ([3, 6, 7, 9], Images::Waves),
    ([3, 6, 7, 9], Images::Ties),
    ([3, 6, 5, 4], Images::Ties),
    ([3, 6, 7, 9], Images::Constant),
    ([2, 5, 17, 22], Images::Waves),
    ([1, 3, 2, 33], Images::Ties),
    ([5, 4, 28, 28], Images::Ties),
    ([4, 3, 14, 14], Images::Waves),
];

/// Values of images.
pub fn images((shape, kind): ([usize; 4], Images)) -> Vec<f32> {
    let [_, channels, height, width] = shape;
    let mut values = waves(shape.iter().product(), 1.0);
    if kind == Images::Waves {
        return values;
    }
    for (index, value) in values.iter_mut().enumerate() {
        let (row, column) = (index / width % height, index % width);
        let channel = index / (width * height) % channels;
        *value = (*value * 4.0).round() / 4.0;
        if row >= height / 2 && column < width / 2 {
            *value = 0.0;
        }
        if kind == Images::Constant && channel == 0 {
            *value = 0.5;
        }
    }
    values
}

fn drawn(sizes: ([usize; 4], Images), device: &Tensors) -> Tensor<4> {
    let data = TensorData::new(images(sizes), sizes.0);
    Tensor::from_data(data, device).require_grad()
}

fn halved([images, channels, height, width]: [usize; 4]) -> [usize; 4] {
    [images, channels, height / 2, width / 2]
}

/// Moments and their gradient.
///
/// # Panics
/// When anything fails.
pub async fn moments(
    body: Body,
    sizes: ([usize; 4], Images),
    dtype: DType,
    device: &Tensors,
) -> Results {
    let channels = sizes.0[1];
    let z = drawn(sizes, device);
    let stored = z.clone().cast(dtype);
    let Statistics { mean, variance } = match body {
        Body::Own => channel_moments(stored).unwrap(),
        Body::Reference => reference::channel_moments(stored),
    };
    let [along_mean, along_variance] =
        [5.0, 6.0].map(|phase| tensor::<1>([channels], phase, device));
    let objective = mean.clone() * along_mean + variance.clone() * along_variance;
    let gradients = objective.sum().backward();
    let trip = Readback::new()
        .with(mean)
        .with(variance)
        .with(z.grad(&gradients).unwrap());
    named(&["mean", "variance", "grad z"], trip).await
}

/// A line with ReLU and pooling and its gradients; and the same behind the statistics of the batch.
///
/// # Panics
/// When anything fails.
pub async fn pooled(
    body: Body,
    sizes: ([usize; 4], Images),
    dtype: DType,
    device: &Tensors,
    norm: bool,
) -> Results {
    let channels = sizes.0[1];
    let z = drawn(sizes, device);
    let [scale, shift] =
        [3.0, 4.0].map(|phase| tensor::<1>([channels], phase, device).require_grad());
    let (stored, first, second) = (z.clone().cast(dtype), scale.clone(), shift.clone());
    let y = match (body, norm) {
        (Body::Own, false) => affine_relu_pool(stored, first, second).unwrap(),
        (Body::Own, true) => norm_pool(stored, first, second).unwrap().0,
        (Body::Reference, false) => reference::affine_relu_pool(stored, first, second),
        (Body::Reference, true) => {
            let Statistics { mean, variance } = reference::channel_moments(stored.clone());
            let scale = first / (variance + 1e-5).sqrt();
            let shift = second - mean * scale.clone();
            reference::affine_relu_pool(stored, scale, shift)
        }
    };
    assert_eq!(y.dtype(), dtype);
    let y = y.cast(DType::F32);
    let gradients = (y.clone() * tensor(halved(sizes.0), 5.0, device))
        .sum()
        .backward();
    let trip = Readback::new()
        .with(y)
        .with(z.grad(&gradients).unwrap())
        .with(scale.grad(&gradients).unwrap())
        .with(shift.grad(&gradients).unwrap());
    named(&["y", "grad z", "grad scale", "grad shift"], trip).await
}

/// The gradients of batch norm with pooling, and theirs: first along that of the input alone, then along those of gamma
/// and beta.
///
/// # Panics
/// When anything fails.
pub async fn second(
    body: Body,
    sizes: ([usize; 4], Images),
    dtype: DType,
    device: &Tensors,
) -> Results {
    let channels = sizes.0[1];
    let z = drawn(sizes, device);
    let [gamma, beta] =
        [3.0, 4.0].map(|phase| tensor::<1>([channels], phase, device).require_grad());
    let grad = tensor(halved(sizes.0), 7.0, device).require_grad();
    let run = || {
        let (stored, flow) = (z.clone().cast(dtype), grad.clone().cast(dtype));
        match body {
            Body::Own => norm_pool_grad(stored, gamma.clone(), beta.clone(), flow).unwrap(),
            Body::Reference => reference::norm_pool_grad(stored, gamma.clone(), beta.clone(), flow),
        }
    };
    let first = run();
    assert_eq!(first.input.dtype(), dtype);
    let input = first.input.cast(DType::F32);
    let through_input = (input.clone() * tensor(sizes.0, 5.0, device))
        .sum()
        .backward();
    let [along_gamma, along_beta] = [8.0, 9.0].map(|phase| tensor::<1>([channels], phase, device));
    let again = run();
    let vectors = again.gamma * along_gamma + again.beta * along_beta;
    let through_vectors = vectors.sum().backward();
    assert!(beta.grad(&through_input).is_none() && beta.grad(&through_vectors).is_none());
    let trip = Readback::new()
        .with(input)
        .with(first.gamma)
        .with(first.beta)
        .with(z.grad(&through_input).unwrap())
        .with(gamma.grad(&through_input).unwrap())
        .with(grad.grad(&through_input).unwrap())
        .with(z.grad(&through_vectors).unwrap())
        .with(grad.grad(&through_vectors).unwrap());
    let names = [
        "input",
        "gamma",
        "beta",
        "input to z",
        "input to gamma",
        "input to grad",
        "vectors to z",
        "vectors to grad",
    ];
    named(&names, trip).await
}
