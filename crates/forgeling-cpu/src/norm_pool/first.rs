//! The operations and their gradients.

use forgeling_shaders::epsilon::EPSILON;
use macerator::Simd;

use super::super::batch_norm::{Planes, sums};
use super::super::moments::{Moments, moments};
use super::super::parallel;
use super::super::pool::{Slot, slots, written};
use super::PoolShape;
use super::windows::Route;

/// Mean of each channel, then biased variance of each.
pub fn channel_moments(z: &[f32], shape: PoolShape) -> Vec<f32> {
    let channels = (0..shape.channels).collect();
    let moments = parallel::map(channels, |channel| moments_of(z, channel, shape));
    in_rows(moments)
}

/// Numbers of each channel in rows of all channels.
fn in_rows<const N: usize>(channels: Vec<[f32; N]>) -> Vec<f32> {
    let row = |which: usize| channels.iter().map(move |numbers| numbers[which]);
    (0..N).flat_map(row).collect()
}

fn moments_of(z: &[f32], channel: usize, shape: PoolShape) -> [f32; 2] {
    let parts = shape.full().planes(z, channel).map(moments);
    let all = parts.fold(Moments::default(), Moments::and);
    [all.mean as f32, (all.squares / all.count) as f32]
}

/// `dz = grad of mean / M + grad of variance 2 (z - mean) / M`
pub fn channel_moments_grad(
    z: &[f32],
    moments: &[f32],
    grad: &[f32],
    shape: PoolShape,
) -> Vec<f32> {
    let (of_mean, of_variance) = grad.split_at(shape.channels);
    let full = shape.full();
    let mut dz = slots(z.len());
    let work = full.split(&mut dz).into_iter().enumerate().collect();
    parallel::map(work, |(channel, dz): (usize, Planes<'_>)| {
        let slope = 2.0 * f64::from(of_variance[channel]) / shape.count();
        let constant = f64::from(of_mean[channel]) / shape.count();
        let terms = [moments[channel], slope as f32, constant as f32];
        for (z, dz) in full.planes(z, channel).zip(dz) {
            deviate(z, terms, dz);
        }
    });
    // SAFETY: every plane of every channel was.
    unsafe { written(dz) }
}

/// `y = slope (z - mean) + constant`
#[macerator::with_simd]
fn deviate<S: Simd>(z: &[f32], terms: [f32; 3], y: &mut [Slot]) {
    let [mean, slope, constant] = terms;
    for (y, z) in y.iter_mut().zip(z) {
        y.write(slope * (z - mean) + constant);
    }
}

/// `y = maxpool2(relu(scale z + shift))`
pub fn affine_relu_pool(z: &[f32], scale: &[f32], shift: &[f32], shape: PoolShape) -> Vec<f32> {
    let (full, half) = (shape.full(), shape.half());
    let mut y = slots(half.len());
    let work = half.split(&mut y).into_iter().enumerate().collect();
    let space = || shape.windows();
    parallel::map_with(work, space, |windows, (channel, y): (usize, Planes<'_>)| {
        let line = [scale[channel], shift[channel]];
        for (z, y) in full.planes(z, channel).zip(y) {
            windows.pool(z, line, y);
        }
    });
    // SAFETY: every plane of every channel was.
    unsafe { written(y) }
}

/// Gradients of a line.
pub struct LineGradients {
    pub z: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// With `g` the gradient at the pixels that count: `dz = g scale`, `dscale = sum g z`, `dshift = sum g`.
pub fn affine_relu_pool_grad(
    z: &[f32],
    scale: &[f32],
    shift: &[f32],
    grad: &[f32],
    shape: PoolShape,
) -> LineGradients {
    let (full, half) = (shape.full(), shape.half());
    let mut dz = slots(z.len());
    let work = full.split(&mut dz).into_iter().enumerate().collect();
    let space = || (shape.windows(), Route::default(), vec![0.0; full.pixels]);
    let totals = parallel::map_with(work, space, |space, (channel, dz): (usize, Planes<'_>)| {
        let (windows, route, flow) = space;
        let line = [scale[channel], shift[channel]];
        let planes = full.planes(z, channel).zip(half.planes(grad, channel));
        let mut totals = [0f64; 2];
        for ((z, grad), dz) in planes.zip(dz) {
            windows.find(z, line, route);
            windows.scatter(route, grad, flow);
            let sums = sums(z, flow, 0.0);
            totals[0] += f64::from(sums[0]);
            totals[1] += f64::from(sums[1]);
            times(flow, scale[channel], dz);
        }
        totals.map(|total| total as f32)
    });
    LineGradients {
        // SAFETY: every plane of every channel was.
        z: unsafe { written(dz) },
        scale: totals.iter().map(|totals| totals[0]).collect(),
        shift: totals.iter().map(|totals| totals[1]).collect(),
    }
}

#[macerator::with_simd]
fn times<S: Simd>(values: &[f32], factor: f32, products: &mut [Slot]) {
    for (product, value) in products.iter_mut().zip(values) {
        product.write(value * factor);
    }
}

/// The line that a batch norm is, rounded as the stock operations round that make it of the same statistics: so the
/// same pixels count.
pub fn line_of(gamma: f32, beta: f32, [mean, variance]: [f32; 2]) -> [f32; 2] {
    let scale = gamma / (variance + EPSILON as f32).sqrt();
    [scale, beta - mean * scale]
}

/// The gradients of a batch norm with pooling.
pub struct PoolGradients {
    pub input: Vec<f32>,
    /// Gamma's of each channel, then beta's of each, the means, and the biased variances.
    pub numbers: Vec<f32>,
}

/// With `x` the normalized values and `g` the gradient at the pixels that count:
/// `input = gamma / sigma (g - mean(g) - x mean(g x))`, gamma's `sum g x` and beta's `sum g`.
pub fn norm_pool_grad(
    z: &[f32],
    gamma: &[f32],
    beta: &[f32],
    grad: &[f32],
    shape: PoolShape,
) -> PoolGradients {
    let (full, half) = (shape.full(), shape.half());
    let mut input = slots(z.len());
    let work = full.split(&mut input).into_iter().enumerate().collect();
    let space = || {
        let flows = vec![0.0; full.pixels * shape.images];
        (shape.windows(), Route::default(), flows)
    };
    let numbers = parallel::map_with(work, space, |space, (channel, dz): (usize, Planes<'_>)| {
        let (windows, route, flows) = space;
        let statistics = moments_of(z, channel, shape);
        let [mean, variance] = statistics;
        let line = line_of(gamma[channel], beta[channel], statistics);
        let mut totals = [0f64; 2];
        let planes = full.planes(z, channel).zip(half.planes(grad, channel));
        for ((z, grad), flow) in planes.zip(flows.chunks_exact_mut(full.pixels)) {
            windows.find(z, line, route);
            windows.scatter(route, grad, flow);
            let sums = sums(z, flow, mean);
            totals[0] += f64::from(sums[0]);
            totals[1] += f64::from(sums[1]);
        }
        let inverse = 1.0 / (f64::from(variance) + EPSILON).sqrt();
        let [of_gamma, of_beta] = [totals[0] * inverse, totals[1]];
        let scale = f64::from(gamma[channel]) * inverse;
        let terms = [
            scale,
            -scale * inverse * of_gamma / shape.count(),
            -scale * of_beta / shape.count(),
        ];
        let [scale, slope, constant] = terms.map(|term| term as f32);
        let flows = flows.chunks_exact(full.pixels);
        for ((z, flow), dz) in full.planes(z, channel).zip(flows).zip(dz) {
            mix(z, flow, [scale, slope, constant, mean], dz);
        }
        [of_gamma as f32, of_beta as f32, mean, variance]
    });
    PoolGradients {
        // SAFETY: every plane of every channel was.
        input: unsafe { written(input) },
        numbers: in_rows(numbers),
    }
}

/// `dz = scale flow + slope (z - mean) + constant`
#[macerator::with_simd]
fn mix<S: Simd>(z: &[f32], flow: &[f32], terms: [f32; 4], dz: &mut [Slot]) {
    let [scale, slope, constant, mean] = terms;
    for ((dz, z), flow) in dz.iter_mut().zip(z).zip(flow) {
        dz.write(scale * flow + slope * (z - mean) + constant);
    }
}
