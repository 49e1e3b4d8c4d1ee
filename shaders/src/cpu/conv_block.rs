//! The convolution block step by step, as the shaders take it: plain loops, to be compared with.
//!
//! Activations are channels-last. `quads` is the number of channels divided by 4, rounded up; buffers `[.., C4]` have
//! `4 quads` channels, of which the last ones may be padding. Rows of statistics lie [`row_of`] apart.

use super::half::{below, equal, pack_half};
use crate::PART;

/// Sizes of a block, as the first numbers of the shaders' last binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
    /// Images.
    pub images: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub channels: usize,
}

/// Added to variances.
pub(super) const EPSILON: f32 = crate::epsilon::EPSILON as f32;

/// From one row of the statistics to the next.
pub const fn row_of(channels: usize) -> usize {
    channels.next_multiple_of(PART)
}

impl BlockShape {
    /// Channels with their padding.
    pub const fn padded(self) -> usize {
        self.channels.next_multiple_of(4)
    }

    fn pixels(self) -> usize {
        self.images * self.height * self.width
    }

    /// Image, row and column of every pixel.
    fn positions(self) -> impl Iterator<Item = [usize; 3]> {
        let (height, width) = (self.height, self.width);
        (0..self.pixels()).map(move |pixel| {
            let row = pixel / width;
            [row / height, row % height, pixel % width]
        })
    }

    fn pixel(self, [image, row, column]: [usize; 3]) -> usize {
        (image * self.height + row) * self.width + column
    }

    /// The taps of a position that lie inside the image, and the pixels there.
    fn taps(self, [image, row, column]: [usize; 3]) -> impl Iterator<Item = (usize, usize)> {
        (0..9).filter_map(move |tap| {
            let y = (row + tap / 3)
                .checked_sub(1)
                .filter(|y| *y < self.height)?;
            let x = (column + tap % 3)
                .checked_sub(1)
                .filter(|x| *x < self.width)?;
            Some((tap, self.pixel([image, y, x])))
        })
    }

    /// The pixels of every window of 2×2 in reading order, window after window.
    fn windows(self) -> impl Iterator<Item = [usize; 4]> {
        let [height, width] = [self.height / 2, self.width / 2];
        (0..self.images * height * width).map(move |window| {
            let row = window / width;
            let [image, y, x] = [row / height, row % height * 2, window % width * 2];
            [[y, x], [y, x + 1], [y + 1, x], [y + 1, x + 1]].map(|[y, x]| self.pixel([image, y, x]))
        })
    }
}

/// `packed[tap, i, o] = weight[o, i, tap]`, and 0 where `o` only pads: `[out, in, 3, 3]` to `[9, in, C4]`.
///
/// # Panics
/// When a slice is shorter than `shape` says, as all functions here.
pub fn conv_block_pack(weight: &[f32], packed: &mut [f32], shape: BlockShape) {
    let (inputs, padded) = (shape.inputs, shape.padded());
    for (index, packed) in packed[..9 * inputs * padded].iter_mut().enumerate() {
        let (channel, input, tap) = (
            index % padded,
            index / padded % inputs,
            index / padded / inputs,
        );
        *packed = if channel < shape.channels {
            weight[(channel * inputs + input) * 9 + tap]
        } else {
            0.0
        };
    }
}

/// `y[p, o] = sum_{tap, i} x[p + tap, i] packed[tap, i, o]`, and one partial statistic: mean, sum of squared deviations
/// and count of each channel. (The shader gives several, which the normalisation merges.)
pub fn conv_block_forward(
    x: &[f32],
    packed: &[f32],
    y: &mut [f32],
    partials: &mut [f32],
    shape: BlockShape,
) {
    let (inputs, padded) = (shape.inputs, shape.padded());
    for at in shape.positions() {
        let y = &mut y[shape.pixel(at) * padded..][..padded];
        y.fill(0.0);
        for (tap, pixel) in shape.taps(at) {
            for input in 0..inputs {
                let value = x[pixel * inputs + input];
                let weights = &packed[(tap * inputs + input) * padded..][..padded];
                for (y, weight) in y.iter_mut().zip(weights) {
                    *y += value * weight;
                }
            }
        }
    }
    let count = shape.pixels() as f32;
    for channel in 0..padded {
        let values = || y[channel..].iter().step_by(padded).take(shape.pixels());
        let mean = values().sum::<f32>() / count;
        partials[channel] = mean;
        partials[padded + channel] = values().map(|v| (v - mean) * (v - mean)).sum();
        partials[2 * padded + channel] = count;
    }
}

/// `out = pool(relu(gamma (y - mean) / sqrt(variance + 1e-5) + beta))`;
/// `stats = [mean, variance, 1 / sqrt(variance + 1e-5)]`.
pub fn conv_block_normalize(
    y: &[f32],
    partials: &[f32],
    gamma: &[f32],
    beta: &[f32],
    out: &mut [f32],
    stats: &mut [f32],
    shape: BlockShape,
) {
    let (mean, rest) = partials.split_at(shape.padded());
    let (squares, counts) = rest.split_at(shape.padded());
    let variance: Vec<f32> = squares.iter().zip(counts).map(|(s, n)| s / n).collect();
    conv_block_normalize_running(y, mean, &variance, gamma, beta, out, stats, shape);
}

/// As [`conv_block_normalize`], with mean and variance given.
#[allow(clippy::too_many_arguments)]
pub fn conv_block_normalize_running(
    y: &[f32],
    mean: &[f32],
    variance: &[f32],
    gamma: &[f32],
    beta: &[f32],
    out: &mut [f32],
    stats: &mut [f32],
    shape: BlockShape,
) {
    let row = row_of(shape.channels);
    for channel in 0..shape.channels {
        let inverse = 1.0 / (variance[channel] + EPSILON).sqrt();
        stats[channel] = mean[channel];
        stats[row + channel] = variance[channel];
        stats[2 * row + channel] = inverse;
        let scale = gamma[channel] * inverse;
        let shift = beta[channel] - mean[channel] * scale;
        for (window, pixels) in shape.windows().enumerate() {
            let value = |pixel: usize| scale * y[pixel * shape.padded() + channel] + shift;
            let best = pixels
                .map(value)
                .into_iter()
                .fold(f32::NEG_INFINITY, larger);
            out[window * shape.channels + channel] = if best < 0.0 { 0.0 } else { best };
        }
    }
}

/// What a block keeps of its convolution in 16 bits, two numbers a word, f16 where `kind` is 0 and bf16 where it is 1; and
/// of every window what max pooling takes after scale and shift, the largest or where gamma is negative the smallest
/// value. A pixel that rounding makes equal to the one behind it that wins its window is moved by one step more.
pub fn conv_block_keep(
    y: &[f32],
    gamma: &[f32],
    halves: &mut [u32],
    peaks: &mut [f32],
    shape: BlockShape,
    kind: usize,
) {
    let (padded, channels) = (shape.padded(), shape.channels);
    let length = shape.pixels() * padded;
    pack_half(y, halves, [length, kind]);
    let half = |halves: &[u32], at: usize| (halves[at / 2] >> (16 * (at % 2))) as u16;
    for (window, pixels) in shape.windows().enumerate() {
        // Channels that only pad are the last one's.
        for padding in 0..padded {
            let channel = padding.min(channels - 1);
            let falling = gamma[channel] < 0.0;
            let at = pixels.map(|pixel| pixel * padded + padding);
            let value = |place: usize| if falling { -y[at[place]] } else { y[at[place]] };
            let mut best = 0;
            for place in 1..4 {
                if value(place) > value(best) || value(place).is_nan() {
                    best = place;
                }
            }
            let winner = half(halves, at[best]);
            for &at in &at[..best] {
                let own = half(halves, at);
                if equal(own, winner) {
                    let moved = u32::from(own ^ below(own, falling, kind));
                    halves[at / 2] ^= moved << (16 * (at % 2));
                }
            }
            if padding < channels {
                peaks[window * channels + channel] = y[at[best]];
            }
        }
    }
}

/// `out = relu(gamma (peaks - mean) / sqrt(variance + 1e-5) + beta)` of [`conv_block_keep`]'s peaks, and `stats` as
/// [`conv_block_normalize`].
pub fn conv_block_normalize_peaks(
    peaks: &[f32],
    partials: &[f32],
    gamma: &[f32],
    beta: &[f32],
    out: &mut [f32],
    stats: &mut [f32],
    shape: BlockShape,
) {
    let (channels, padded, row) = (shape.channels, shape.padded(), row_of(shape.channels));
    for channel in 0..channels {
        let mean = partials[channel];
        let variance = partials[padded + channel] / partials[2 * padded + channel];
        let inverse = 1.0 / (variance + EPSILON).sqrt();
        stats[channel] = mean;
        stats[row + channel] = variance;
        stats[2 * row + channel] = inverse;
        let scale = gamma[channel] * inverse;
        let shift = beta[channel] - mean * scale;
        let windows = shape.windows().count();
        for at in (channel..windows * channels).step_by(channels) {
            let value = scale * peaks[at] + shift;
            out[at] = if value < 0.0 { 0.0 } else { value };
        }
    }
}

/// The larger one, or NaN if one of them is.
fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// Calls `f` for every channel and window with the winning pixel, its normalised value and the gradient that
/// reaches it through max pooling and ReLU.
fn for_winners(
    y: &[f32],
    stats: &[f32],
    gamma: &[f32],
    beta: &[f32],
    dout: &[f32],
    shape: BlockShape,
    mut f: impl FnMut(usize, usize, f32, f32),
) {
    let row = row_of(shape.channels);
    for channel in 0..shape.channels {
        let (mean, inverse) = (stats[channel], stats[2 * row + channel]);
        for (window, pixels) in shape.windows().enumerate() {
            let normal = |pixel: usize| (y[pixel * shape.padded() + channel] - mean) * inverse;
            let z = |pixel: usize| gamma[channel] * normal(pixel) + beta[channel];
            let mut best = pixels[0];
            for &pixel in &pixels[1..] {
                if z(pixel) > z(best) || z(pixel).is_nan() {
                    best = pixel;
                }
            }
            let dead = z(best) <= 0.0;
            let flow = if dead {
                0.0
            } else {
                dout[window * shape.channels + channel]
            };
            f(channel, best, normal(best), flow);
        }
    }
}

/// `sums = [dgamma, dbeta]`: the sums of `dz xhat` and `dz`, where `dz` is `dout` at the first largest pixel of each
/// window if that is above 0.
pub fn conv_block_backward_reduce(
    y: &[f32],
    stats: &[f32],
    gamma: &[f32],
    beta: &[f32],
    dout: &[f32],
    sums: &mut [f32],
    shape: BlockShape,
) {
    let row = row_of(shape.channels);
    sums[..row + shape.channels].fill(0.0);
    for_winners(
        y,
        stats,
        gamma,
        beta,
        dout,
        shape,
        |channel, _, normal, flow| {
            sums[channel] += flow * normal;
            sums[row + channel] += flow;
        },
    );
}

/// `dy = gamma / sqrt(variance + 1e-5) (dz - dbeta / m - xhat dgamma / m)`, `m` the number of pixels; 0 where channels
/// only pad.
#[allow(clippy::too_many_arguments)]
pub fn conv_block_backward_activation(
    y: &[f32],
    stats: &[f32],
    gamma: &[f32],
    beta: &[f32],
    dout: &[f32],
    sums: &[f32],
    dy: &mut [f32],
    shape: BlockShape,
) {
    let (padded, row) = (shape.padded(), row_of(shape.channels));
    let count = shape.pixels() as f32;
    for (index, dy) in dy[..shape.pixels() * padded].iter_mut().enumerate() {
        let channel = index % padded;
        *dy = if channel < shape.channels {
            let (mean, inverse) = (stats[channel], stats[2 * row + channel]);
            let normal = (y[index] - mean) * inverse;
            -gamma[channel] * inverse * (sums[row + channel] + normal * sums[channel]) / count
        } else {
            0.0
        };
    }
    for_winners(
        y,
        stats,
        gamma,
        beta,
        dout,
        shape,
        |channel, pixel, _, flow| {
            dy[pixel * padded + channel] += gamma[channel] * stats[2 * row + channel] * flow;
        },
    );
}

/// `dx[p + tap, i] = sum_{tap, o} dy[p, o] packed[tap, i, o]`
pub fn conv_block_grad_input(dy: &[f32], packed: &[f32], dx: &mut [f32], shape: BlockShape) {
    let (inputs, padded) = (shape.inputs, shape.padded());
    dx[..shape.pixels() * inputs].fill(0.0);
    for at in shape.positions() {
        let flow = &dy[shape.pixel(at) * padded..][..padded];
        for (tap, pixel) in shape.taps(at) {
            for input in 0..inputs {
                let weights = &packed[(tap * inputs + input) * padded..][..padded];
                let sum: f32 = flow.iter().zip(weights).map(|(d, w)| d * w).sum();
                dx[pixel * inputs + input] += sum;
            }
        }
    }
}

/// `dweight[o, i, tap] = sum_p x[p + tap, i] dy[p, o]`
pub fn conv_block_grad_weight(x: &[f32], dy: &[f32], dweight: &mut [f32], shape: BlockShape) {
    let (inputs, padded) = (shape.inputs, shape.padded());
    dweight[..shape.channels * inputs * 9].fill(0.0);
    for at in shape.positions() {
        let flow = &dy[shape.pixel(at) * padded..][..shape.channels];
        for (tap, pixel) in shape.taps(at) {
            for (channel, flow) in flow.iter().enumerate() {
                for input in 0..inputs {
                    dweight[(channel * inputs + input) * 9 + tap] +=
                        flow * x[pixel * inputs + input];
                }
            }
        }
    }
}
