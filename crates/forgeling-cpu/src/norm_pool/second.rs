//! The gradients of a batch norm's gradients.
//!
//! With `x` the normalized values, `g` the gradient at the pixels that count, `s = gamma / sigma`, `m1 = mean(g)` and
//! `m2 = mean(g x)`, the gradients were `s (g - m1 - x m2)`, `M m2` and `M m1`. Each of theirs is a sum of `g`, `z` and
//! the gradient that flows in, with factors of the channel.

use forgeling_shaders::epsilon::EPSILON;
use macerator::Simd;

use super::super::batch_norm::Planes;
use super::super::moments::{dot, sum, sum_of_pairs};
use super::super::parallel;
use super::super::pool::{Slot, slots, written};
use super::PoolShape;
use super::first::line_of;
use super::windows::{Route, Windows};

/// What the batch norm's gradients were made of, and what they came to.
pub struct Given<'a> {
    pub z: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub grad: &'a [f32],
    /// Gamma's gradient of each channel, then beta's of each, the means, and the biased variances.
    pub numbers: &'a [f32],
    pub shape: PoolShape,
}

/// Gradients of the gradients.
pub struct SecondGradients {
    pub z: Vec<f32>,
    pub gamma: Vec<f32>,
    pub grad: Vec<f32>,
}

/// The numbers of a channel.
struct Channel {
    mean: f32,
    line: [f32; 2],
    /// `1 / sigma`
    inverse: f64,
    /// `gamma / sigma`
    scale: f64,
    /// `[m1, m2]`
    means: [f64; 2],
}

/// Factors of the sums that the gradients are: of the gradient flowing in, of `z - mean`, and a constant.
struct Factors {
    /// Of `g`, only for that of `z`.
    flow: f64,
    z: [f64; 3],
    /// At the pixels that count.
    grad: [f64; 3],
    gamma: f64,
}

/// Work space of a channel.
struct Space {
    windows: Windows,
    routes: Vec<Route>,
    flows: Vec<f32>,
    /// Of one plane.
    mixed: Vec<f32>,
}

impl Space {
    fn new(shape: PoolShape) -> Self {
        let pixels = shape.full().pixels;
        Self {
            windows: shape.windows(),
            routes: (0..shape.images).map(|_| Route::default()).collect(),
            flows: vec![0.0; shape.images * pixels],
            mixed: vec![0.0; pixels],
        }
    }
}

impl Given<'_> {
    fn channel(&self, channel: usize) -> Channel {
        let of = |row: usize| self.numbers[row * self.shape.channels + channel];
        let (statistics, count) = ([of(2), of(3)], self.shape.count());
        let inverse = 1.0 / (f64::from(statistics[1]) + EPSILON).sqrt();
        Channel {
            mean: statistics[0],
            line: line_of(self.gamma[channel], self.beta[channel], statistics),
            inverse,
            scale: f64::from(self.gamma[channel]) * inverse,
            means: [of(1), of(0)].map(|sum| f64::from(sum) / count),
        }
    }

    /// Where the gradient of `z` has the gradient `u`. With `q = mean(u x)` and
    /// `A = mean(u g) - m1 mean(u) - m2 q`:
    ///
    /// - that of `g` is `s (u - mean(u) - x q)`,
    /// - that of gamma `M A / sigma`,
    /// - that of `z` `(c - mean(c) - x mean(c x) - s A x) / sigma` with `c = -s (g q + u m2)`.
    pub fn through_input(&self, u: &[f32]) -> SecondGradients {
        let count = self.shape.count();
        self.gradients(Some(u), |_, numbers, totals| {
            let &Channel {
                inverse,
                scale,
                means: [m1, m2],
                ..
            } = numbers;
            let [sum, of_z, of_flow] = totals;
            let (mean, q) = (sum / count, of_z * inverse / count);
            let a = of_flow / count - m1 * mean - m2 * q;
            Factors {
                flow: -scale * q * inverse,
                z: [
                    -scale * m2 * inverse,
                    scale * (2.0 * m2 * q - a) * inverse * inverse,
                    scale * (m1 * q + mean * m2) * inverse,
                ],
                grad: [scale, -scale * q * inverse, -scale * mean],
                gamma: count * a * inverse,
            }
        })
    }

    /// Where the gradient of gamma has the gradient `v[0]` in each channel, and that of beta `v[1]`:
    ///
    /// - that of `g` is `v[0] x + v[1]`,
    /// - that of `z` `v[0] (g - m1 - x m2) / sigma`.
    pub fn through_vectors(&self, v: &[f32]) -> SecondGradients {
        let (of_gamma, of_beta) = v.split_at(self.shape.channels);
        self.gradients(None, |channel, numbers, _| {
            let &Channel {
                inverse,
                means: [m1, m2],
                ..
            } = numbers;
            let slope = f64::from(of_gamma[channel]) * inverse;
            Factors {
                flow: slope,
                z: [0.0, -slope * m2 * inverse, -slope * m1],
                grad: [0.0, slope, f64::from(of_beta[channel])],
                gamma: 0.0,
            }
        })
    }

    /// `factors` is given the sums of `u`, `u (z - mean)` and `u g` of a channel.
    fn gradients(
        &self,
        u: Option<&[f32]>,
        factors: impl Fn(usize, &Channel, [f64; 3]) -> Factors + Sync + Send,
    ) -> SecondGradients {
        let shape = self.shape;
        let (full, half) = (shape.full(), shape.half());
        let mut dz = slots(self.z.len());
        let mut dgrad = slots(self.grad.len());
        let targets = full.split(&mut dz).into_iter().zip(half.split(&mut dgrad));
        let work: Vec<(usize, (Planes<'_>, Planes<'_>))> = targets.enumerate().collect();
        let space = || Space::new(shape);
        let gamma = parallel::map_with(work, space, |space, (channel, (dz, dgrad))| {
            let Space {
                windows,
                routes,
                flows,
                mixed,
            } = space;
            let numbers = self.channel(channel);
            let (mean, line) = (numbers.mean, numbers.line);
            // Without one, any values of the right length: their factors are zero.
            let inflow = u.unwrap_or(self.z);
            let planes = || {
                let given = full.planes(self.z, channel);
                given.zip(full.planes(inflow, channel))
            };
            let mut totals = [0f64; 3];
            let grads = half.planes(self.grad, channel);
            let parts = flows.chunks_exact_mut(full.pixels);
            let targets = parts.zip(routes.iter_mut());
            for (((z, inflow), grad), (flow, route)) in planes().zip(grads).zip(targets) {
                windows.find(z, line, route);
                windows.scatter(route, grad, flow);
                if u.is_some() {
                    let sums = sums(inflow, z, mean, flow);
                    for (total, sum) in totals.iter_mut().zip(sums) {
                        *total += f64::from(sum);
                    }
                }
            }
            let factors = factors(channel, &numbers, totals);
            let [of_z, of_grad] =
                [factors.z, factors.grad].map(|factors| factors.map(|factor| factor as f32));
            let parts = flows.chunks_exact(full.pixels).zip(routes.iter());
            let targets = dz.into_iter().zip(dgrad);
            for (((z, inflow), (flow, route)), (dz, dgrad)) in planes().zip(parts).zip(targets) {
                add_flow(inflow, z, mean, of_z, flow, factors.flow as f32, dz);
                mix(inflow, z, mean, of_grad, mixed);
                windows.gather(route, mixed, dgrad);
            }
            factors.gamma as f32
        });
        SecondGradients {
            // SAFETY: every plane of every channel was.
            z: unsafe { written(dz) },
            gamma,
            // SAFETY: as before.
            grad: unsafe { written(dgrad) },
        }
    }
}

/// Sums of `u`, `u (z - mean)` and `u g`.
#[macerator::with_simd]
fn sums<S: Simd>(u: &[f32], z: &[f32], mean: f32, flow: &[f32]) -> [f32; 3] {
    let products = sum_of_pairs(u, z, |u, z| u * (z - mean));
    [sum(u, |u| u), products, dot(u, flow)]
}

/// `dz = factors . [u, z - mean, 1] + scale g`
#[macerator::with_simd]
fn add_flow<S: Simd>(
    u: &[f32],
    z: &[f32],
    mean: f32,
    factors: [f32; 3],
    flow: &[f32],
    scale: f32,
    dz: &mut [Slot],
) {
    let [of_u, of_z, constant] = factors;
    for (((dz, u), z), flow) in dz.iter_mut().zip(u).zip(z).zip(flow) {
        dz.write(of_u * u + of_z * (z - mean) + constant + scale * flow);
    }
}

/// `mixed = factors . [u, z - mean, 1]`
#[macerator::with_simd]
fn mix<S: Simd>(u: &[f32], z: &[f32], mean: f32, factors: [f32; 3], mixed: &mut [f32]) {
    let [of_u, of_z, constant] = factors;
    for ((mixed, u), z) in mixed.iter_mut().zip(u).zip(z) {
        *mixed = of_u * u + of_z * (z - mean) + constant;
    }
}
