//! Values rounded to the steps of a scale, and what flows back.

use std::ops::Range;

use super::parallel;

/// Values of a task: enough to be worth another thread.
const OF_TASK: usize = 8192;

/// How values lie, `[outer, channels, inner]`, and the integers that they may become.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    pub channels: usize,
    pub inner: usize,
    pub low: i32,
    pub high: i32,
}

impl Steps {
    fn limits(&self) -> [f32; 2] {
        [self.low as f32, self.high as f32]
    }

    /// Ranges of values with one scale, and its channel.
    fn runs(&self, values: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let Self {
            channels, inner, ..
        } = *self;
        let mut at = values.start;
        std::iter::from_fn(move || {
            if at >= values.end {
                return None;
            }
            let end = ((at / inner + 1) * inner).min(values.end);
            let run = at..end;
            at = end;
            Some((run.start / inner % channels, run))
        })
    }

    /// Whether neighbours have scales of their own.
    const fn side_by_side(&self) -> bool {
        self.inner == 1 && self.channels > 1
    }

    /// Values of a task, which begins with the first channel where these lie side by side.
    fn of_task(&self) -> usize {
        match self.side_by_side() {
            true => OF_TASK.next_multiple_of(self.channels),
            false => OF_TASK,
        }
    }
}

fn inverses(scale: &[f32]) -> Vec<f32> {
    scale.iter().map(|scale| 1.0 / scale).collect()
}

/// `y = scale q` with `q = x / scale`, rounded to even and cut off.
pub fn forward(x: &[f32], scale: &[f32], steps: Steps) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let inverses = inverses(scale);
    let of_task = steps.of_task();
    let tasks = x.chunks(of_task).zip(y.chunks_mut(of_task)).enumerate();
    type Work<'a> = (usize, (&'a [f32], &'a mut [f32]));
    parallel::map(tasks.collect(), |(task, (x, y)): Work<'_>| {
        if steps.side_by_side() {
            let rows = x.chunks(steps.channels).zip(y.chunks_mut(steps.channels));
            for (x, y) in rows {
                round_each(x, scale, &inverses, steps.limits(), y);
            }
            return;
        }
        let start = task * of_task;
        for (channel, run) in steps.runs(start..start + x.len()) {
            let run = run.start - start..run.end - start;
            let by = [scale[channel], inverses[channel]];
            round(&x[run.clone()], by, steps.limits(), &mut y[run]);
        }
    });
    y
}

#[macerator::with_simd]
fn round<S: macerator::Simd>(x: &[f32], by: [f32; 2], limits: [f32; 2], y: &mut [f32]) {
    let ([scale, inverse], [low, high]) = (by, limits);
    for (y, x) in y.iter_mut().zip(x) {
        *y = (x * inverse).round_ties_even().clamp(low, high) * scale;
    }
}

#[macerator::with_simd]
fn round_each<S: macerator::Simd>(
    x: &[f32],
    scale: &[f32],
    inverse: &[f32],
    limits: [f32; 2],
    y: &mut [f32],
) {
    let [low, high] = limits;
    for (((y, x), scale), inverse) in y.iter_mut().zip(x).zip(scale).zip(inverse) {
        *y = (x * inverse).round_ties_even().clamp(low, high) * scale;
    }
}

/// The gradient of `x`: that of `y` where nothing was cut off.
pub fn backward(x: &[f32], scale: &[f32], dy: &[f32], steps: Steps) -> Vec<f32> {
    let mut dx = vec![0.0; x.len()];
    let inverses = inverses(scale);
    let of_task = steps.of_task();
    let tasks = x.chunks(of_task).zip(dy.chunks(of_task));
    let tasks = tasks.zip(dx.chunks_mut(of_task)).enumerate();
    type Work<'a> = (usize, ((&'a [f32], &'a [f32]), &'a mut [f32]));
    parallel::map(tasks.collect(), |(task, ((x, dy), dx)): Work<'_>| {
        if steps.side_by_side() {
            let rows = x.chunks(steps.channels).zip(dy.chunks(steps.channels));
            for ((x, dy), dx) in rows.zip(dx.chunks_mut(steps.channels)) {
                pass_each(x, &inverses, dy, steps.limits(), dx);
            }
            return;
        }
        let start = task * of_task;
        for (channel, run) in steps.runs(start..start + x.len()) {
            let run = run.start - start..run.end - start;
            let (x, dy, dx) = (&x[run.clone()], &dy[run.clone()], &mut dx[run]);
            pass(x, inverses[channel], dy, steps.limits(), dx);
        }
    });
    dx
}

/// Whether a value is not cut off.
fn inside(q: f32, [low, high]: [f32; 2]) -> bool {
    low <= q && q <= high
}

#[macerator::with_simd]
fn pass<S: macerator::Simd>(x: &[f32], inverse: f32, dy: &[f32], limits: [f32; 2], dx: &mut [f32]) {
    for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
        let q = (x * inverse).round_ties_even();
        *dx = if inside(q, limits) { *dy } else { 0.0 };
    }
}

#[macerator::with_simd]
fn pass_each<S: macerator::Simd>(
    x: &[f32],
    inverse: &[f32],
    dy: &[f32],
    limits: [f32; 2],
    dx: &mut [f32],
) {
    for (((dx, x), inverse), dy) in dx.iter_mut().zip(x).zip(inverse).zip(dy) {
        let q = (x * inverse).round_ties_even();
        *dx = if inside(q, limits) { *dy } else { 0.0 };
    }
}

/// The gradient of `scale`: the sum of `dy (q - x / scale)`, of values that were cut off `dy q`.
pub fn grad_scale(x: &[f32], scale: &[f32], dy: &[f32], steps: Steps) -> Vec<f32> {
    let inverses = inverses(scale);
    let of_task = steps.of_task();
    let tasks = x.chunks(of_task).zip(dy.chunks(of_task)).enumerate();
    let limits = steps.limits();
    type Work<'a> = (usize, (&'a [f32], &'a [f32]));
    let sums = parallel::map(tasks.collect(), |(task, (x, dy)): Work<'_>| {
        let mut sums: Vec<(usize, f64)> = Vec::new();
        if steps.side_by_side() {
            let mut each = vec![0.0; steps.channels];
            for (x, dy) in x.chunks(steps.channels).zip(dy.chunks(steps.channels)) {
                let values = x.iter().zip(dy).zip(&inverses);
                for (sum, ((x, dy), inverse)) in each.iter_mut().zip(values) {
                    *sum += f64::from(added(*x, *inverse, *dy, limits));
                }
            }
            sums.extend(each.into_iter().enumerate());
            return sums;
        }
        let start = task * of_task;
        for (channel, run) in steps.runs(start..start + x.len()) {
            let run = run.start - start..run.end - start;
            let mut lanes = [0.0; LANES];
            add(
                &x[run.clone()],
                inverses[channel],
                &dy[run],
                limits,
                &mut lanes,
            );
            let sum = lanes.iter().map(|lane| f64::from(*lane)).sum();
            sums.push((channel, sum));
        }
        sums
    });
    let mut total = vec![0.0; steps.channels];
    for (channel, sum) in sums.into_iter().flatten() {
        total[channel] += sum;
    }
    total.into_iter().map(|sum| sum as f32).collect()
}

/// Sums side by side.
const LANES: usize = 16;

#[macerator::with_simd]
fn add<S: macerator::Simd>(
    x: &[f32],
    inverse: f32,
    dy: &[f32],
    limits: [f32; 2],
    lanes: &mut [f32; LANES],
) {
    for (x, dy) in x.chunks(LANES).zip(dy.chunks(LANES)) {
        for ((lane, x), dy) in lanes.iter_mut().zip(x).zip(dy) {
            *lane += added(*x, inverse, *dy, limits);
        }
    }
}

fn added(x: f32, inverse: f32, dy: f32, limits: [f32; 2]) -> f32 {
    let place = x * inverse;
    let q = place.round_ties_even();
    let off = if inside(q, limits) { place } else { 0.0 };
    dy * (q.clamp(limits[0], limits[1]) - off)
}
