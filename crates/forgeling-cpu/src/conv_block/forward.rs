//! Forward: convolution, batch norm, ReLU and pooling in two passes over the images.

use std::ops::Range;

use super::super::block_shape::{BlockShape, split};
use super::super::bordered::Bordered;
use super::super::half::{below, equal, halves_mut, pack_into};
use super::super::moments::{Moments, moments};
use super::super::parallel;
use super::super::planes::{PackedWeights, TAPS, convolve};
use super::super::pool::{room, tight_room};
use super::affine;

/// What a block gives in training.
pub struct Forward {
    /// `[image, channel, height / 2, width / 2]`
    pub output: Vec<f32>,
    /// The convolution without bias, `[image, channel, height, width]`, or the bits of two numbers in each.
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
    let tasks = shape.tasks();
    let parts = split(&mut convolved, &tasks, shape.output * shape.pixels());
    let of_batch = convolve_images(
        x,
        weight,
        shape,
        parts,
        |output, images, rest: &mut &mut [f32], channels| {
            let length = images * shape.output * shape.pixels();
            let (part, later) = std::mem::take(rest).split_at_mut(length);
            output.read(part, shape.output);
            *rest = later;
            add_moments(part, shape, channels);
        },
    );
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

/// As [`forward`] bit for bit, but the convolution is in 16 bits and never held as a whole: `kind` is 0 for f16, 1 for
/// bf16.
pub fn forward_packed(
    x: &[f32],
    weight: &[f32],
    gamma: &[f32],
    beta: &[f32],
    statistics: Option<Vec<f32>>,
    kind: usize,
    shape: BlockShape,
) -> Forward {
    let [height, width] = shape.pooled();
    let per_image = [shape.output * shape.pixels(), shape.output * height * width];
    let length = shape.convolved_len();
    let mut convolved = tight_room(length.div_ceil(2));
    let (halves, rest) = halves_mut(&mut convolved).split_at_mut(length);
    rest.fill(0);
    // Max pooling takes the largest or, where scale and shift turn them round, the smallest: either before them.
    let mut output = room(shape.output_len());
    let tasks = shape.tasks();
    let halves = split(halves, &tasks, per_image[0]);
    let peaks = split(&mut output, &tasks, per_image[1]);
    let parts = halves.into_iter().zip(peaks);
    let parts = parts
        .map(|(halves, peaks)| (halves, peaks, Vec::new()))
        .collect();
    let of_batch = convolve_images(
        x,
        weight,
        shape,
        parts,
        |convolution, images, part, channels| {
            let (halves, peaks, scratch): &mut (&mut [u16], &mut [f32], Vec<f32>) = part;
            scratch.resize(images * per_image[0], 0.0);
            convolution.read(scratch, shape.output);
            add_moments(scratch, shape, channels);
            let (now, later) = std::mem::take(halves).split_at_mut(scratch.len());
            *halves = later;
            let (peaks_now, later) = std::mem::take(peaks).split_at_mut(images * per_image[1]);
            *peaks = later;
            pack_into(scratch, now, kind);
            let planes = scratch.chunks_exact(shape.pixels());
            let kept = now.chunks_exact_mut(shape.pixels());
            let peaks = peaks_now.chunks_exact_mut(height * width);
            for (index, ((plane, halves), peaks)) in planes.zip(kept).zip(peaks).enumerate() {
                let falling = gamma[index % shape.output] < 0.0;
                find_peaks(plane, halves, peaks, shape.width, falling, kind);
            }
        },
    );
    let statistics = statistics.unwrap_or(of_batch);
    let terms = affine(gamma, beta, &statistics);
    let parts = split(&mut output, &tasks, per_image[1]);
    parallel::map(parts, |part| {
        for (index, peaks) in part.chunks_exact_mut(height * width).enumerate() {
            normalize_peaks(peaks, terms[index % shape.output]);
        }
    });
    Forward {
        output,
        convolved,
        statistics,
    }
}

/// What max pooling takes of each window; and where rounding made a pixel equal to the one behind it that wins, it is
/// moved by one step more, so that the same pixel wins among the rounded ones.
#[macerator::with_simd]
fn find_peaks<S: macerator::Simd>(
    plane: &[f32],
    halves: &mut [u16],
    peaks: &mut [f32],
    width: usize,
    falling: bool,
    kind: usize,
) {
    let sign = if falling { -1.0 } else { 1.0 };
    for (y, peaks) in peaks.chunks_exact_mut(width / 2).enumerate() {
        for (x, peak) in peaks.iter_mut().enumerate() {
            let first = 2 * (y * width + x);
            let window = [first, first + 1, first + width, first + width + 1];
            let mut best = 0;
            let mut height = sign * plane[first];
            for (place, &at) in window.iter().enumerate().skip(1) {
                let candidate = sign * plane[at];
                let better = candidate > height || candidate.is_nan();
                best = if better { place } else { best };
                height = if better { candidate } else { height };
            }
            *peak = sign * height;
            let winner = halves[window[best]];
            for &at in &window[..best] {
                if equal(halves[at], winner) {
                    halves[at] = below(halves[at], falling, kind);
                }
            }
        }
    }
}

#[macerator::with_simd]
fn normalize_peaks<S: macerator::Simd>(peaks: &mut [f32], affine: [f32; 2]) {
    let [scale, shift] = affine;
    for peak in peaks {
        let value = scale * *peak + shift;
        *peak = if value < 0.0 { 0.0 } else { value };
    }
}

fn add_moments(part: &[f32], shape: BlockShape, channels: &mut [Moments]) {
    for (index, plane) in part.chunks_exact(shape.pixels()).enumerate() {
        let channel = &mut channels[index % shape.output];
        *channel = channel.and(moments(plane));
    }
}

/// Convolves, and returns the statistics: `then` is shown each chunk of the convolution, its images, the task's one of
/// `parts`, and the moments of the channels so far.
fn convolve_images<P: Send>(
    x: &[f32],
    weight: &[f32],
    shape: BlockShape,
    parts: Vec<P>,
    then: impl Fn(&Bordered, usize, &mut P, &mut [Moments]) + Sync + Send,
) -> Vec<f32> {
    let packed = pack(weight, shape);
    let work = shape.tasks().into_iter().zip(parts).collect();
    let per_task = parallel::map(work, |(images, mut part): (Range<usize>, P)| {
        let mut channels = vec![Moments::default(); shape.output];
        each_chunk(x, &packed, shape, images, |output, images| {
            then(output, images, &mut part, &mut channels);
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
