//! Batch norm with a residual and ReLU, step by step as the shaders take it.
//!
//! Activations are channels-last. Rows of statistics lie [`row_of`] apart.

use super::conv_block::{EPSILON, row_of};

/// Sizes of a batch norm, as the shaders' last binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormShape {
    /// Pixels of all images.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Parts of the pixels, each with sums of its own.
    pub slots: usize,
    /// Whether something is added before ReLU.
    pub residual: bool,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl NormShape {
    /// The values of one channel of one slot.
    fn values(self, slot: usize, channel: usize) -> impl Iterator<Item = usize> + Clone {
        let each = self.pixels.div_ceil(self.slots);
        let pixels = (slot * each).min(self.pixels)..((slot + 1) * each).min(self.pixels);
        pixels.map(move |pixel| pixel * self.channels + channel)
    }
}

/// `partials[slot] = [mean, sum of squared deviations, count]` of each channel.
///
/// # Panics
/// When a slice is shorter than `shape` says, as all functions here.
pub fn batch_norm_partials(x: &[f32], partials: &mut [f32], shape: NormShape) {
    for slot in 0..shape.slots {
        for channel in 0..shape.channels {
            let values = shape.values(slot, channel).map(|at| x[at]);
            let count = values.clone().count() as f32;
            let mean = values.clone().sum::<f32>() / count.max(1.0);
            let start = slot * 3 * shape.channels + channel;
            partials[start] = mean;
            partials[start + shape.channels] = values.map(|v| (v - mean) * (v - mean)).sum();
            partials[start + 2 * shape.channels] = count;
        }
    }
}

/// `stats = [mean, variance, 1 / sqrt(variance + 1e-5)]` of each channel.
pub fn batch_norm_statistics(partials: &[f32], stats: &mut [f32], shape: NormShape) {
    let row = row_of(shape.channels);
    for channel in 0..shape.channels {
        let [mut count, mut mean, mut squares] = [0.0; 3];
        for slot in 0..shape.slots {
            let part = &partials[slot * 3 * shape.channels + channel..];
            let added = part[2 * shape.channels];
            let all: f32 = count + added;
            let share = added / all.max(1.0);
            let delta = part[0] - mean;
            mean += delta * share;
            squares += part[shape.channels] + delta * delta * (count * share);
            count = all;
        }
        stats[channel] = mean;
        stats[row + channel] = squares / count;
        stats[2 * row + channel] = 1.0 / (squares / count + EPSILON).sqrt();
    }
}

/// `y = relu(gamma (x - mean) / sqrt(variance + 1e-5) + beta + residual)`, the last two steps only as `shape` says.
pub fn batch_norm(
    x: &[f32],
    stats: &[f32],
    gamma: &[f32],
    beta: &[f32],
    residual: &[f32],
    y: &mut [f32],
    shape: NormShape,
) {
    let row = row_of(shape.channels);
    for (index, y) in y[..shape.pixels * shape.channels].iter_mut().enumerate() {
        let channel = index % shape.channels;
        let normal = (x[index] - stats[channel]) * stats[2 * row + channel];
        let mut value = gamma[channel] * normal + beta[channel];
        if shape.residual {
            value += residual[index];
        }
        *y = if shape.relu && value < 0.0 {
            0.0
        } else {
            value
        };
    }
}

/// `partials[slot] = [sum of dz xhat, sum of dz]` of each channel, and with ReLU `dz`: `dy`, or 0 where ReLU cut `y` off.
pub fn batch_norm_grad_partials(
    x: &[f32],
    stats: &[f32],
    y: &[f32],
    dy: &[f32],
    partials: &mut [f32],
    dz: &mut [f32],
    shape: NormShape,
) {
    let row = row_of(shape.channels);
    for slot in 0..shape.slots {
        for channel in 0..shape.channels {
            let [mut dgamma, mut dbeta] = [0.0; 2];
            for at in shape.values(slot, channel) {
                let dead = shape.relu && y[at] <= 0.0;
                let flow = if dead { 0.0 } else { dy[at] };
                if shape.relu {
                    dz[at] = flow;
                }
                dgamma += flow * (x[at] - stats[channel]) * stats[2 * row + channel];
                dbeta += flow;
            }
            partials[slot * 2 * row + channel] = dgamma;
            partials[slot * 2 * row + row + channel] = dbeta;
        }
    }
}

/// `dx = gamma / sqrt(variance + 1e-5) (dz - dbeta / m - xhat dgamma / m)`, `m` the number of pixels,
/// `sums = [dgamma, dbeta]`.
pub fn batch_norm_grad(
    x: &[f32],
    stats: &[f32],
    gamma: &[f32],
    dz: &[f32],
    sums: &[f32],
    dx: &mut [f32],
    shape: NormShape,
) {
    let row = row_of(shape.channels);
    for (index, dx) in dx[..shape.pixels * shape.channels].iter_mut().enumerate() {
        let channel = index % shape.channels;
        let inverse = stats[2 * row + channel];
        let normal = (x[index] - stats[channel]) * inverse;
        let mean = (sums[row + channel] + normal * sums[channel]) / shape.pixels as f32;
        *dx = gamma[channel] * inverse * (dz[index] - mean);
    }
}
