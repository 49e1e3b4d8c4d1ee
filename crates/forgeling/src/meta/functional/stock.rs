//! Layers of maps `[rows, channels, height, width]` made of stock operations. Each channel is normalized and pooled by
//! itself, so that it does not matter how many tasks the channels belong to.

use burn::tensor::Tensor;

use crate::error::Result;
use crate::nn::graph::Window;
use crate::nn::pool::{picks, unpick};
use crate::ops::Statistics;

/// `[channels]` as `[1, channels, 1, 1]`.
pub fn per_channel(vector: Tensor<1>) -> Tensor<4> {
    let [channels] = vector.dims();
    vector.reshape([1, channels, 1, 1])
}

/// The mean of each channel, `[1, channels, 1, 1]`.
fn mean(x: Tensor<4>) -> Tensor<4> {
    x.mean_dim(3).mean_dim(2).mean_dim(0)
}

/// The sum of each channel, `[channels]`.
pub fn sum(x: Tensor<4>) -> Tensor<1> {
    let [_, channels, ..] = x.dims();
    x.sum_dim(3).sum_dim(2).sum_dim(0).reshape([channels])
}

/// Mean and biased variance of each channel.
pub fn moments(x: Tensor<4>) -> Statistics {
    let [_, channels, ..] = x.dims();
    let average = mean(x.clone());
    let centred = x - average.clone();
    Statistics {
        mean: average.reshape([channels]),
        variance: mean(centred.clone() * centred).reshape([channels]),
    }
}

/// Batch norm with given statistics as `x scale + shift`.
fn affine(
    gamma: Tensor<1>,
    beta: Tensor<1>,
    statistics: &Statistics,
    epsilon: f64,
) -> (Tensor<1>, Tensor<1>) {
    let scale = gamma / (statistics.variance.clone() + epsilon).sqrt();
    let shift = beta - statistics.mean.clone() * scale.clone();
    (scale, shift)
}

/// `gamma (x - mean) / sqrt(variance + epsilon) + beta` with given statistics.
pub fn normalize(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    statistics: &Statistics,
    epsilon: f64,
) -> Tensor<4> {
    let (scale, shift) = affine(gamma, beta, statistics, epsilon);
    x * per_channel(scale) + per_channel(shift)
}

/// The products of [`normalize`]'s Jacobian with a vector, where the statistics are those of `x` itself:
///
/// `d gamma = sum g x'`, `d beta = sum g`, `d x = gamma / sigma (g - mean(g) - x' mean(g x'))` with
/// `x' = (x - mean) / sigma`.
pub fn normalize_vjp(
    x: Tensor<4>,
    gamma: Tensor<1>,
    grad: Tensor<4>,
    epsilon: f64,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let statistics = moments(x.clone());
    let inverse = per_channel((statistics.variance + epsilon).sqrt().recip());
    let hat = (x - per_channel(statistics.mean)) * inverse.clone();
    let along = grad.clone() * hat.clone();
    let (of_gamma, of_beta) = (sum(along.clone()), sum(grad.clone()));
    let rest = grad.clone() - mean(grad) - hat * mean(along);
    (rest * (per_channel(gamma) * inverse), of_gamma, of_beta)
}

/// 1 where a value is positive and 0 elsewhere; not differentiable.
pub fn positive<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dtype = x.dtype();
    x.detach().greater_elem(0.0).float().cast(dtype)
}

/// The four values under each window of 2×2, odd sizes rounded down.
fn windows(x: Tensor<4>) -> [Tensor<4>; 4] {
    let [rows, channels, height, width] = x.dims();
    let (h, w) = (height / 2, width / 2);
    let x = x.narrow(2, 0, 2 * h).narrow(3, 0, 2 * w);
    let x = x.reshape([rows, channels, h, 2, w, 2]);
    let at = |row, column| {
        let x = x.clone().narrow(3, row, 1).narrow(5, column, 1);
        x.reshape([rows, channels, h, w])
    };
    [at(0, 0), at(0, 1), at(1, 0), at(1, 1)]
}

/// Which of the values is the largest, 1 for it and 0 for the others; of several, the first. Not differentiable.
fn routes_of(values: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
    let values: Vec<Tensor<4>> = values.into_iter().map(Tensor::detach).collect();
    let mut largest = values[0].clone();
    for value in &values[1..] {
        largest = largest.max_pair(value.clone());
    }
    let (dtype, mut left) = (largest.dtype(), largest.ones_like());
    let each = values.into_iter().map(|value| {
        let is = value.equal(largest.clone()).float().cast(dtype) * left.clone();
        left = left.clone() - is.clone();
        is
    });
    each.collect()
}

/// As [`routes_of`], of the four values of each 2×2 window.
fn routes(x: &Tensor<4>) -> [Tensor<4>; 4] {
    let routes = routes_of(windows(x.clone().detach()).to_vec());
    routes.try_into().expect("there are four")
}

/// `min(max(0, x), 6)`
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let above = positive(x.clone() - 6.0);
    x.clone() * relu6_slope(x) + above * 6.0
}

/// 1 between 0 and 6, and 0 elsewhere; not differentiable.
pub fn relu6_slope<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    positive(x.clone()) - positive(x - 6.0)
}

/// `P(X <= x) + x p(x)` with a normal `X` of density `p`.
pub fn gelu_slope<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let below = ((x.clone() / std::f64::consts::SQRT_2).erf() + 1.0) * 0.5;
    let density = (x.clone() * x.clone() * -0.5).exp() / (2.0 * std::f64::consts::PI).sqrt();
    below + x * density
}

/// Max pooling; of equal values in a window, the first counts.
pub fn max_pool(x: Tensor<4>, window: Window) -> Result<Tensor<4>> {
    if window == Window::default() {
        return Ok(halved(x));
    }
    let picked = picks(x, window)?;
    let chosen = routes_of(picked.clone()).into_iter().zip(picked);
    let products = chosen.map(|(route, value)| value * route);
    Ok(products.reduce(|a, b| a + b).expect("a window has a place"))
}

/// Each gradient goes to the value that was the largest.
pub fn max_pool_vjp(x: &Tensor<4>, grad: Tensor<4>, window: Window) -> Result<Tensor<4>> {
    if window == Window::default() {
        return Ok(halved_vjp(x, grad));
    }
    let routes = routes_of(picks(x.clone(), window)?).into_iter();
    unpick(
        x,
        routes.map(|route| route * grad.clone()).collect(),
        window,
    )
}

/// 2×2 max pooling; odd sizes are rounded down.
fn halved(x: Tensor<4>) -> Tensor<4> {
    let routes = routes(&x);
    let chosen = windows(x).into_iter().zip(routes);
    let products = chosen.map(|(value, route)| value * route);
    products.reduce(|a, b| a + b).expect("there are four")
}

/// Each gradient goes to the value that was the largest of four.
fn halved_vjp(x: &Tensor<4>, grad: Tensor<4>) -> Tensor<4> {
    let [rows, channels, height, width] = x.dims();
    let [_, _, h, w] = grad.dims();
    let parts = routes(x).map(|route| (route * grad.clone()).reshape([rows, channels, h, 1, w, 1]));
    let [a, b, c, d] = parts;
    let upper = Tensor::cat(vec![a, b], 5);
    let lower = Tensor::cat(vec![c, d], 5);
    let whole = Tensor::cat(vec![upper, lower], 3).reshape([rows, channels, 2 * h, 2 * w]);
    // What rounding down cut off has no gradient.
    let (below, right) = (height - 2 * h, width - 2 * w);
    let mut whole = whole;
    if below > 0 {
        let none = Tensor::zeros([rows, channels, below, 2 * w], (&x.device(), x.dtype()));
        whole = Tensor::cat(vec![whole, none], 2);
    }
    if right > 0 {
        let none = Tensor::zeros([rows, channels, height, right], (&x.device(), x.dtype()));
        whole = Tensor::cat(vec![whole, none], 3);
    }
    whole
}

/// The mean over all pixels, `[rows, channels, 1, 1]`.
pub fn average_pool(x: Tensor<4>) -> Tensor<4> {
    x.mean_dim(3).mean_dim(2)
}

/// Each pixel has its share of the gradient.
pub fn average_pool_vjp(x: &Tensor<4>, grad: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let share = grad / (height * width) as f64;
    share.repeat_dim(2, height).repeat_dim(3, width)
}
