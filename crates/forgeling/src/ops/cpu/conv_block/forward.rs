//! Forward: convolution, batch norm, ReLU and pooling in two passes over the images.

use std::ops::Range;

use super::super::block_shape::{BlockShape, split};
use super::super::bordered::Bordered;
use super::super::moments::{Moments, moments};
use super::super::parallel;
use super::super::planes::{PackedWeights, TAPS, convolve};
use super::super::pool::room;
use super::affine;

/// What a block gives in training.
pub struct Forward {
    /// `[image, channel, height / 2, width / 2]`
    pub output: Vec<f32>,
    /// The convolution without bias, `[image, channel, height, width]`.
    pub convolved: Vec<f32>,
    /// Mean of each channel, then biased variance of each.
    pub statistics: Vec<f32>,
}

/// With the statistics of this batch, or with `statistics`, as [`Forward`] has them.
pub fn forward(
    x: &[f32],
    weight: &[f32],
    gamma: &[f32],
    beta: &[f32],
    statistics: Option<Vec<f32>>,
    shape: BlockShape,
) -> Forward {
    let mut convolved = room(shape.convolved_len());
    let of_batch = convolve_images(x, weight, shape, &mut convolved);
    let statistics = statistics.unwrap_or(of_batch);
    let terms = affine(gamma, beta, &statistics);
    let output = pool_images(&convolved, &terms, shape);
    Forward {
        output,
        convolved,
        statistics,
    }
}

fn pack(weight: &[f32], shape: BlockShape) -> PackedWeights {
    PackedWeights::new(shape.output, shape.input, |o, i, tap| {
        weight[(o * shape.input + i) * TAPS + tap]
    })
}

/// Convolves into `convolved`, and returns the statistics.
fn convolve_images(
    x: &[f32],
    weight: &[f32],
    shape: BlockShape,
    convolved: &mut [f32],
) -> Vec<f32> {
    let packed = pack(weight, shape);
    let tasks = shape.tasks();
    let parts = split(convolved, &tasks, shape.output * shape.pixels());
    let work = tasks.into_iter().zip(parts).collect();
    let per_task = parallel::map(work, |(images, part): (Range<usize>, &mut [f32])| {
        let mut channels = vec![Moments::default(); shape.output];
        let mut rest = part;
        each_chunk(x, &packed, shape, images, |output, images| {
            let length = images * shape.output * shape.pixels();
            let (part, later) = std::mem::take(&mut rest).split_at_mut(length);
            output.read(part, shape.output);
            rest = later;
            for (index, plane) in part.chunks_exact(shape.pixels()).enumerate() {
                let channel = &mut channels[index % shape.output];
                *channel = channel.and(moments(plane));
            }
        });
        channels
    });
    let channels: Vec<Moments> = (0..shape.output)
        .map(|channel| {
            let parts = per_task.iter().map(|task| task[channel]);
            parts.fold(Moments::default(), Moments::and)
        })
        .collect();
    let means = channels.iter().map(|all| all.mean as f32);
    let variances = channels.iter().map(|all| (all.squares / all.count) as f32);
    means.chain(variances).collect()
}

/// Convolves `images` of `x` chunk by chunk, and shows `then` each chunk, while it is in the cache, and its images.
fn each_chunk(
    x: &[f32],
    packed: &PackedWeights,
    shape: BlockShape,
    images: Range<usize>,
    mut then: impl FnMut(&Bordered, usize),
) {
    let full = shape.planes(shape.chunk());
    let mut input = Bordered::new(full, shape.input);
    let mut output = Bordered::new(full, shape.output);
    let per_image = shape.input * shape.pixels();
    let x = &x[images.start * per_image..images.end * per_image];
    for x in x.chunks(full.images * per_image) {
        let planes = shape.planes(x.len() / per_image);
        input.resize(planes);
        output.resize(planes);
        input.fill(x, shape.input);
        convolve(planes, &input.values, packed, &mut output.values);
        then(&output, planes.images);
    }
}

fn pool_images(convolved: &[f32], terms: &[[f32; 2]], shape: BlockShape) -> Vec<f32> {
    let [height, width] = shape.pooled();
    let mut output = room(shape.output_len());
    let tasks = shape.tasks();
    let parts = split(&mut output, &tasks, shape.output * height * width);
    let work = tasks.into_iter().zip(parts).collect();
    parallel::map(work, |(images, part): (Range<usize>, &mut [f32])| {
        let per_image = shape.output * shape.pixels();
        let convolved = &convolved[images.start * per_image..images.end * per_image];
        pool_planes(convolved, terms, shape, part);
    });
    output
}

fn pool_planes(convolved: &[f32], terms: &[[f32; 2]], shape: BlockShape, output: &mut [f32]) {
    let [height, width] = shape.pooled();
    let mut line = vec![0.0; shape.pixels()];
    let planes = convolved.chunks_exact(shape.pixels());
    for (index, (plane, output)) in planes
        .zip(output.chunks_exact_mut(height * width))
        .enumerate()
    {
        let terms = terms[index % shape.output];
        pool(plane, shape.width, terms, &mut line, output);
    }
}

/// With statistics given, as each channel's scale and shift in `terms`; nothing is kept for a backward pass.
pub fn forward_with(x: &[f32], weight: &[f32], terms: &[[f32; 2]], shape: BlockShape) -> Vec<f32> {
    let packed = pack(weight, shape);
    let [height, width] = shape.pooled();
    let mut output = room(shape.output_len());
    let tasks = shape.tasks();
    let parts = split(&mut output, &tasks, shape.output * height * width);
    let work = tasks.into_iter().zip(parts).collect();
    parallel::map(work, |(images, mut part): (Range<usize>, &mut [f32])| {
        let mut room = vec![0.0; shape.chunk() * shape.output * shape.pixels()];
        each_chunk(x, &packed, shape, images, |output, images| {
            let convolved = &mut room[..images * shape.output * shape.pixels()];
            output.read(convolved, shape.output);
            let length = images * shape.output * height * width;
            let (now, later) = std::mem::take(&mut part).split_at_mut(length);
            pool_planes(convolved, terms, shape, now);
            part = later;
        });
    });
    output
}

/// The larger value, or NaN if one of them is.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// `out = pool(relu(scale * plane + shift))`; `line` is room for a plane and one value more.
#[macerator::with_simd]
fn pool<S: macerator::Simd>(
    plane: &[f32],
    width: usize,
    affine: [f32; 2],
    line: &mut [f32],
    out: &mut [f32],
) {
    let [scale, shift] = affine;
    for (value, &convolved) in line.iter_mut().zip(plane) {
        *value = scale * convolved + shift;
    }
    // Pairs of columns, then of rows, at every position: three of four are thrown away, and all are vectors.
    for index in 0..plane.len() - 1 {
        line[index] = larger(line[index], line[index + 1]);
    }
    for index in 0..plane.len() - width {
        let value = larger(line[index], line[index + width]);
        line[index] = if value < 0.0 { 0.0 } else { value };
    }
    let pooled = width / 2;
    for (y, row) in out.chunks_exact_mut(pooled).enumerate() {
        let line = &line[2 * y * width..];
        for (value, pair) in row.iter_mut().zip(line.chunks_exact(2)) {
            *value = pair[0];
        }
    }
}
