//! The same operations composed of few stock tensor operations, which burn's autodiff differentiates: for other dtypes
//! and devices, and to compare with.

use burn::tensor::{Tensor, TensorData};
use forgeling_shaders::epsilon::EPSILON;

use super::NormPoolGrad;
use crate::ops::Statistics;
use crate::ops::reference::wide;

/// As [`channel_moments`](crate::ops::channel_moments), on images that fit.
pub fn channel_moments(z: Tensor<4>) -> Statistics {
    let channels = z.dims()[1];
    let [mean, variance, _] = centred(wide(z));
    Statistics {
        mean: mean.reshape([channels]),
        variance: variance.reshape([channels]),
    }
}

/// As [`affine_relu_pool`](crate::ops::affine_relu_pool), on inputs that fit.
pub fn affine_relu_pool(z: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<4> {
    let stored = z.dtype();
    let [images, channels, height, width] = z.dims();
    let y = windows(wide(z) * image(scale) + image(shift));
    let pooled = y.clone() * route(y);
    pooled
        .sum_dim(3)
        .sum_dim(1)
        .reshape([images, channels, height / 2, width / 2])
        .cast(stored)
}

/// As [`norm_pool_grad`](crate::ops::norm_pool_grad), on inputs that fit.
pub fn norm_pool_grad(
    z: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    grad: Tensor<4>,
) -> NormPoolGrad {
    let stored = z.dtype();
    let z = wide(z);
    let shape = z.dims();
    let [images, channels, height, width] = shape;
    let count = (images * height * width) as f64;
    let [mean, variance, deviation] = centred(z.clone());
    let sigma = (variance + EPSILON).sqrt();
    let scale = image(gamma) / sigma.clone();
    let normal = deviation / sigma;

    let shift = image(beta).detach() - mean.detach() * scale.clone().detach();
    let route = route(windows(z.detach() * scale.clone().detach() + shift));
    let rows = images * channels * (height / 2);
    let spread = wide(grad).reshape([rows, 1, width / 2, 1]) * route;
    let flow = spread.reshape([images, channels, height / 2 * 2, width / 2 * 2]);
    let flow = if [height % 2, width % 2] == [0, 0] {
        flow
    } else {
        let places = [0..images, 0..channels, 0..height / 2 * 2, 0..width / 2 * 2];
        normal.zeros_like().detach().slice_assign(places, flow)
    };

    let beta = sums(flow.clone());
    let gamma = sums(flow.clone() * normal.clone());
    let input = scale * (flow - beta.clone() / count - normal * (gamma.clone() / count));
    NormPoolGrad {
        input: input.cast(stored),
        gamma: gamma.reshape([channels]),
        beta: beta.reshape([channels]),
    }
}

/// A number for each channel beside images.
fn image(vector: Tensor<1>) -> Tensor<4> {
    let channels = vector.dims()[0];
    wide(vector).reshape([1, channels, 1, 1])
}

/// Sums of each channel, `[1, channels, 1, 1]`.
fn sums(z: Tensor<4>) -> Tensor<4> {
    let [images, channels, height, width] = z.dims();
    let pixels = z.reshape([images, channels, height * width]);
    pixels.sum_dim(2).sum_dim(0).reshape([1, channels, 1, 1])
}

/// Mean and biased variance of each channel, and the deviations from the mean.
fn centred(z: Tensor<4>) -> [Tensor<4>; 3] {
    let [images, _, height, width] = z.dims();
    let count = (images * height * width) as f64;
    let mean = sums(z.clone()) / count;
    let deviation = z - mean.clone();
    let variance = sums(deviation.clone() * deviation.clone()) / count;
    [mean, variance, deviation]
}

/// The windows of 2×2 pixels, `[.., 2, width / 2, 2]`; a last odd row or column is in none.
fn windows(y: Tensor<4>) -> Tensor<4> {
    let [images, channels, height, width] = y.dims();
    let [rows, columns] = [height / 2, width / 2];
    let even = if height % 2 == 0 {
        y
    } else {
        y.narrow(2, 0, 2 * rows)
    };
    let even = if width % 2 == 0 {
        even
    } else {
        even.narrow(3, 0, 2 * columns)
    };
    even.reshape([images * channels * rows, 2, columns, 2])
}

/// 1 at the first of the largest values of each window if that is above 0, and 0 everywhere else. Not differentiable.
fn route(y: Tensor<4>) -> Tensor<4> {
    let y = y.detach();
    let dtype = y.dtype();
    let [left, right] = [0, 1].map(|side| y.clone().narrow(3, side, 1));
    let to_the_right = right.clone().greater(left.clone());
    let best = left.mask_where(to_the_right.clone(), right);
    let [upper, lower] = [0, 1].map(|side| best.clone().narrow(1, side, 1));
    let below = lower.clone().greater(upper.clone());
    let best = upper.mask_where(below.clone(), lower);
    let alive = best.greater_elem(0.0).float().cast(dtype);
    // Of a flag, 1 - flag for the first side and flag for the second.
    let side = |flag: Tensor<4>, shape: [usize; 4]| {
        let numbers = |values: [f32; 2]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &y.device()).cast(dtype)
        };
        flag.cast(dtype) * numbers([-1.0, 1.0]) + numbers([1.0, 0.0])
    };
    let column = side(to_the_right.float(), [1, 1, 1, 2]);
    let row = side(below.float(), [1, 2, 1, 1]);
    column * (row * alive)
}
