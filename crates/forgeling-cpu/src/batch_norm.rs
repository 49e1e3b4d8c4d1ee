//! Batch norm with a residual and an activation. Every channel is read a second time while it is still in the cache.

use macerator::Simd;

use super::moments::{Moments, moments, sum, sum_of_pairs};
use super::parallel;
use super::pool::{Slot, slots, written};

/// Sizes of a tensor `[images, channels, pixels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormShape {
    pub images: usize,
    pub channels: usize,
    pub pixels: usize,
}

impl NormShape {
    pub(crate) const fn len(self) -> usize {
        self.images * self.channels * self.pixels
    }

    /// The planes of one channel.
    pub fn planes(self, values: &[f32], channel: usize) -> impl Iterator<Item = &[f32]> {
        (0..self.images).map(move |image| {
            let at = (image * self.channels + channel) * self.pixels;
            &values[at..at + self.pixels]
        })
    }

    /// The planes of every channel, to be written.
    pub fn split(self, values: &mut [Slot]) -> Vec<Planes<'_>> {
        let mut channels: Vec<_> = (0..self.channels)
            .map(|_| Vec::with_capacity(self.images))
            .collect();
        for (index, plane) in values.chunks_exact_mut(self.pixels).enumerate() {
            channels[index % self.channels].push(plane);
        }
        channels
    }
}

/// The range that values are brought into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    low: f32,
    high: f32,
}

impl Clip {
    /// All values stay.
    pub const NOTHING: Self = Self {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };
    /// `max(0, z)`
    pub const RELU: Self = Self {
        low: 0.0,
        high: f32::INFINITY,
    };
    /// `min(6, max(0, z))`
    pub const RELU6: Self = Self {
        low: 0.0,
        high: 6.0,
    };

    /// Whether any value changes.
    pub fn cuts(self) -> bool {
        self != Self::NOTHING
    }

    /// Comparisons, as minimum and maximum may drop NaN.
    #[inline(always)]
    const fn apply(self, value: f32) -> f32 {
        if value < self.low {
            self.low
        } else if value > self.high {
            self.high
        } else {
            value
        }
    }
}

/// The planes of a channel, to be written.
pub type Planes<'a> = Vec<&'a mut [Slot]>;

/// What a batch norm gives.
pub struct Forward {
    /// `[images, channels, pixels]`
    pub output: Vec<f32>,
    /// Mean of each channel, then biased variance of each.
    pub statistics: Vec<f32>,
}

/// `y = clip(gamma (x - mean) / sqrt(variance + epsilon) + beta + residual)`; no residual if it is empty.
pub fn forward(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    residual: &[f32],
    epsilon: f64,
    clip: Clip,
    shape: NormShape,
) -> Forward {
    let mut output = slots(shape.len());
    let work = shape.split(&mut output).into_iter().enumerate().collect();
    let channels: Vec<[f32; 2]> = parallel::map(work, |(channel, planes): (usize, Planes<'_>)| {
        let parts = shape.planes(x, channel).map(moments);
        let all = parts.fold(Moments::default(), Moments::and);
        let variance = all.squares / all.count;
        let terms = terms(
            [gamma[channel], beta[channel]],
            [all.mean, variance],
            epsilon,
        );
        let mut added = shape.planes(residual, channel);
        for (x, y) in shape.planes(x, channel).zip(planes) {
            if residual.is_empty() {
                apply(x, terms, clip, y);
            } else if let Some(residual) = added.next() {
                apply_and_add(x, terms, residual, clip, y);
            }
        }
        [all.mean as f32, variance as f32]
    });
    let means = channels.iter().map(|channel| channel[0]);
    let variances = channels.iter().map(|channel| channel[1]);
    Forward {
        // SAFETY: every plane of every channel was.
        output: unsafe { written(output) },
        statistics: means.chain(variances).collect(),
    }
}

/// Scale and shift of a channel.
pub fn terms([gamma, beta]: [f32; 2], [mean, variance]: [f64; 2], epsilon: f64) -> [f32; 2] {
    let scale = f64::from(gamma) / (variance + epsilon).sqrt();
    [scale as f32, (f64::from(beta) - mean * scale) as f32]
}

#[macerator::with_simd]
fn apply<S: Simd>(x: &[f32], terms: [f32; 2], clip: Clip, y: &mut [Slot]) {
    write(x, terms, clip, y);
}

#[macerator::with_simd]
fn apply_and_add<S: Simd>(
    x: &[f32],
    terms: [f32; 2],
    residual: &[f32],
    clip: Clip,
    y: &mut [Slot],
) {
    write_sum(x, terms, residual, clip, y);
}

/// `y = clip(scale x + shift)`, with the vectors of the caller.
#[inline(always)]
pub fn write(x: &[f32], [scale, shift]: [f32; 2], clip: Clip, y: &mut [Slot]) {
    for (y, x) in y.iter_mut().zip(x) {
        y.write(clip.apply(scale * x + shift));
    }
}

/// `y = clip(scale x + shift + residual)`, with the vectors of the caller.
#[inline(always)]
pub fn write_sum(
    x: &[f32],
    [scale, shift]: [f32; 2],
    residual: &[f32],
    clip: Clip,
    y: &mut [Slot],
) {
    for ((y, x), residual) in y.iter_mut().zip(x).zip(residual) {
        y.write(clip.apply(scale * x + shift + residual));
    }
}

/// What a batch norm was given and gave in its forward pass, and the gradient of its output.
pub struct Norm<'a> {
    pub x: &'a [f32],
    pub gamma: &'a [f32],
    pub output: &'a [f32],
    pub statistics: &'a [f32],
    pub grad: &'a [f32],
    pub epsilon: f64,
    pub clip: Clip,
    pub shape: NormShape,
}

/// Gradients of a batch norm.
pub struct Gradients {
    pub x: Vec<f32>,
    /// The gradient of the output where the activation let it through, which is that of the residual. Empty without one, where
    /// it is the gradient of the output.
    pub flow: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

/// All gradients.
pub fn backward(norm: &Norm<'_>) -> Gradients {
    let shape = norm.shape;
    let mut dx = slots(shape.len());
    let cuts = norm.clip.cuts();
    let mut flow = slots(if cuts { shape.len() } else { 0 });
    let flows = if cuts {
        shape.split(&mut flow)
    } else {
        (0..shape.channels).map(|_| Vec::new()).collect()
    };
    let work = shape.split(&mut dx).into_iter().zip(flows).enumerate();
    let work: Vec<(usize, (Planes<'_>, Planes<'_>))> = work.collect();
    let sums = parallel::map(work, |(channel, (dx, flow))| {
        channel_backward(norm, channel, dx, flow)
    });
    Gradients {
        // SAFETY: every plane of every channel was.
        x: unsafe { written(dx) },
        flow: unsafe { written(flow) },
        gamma: sums.iter().map(|sums| sums[0]).collect(),
        beta: sums.iter().map(|sums| sums[1]).collect(),
    }
}

/// The gradients of gamma and beta.
fn channel_backward(norm: &Norm<'_>, channel: usize, dx: Planes<'_>, flow: Planes<'_>) -> [f32; 2] {
    let shape = norm.shape;
    let (means, variances) = norm.statistics.split_at(shape.channels);
    let mean = means[channel];
    let (mut deviation, mut beta) = (0f64, 0f64);
    let planes = shape.planes(norm.x, channel);
    let outputs = shape.planes(norm.output, channel);
    let mut cuts = flow.into_iter().zip(outputs);
    let grads = shape.planes(norm.grad, channel);
    let grads: Vec<&[f32]> = grads
        .map(|grad| match cuts.next() {
            Some((flow, output)) => {
                cut(output, grad, norm.clip, flow);
                // SAFETY: the line before wrote all of it, as it is as long as the others.
                unsafe { flow.assume_init_ref() }
            }
            None => grad,
        })
        .collect();
    for (x, grad) in planes.zip(&grads) {
        let [products, sum] = sums(x, grad, mean);
        deviation += f64::from(products);
        beta += f64::from(sum);
    }
    let inverse = 1.0 / (f64::from(variances[channel]) + norm.epsilon).sqrt();
    let gamma = deviation * inverse;
    let count = (shape.images * shape.pixels) as f64;
    let scale = f64::from(norm.gamma[channel]) * inverse;
    let slope = -scale * inverse * gamma / count;
    let constant = -scale * beta / count - slope * f64::from(mean);
    let terms = [scale as f32, slope as f32, constant as f32];
    let planes = shape.planes(norm.x, channel);
    for ((x, grad), dx) in planes.zip(grads).zip(dx) {
        combine(x, grad, terms, dx);
    }
    [gamma as f32, beta as f32]
}

/// The gradient where the activation let the value through.
#[macerator::with_simd]
fn cut<S: Simd>(output: &[f32], grad: &[f32], clip: Clip, flow: &mut [Slot]) {
    for ((flow, grad), output) in flow.iter_mut().zip(grad).zip(output) {
        let stopped = *output <= clip.low || *output >= clip.high;
        flow.write(if stopped { 0.0 } else { *grad });
    }
}

/// Sums of `grad (x - mean)` and of `grad`.
#[macerator::with_simd]
pub fn sums<S: Simd>(x: &[f32], grad: &[f32], mean: f32) -> [f32; 2] {
    let products = sum_of_pairs(grad, x, |grad, x| grad * (x - mean));
    [products, sum(grad, |grad| grad)]
}

/// `dx = scale grad + slope x + constant`
#[macerator::with_simd]
fn combine<S: Simd>(x: &[f32], grad: &[f32], terms: [f32; 3], dx: &mut [Slot]) {
    let [scale, slope, constant] = terms;
    for ((dx, x), grad) in dx.iter_mut().zip(x).zip(grad) {
        dx.write(scale * grad + slope * x + constant);
    }
}
