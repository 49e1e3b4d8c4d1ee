//! Backward: the gradients in two passes over the images.

use std::ops::Range;

use super::super::block_shape::{BlockShape, split};
use super::super::bordered::Bordered;
use super::super::half::Values;
use super::super::parallel;
use super::super::planes::{PackedWeights, TAPS, add_weight_gradient, convolve};
use super::super::pool::room;
use super::{EPSILON, affine};

/// What a block was given and gave in its forward pass, and the gradient of its output.
pub struct Block<'a> {
    pub x: Values<'a>,
    pub weight: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub convolved: Values<'a>,
    /// The output, which says what ReLU cut off, where the convolution is rounded and may not say it.
    pub output: Option<Values<'a>>,
    /// Mean of each channel, then biased variance of each.
    pub statistics: &'a [f32],
    /// Whether the statistics were given, so that no gradient flows through them.
    pub running: bool,
    pub grad: &'a [f32],
    pub shape: BlockShape,
}

/// Gradients of a block.
pub struct Gradients {
    /// Empty if it was not asked for.
    pub x: Vec<f32>,
    pub weight: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

/// The gradient of the convolution is `grad at the winner * scale + constant + slope * convolved`.
#[derive(Clone, Copy)]
struct Terms {
    scale: f32,
    constant: f32,
    slope: f32,
}

/// All gradients; that of the input only if asked for.
pub fn backward(block: &Block<'_>, input_gradient: bool) -> Gradients {
    let shape = block.shape;
    let (winners, sums) = find_winners(block);
    let (means, variances) = block.statistics.split_at(shape.output);
    let count = (shape.images * shape.pixels()) as f64;
    let mut terms = Vec::with_capacity(shape.output);
    let mut gradients = Gradients {
        x: room(if input_gradient { shape.input_len() } else { 0 }),
        weight: Vec::new(),
        gamma: Vec::with_capacity(shape.output),
        beta: Vec::with_capacity(shape.output),
    };
    for (channel, [beta, deviation]) in sums.into_iter().enumerate() {
        let inverse = 1.0 / (f64::from(variances[channel]) + EPSILON).sqrt();
        let gamma = deviation * inverse;
        let scale = f64::from(block.gamma[channel]) * inverse;
        let share = if block.running { 0.0 } else { 1.0 / count };
        let slope = -scale * inverse * gamma * share;
        terms.push(Terms {
            scale: scale as f32,
            constant: (-scale * beta * share - slope * f64::from(means[channel])) as f32,
            slope: slope as f32,
        });
        gradients.gamma.push(gamma as f32);
        gradients.beta.push(beta as f32);
    }
    gradients.weight = through_convolution(block, &terms, &winners, &mut gradients.x);
    gradients
}

/// The winner of each window, and the sums of the gradient and of its product with the deviation from the mean,
/// which are beta's gradient and gamma's before it is normalised.
fn find_winners(block: &Block<'_>) -> (Vec<u8>, Vec<[f64; 2]>) {
    let shape = block.shape;
    let [height, width] = shape.pooled();
    let (pixels, pooled) = (shape.pixels(), height * width);
    let affine = affine(block.gamma, block.beta, block.statistics);
    let tasks = shape.tasks();
    let mut places = vec![0u8; shape.output_len()];
    let parts = split(&mut places, &tasks, shape.output * pooled);
    let work = tasks.into_iter().zip(parts).collect();
    let per_task = parallel::map(work, |(images, places): (Range<usize>, &mut [u8])| {
        let mut sums = vec![[0f64; 2]; shape.output];
        let mut scratch = [Vec::new(), Vec::new()];
        let first = images.start * shape.output;
        for (index, places) in places.chunks_exact_mut(pooled).enumerate() {
            let channel = index % shape.output;
            let [of_plane, of_output] = &mut scratch;
            let at = (first + index) * pixels;
            let plane = block.convolved.read(at..at + pixels, of_plane);
            let at = (first + index) * pooled;
            let output = block
                .output
                .map_or(&[][..], |output| output.read(at..at + pooled, of_output));
            let grad = &block.grad[at..at + pooled];
            let mean = block.statistics[channel];
            let sum = winners(
                plane,
                shape.width,
                affine[channel],
                mean,
                [grad, output],
                places,
            );
            sums[channel][0] += f64::from(sum[0]);
            sums[channel][1] += f64::from(sum[1]);
        }
        sums
    });
    let mut sums = vec![[0f64; 2]; shape.output];
    for task in per_task {
        for (sum, part) in sums.iter_mut().zip(task) {
            *sum = [sum[0] + part[0], sum[1] + part[1]];
        }
    }
    (places, sums)
}

/// The gradient of the weights; that of the input goes to `dx` unless `dx` is empty.
fn through_convolution(
    block: &Block<'_>,
    terms: &[Terms],
    winners: &[u8],
    dx: &mut [f32],
) -> Vec<f32> {
    let shape = block.shape;
    // Transposed and turned by half: the gradient flows back through each tap.
    let packed = PackedWeights::new(shape.input, shape.output, |i, o, tap| {
        block.weight[(o * shape.input + i) * TAPS + TAPS - 1 - tap]
    });
    let per_image = shape.input * shape.pixels();
    let tasks = shape.tasks();
    let parts = split(dx, &tasks, if dx.is_empty() { 0 } else { per_image });
    let full = shape.planes(shape.chunk());
    let work = tasks.into_iter().zip(parts).collect();
    let per_task = parallel::map(work, |(images, mut dx): (Range<usize>, &mut [f32])| {
        let input_gradient = !dx.is_empty();
        let mut input = Bordered::new(full, shape.input);
        let mut flow = Bordered::new(full, shape.output);
        let mut output = Bordered::new(full, if input_gradient { shape.input } else { 0 });
        let mut sum = vec![0.0; block.weight.len()];
        let mut scratch = Vec::new();
        for first in images.clone().step_by(full.images) {
            let chunk = first..images.end.min(first + full.images);
            let planes = shape.planes(chunk.len());
            input.resize(planes);
            flow.resize(planes);
            let x = chunk.start * per_image..chunk.end * per_image;
            input.fill(block.x.read(x, &mut scratch), shape.input);
            fill_flow(
                block,
                terms,
                winners,
                chunk.clone(),
                &mut flow,
                &mut scratch,
            );
            let channels = [shape.output, shape.input];
            add_weight_gradient(planes, channels, &input.values, &flow.values, &mut sum);
            if input_gradient {
                output.resize(planes);
                convolve(planes, &flow.values, &packed, &mut output.values);
                let (now, later) = std::mem::take(&mut dx).split_at_mut(chunk.len() * per_image);
                output.read(now, shape.input);
                dx = later;
            }
        }
        sum
    });
    let mut weight = vec![0.0; block.weight.len()];
    for part in per_task {
        for (sum, value) in weight.iter_mut().zip(part) {
            *sum += value;
        }
    }
    weight
}

/// The gradient of the convolution's output for the images of a chunk.
fn fill_flow(
    block: &Block<'_>,
    terms: &[Terms],
    winners: &[u8],
    images: Range<usize>,
    flow: &mut Bordered,
    scratch: &mut Vec<f32>,
) {
    let shape = block.shape;
    let planes = shape.planes(images.len());
    let [height, width] = shape.pooled();
    let (pixels, pooled) = (shape.pixels(), height * width);
    for index in 0..images.len() * shape.output {
        let (image, channel) = (index / shape.output, index % shape.output);
        let plane = images.start * shape.output + index;
        let Terms {
            scale,
            constant,
            slope,
        } = terms[channel];
        let values = &mut flow.values[channel * planes.length()..][..planes.length()];
        let convolved = block
            .convolved
            .read(plane * pixels..(plane + 1) * pixels, scratch);
        for (y, row) in convolved.chunks_exact(shape.width).enumerate() {
            let at = planes.start(image, y);
            line(&mut values[at..at + shape.width], row, constant, slope);
        }
        let grad = block.grad[plane * pooled..][..pooled].chunks_exact(width);
        let places = winners[plane * pooled..][..pooled].chunks_exact(width);
        for (y, (grad, places)) in grad.zip(places).enumerate() {
            let rows = [planes.start(image, 2 * y), planes.start(image, 2 * y + 1)];
            for (x, (&grad, &winner)) in grad.iter().zip(places).enumerate() {
                if winner != DEAD {
                    let at = rows[usize::from(winner / 2)] + 2 * x + usize::from(winner % 2);
                    values[at] += scale * grad;
                }
            }
        }
    }
}

/// Marks a window that ReLU cut off.
const DEAD: u8 = 4;

/// Which pixel of each 2×2 window is the largest (0 to 3, row by row), or [`DEAD`] where ReLU cut it off; and the
/// sums of `grad` and of `grad * (convolved - mean)`. The outputs say what was cut off, if there are any.
#[macerator::with_simd]
fn winners<S: macerator::Simd>(
    plane: &[f32],
    width: usize,
    affine: [f32; 2],
    mean: f32,
    grads: [&[f32]; 2],
    winners: &mut [u8],
) -> [f32; 2] {
    let [grad, outputs] = grads;
    let [scale, shift] = affine;
    let pooled = width / 2;
    let mut sums = [0f32; 2];
    for (y, (grad, winners)) in grad
        .chunks_exact(pooled)
        .zip(winners.chunks_exact_mut(pooled))
        .enumerate()
    {
        let (upper, lower) = plane[2 * y * width..].split_at(width);
        let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for (x, ((&grad, winner), (upper, lower))) in
            grad.iter().zip(winners).zip(pairs).enumerate()
        {
            let window = [upper[0], upper[1], lower[0], lower[1]];
            let mut best = window[0];
            let mut place = 0u8;
            let mut height = scale * best + shift;
            for (index, &value) in window.iter().enumerate().skip(1) {
                let candidate = scale * value + shift;
                let better = candidate > height || candidate.is_nan();
                best = if better { value } else { best };
                place = if better { index as u8 } else { place };
                height = if better { candidate } else { height };
            }
            let height = outputs.get(y * pooled + x).unwrap_or(&height);
            let dead = *height <= 0.0;
            *winner = if dead { DEAD } else { place };
            let grad = if dead { 0.0 } else { grad };
            sums[0] += grad;
            sums[1] += grad * (best - mean);
        }
    }
    sums
}

/// `row = constant + slope * convolved`
#[macerator::with_simd]
fn line<S: macerator::Simd>(row: &mut [f32], convolved: &[f32], constant: f32, slope: f32) {
    for (value, &convolved) in row.iter_mut().zip(convolved) {
        *value = constant + slope * convolved;
    }
}
