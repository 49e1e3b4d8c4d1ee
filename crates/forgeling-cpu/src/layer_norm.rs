//! Normalisation of rows.

use super::moments::{dot, sum};
use super::parallel;

/// Rows are shared out in this many tasks at most. A number of its own, since sums are taken in the order of the tasks
/// and must not depend on the machine.
const MOST_TASKS: usize = 32;
/// Numbers of a task at least: fewer are not worth another thread.
const SMALLEST_TASK: usize = 4096;

/// What a normalisation gives.
pub struct Forward {
    pub y: Vec<f32>,
    /// Mean and `1 / sqrt(variance + epsilon)` of each row.
    pub statistics: Vec<f32>,
}

/// Gradients of a normalisation.
pub struct Gradients {
    pub x: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

fn rows_of_task(rows: usize, width: usize) -> usize {
    rows.div_ceil(MOST_TASKS)
        .max(SMALLEST_TASK.div_ceil(width))
        .min(rows)
}

/// Normalises rows as long as `gamma`.
pub fn forward(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> Forward {
    let width = gamma.len();
    let rows = x.len() / width;
    let of_task = rows_of_task(rows, width);
    let mut y = vec![0.0; x.len()];
    let mut statistics = vec![0.0; 2 * rows];
    let work = x
        .chunks(of_task * width)
        .zip(y.chunks_mut(of_task * width))
        .zip(statistics.chunks_mut(2 * of_task))
        .collect();
    parallel::map(work, |((x, y), statistics): ((&[f32], &mut [f32]), _)| {
        normalize(x, gamma, beta, epsilon, y, statistics);
    });
    Forward { y, statistics }
}

#[macerator::with_simd]
fn normalize<S: macerator::Simd>(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
    y: &mut [f32],
    statistics: &mut [f32],
) {
    let width = gamma.len();
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
    for ((x, y), statistics) in rows.zip(statistics.chunks_exact_mut(2)) {
        let mean = sum(x, |value| value) / width as f32;
        let variance = sum(x, |value| (value - mean) * (value - mean)) / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        statistics.copy_from_slice(&[mean, inverse]);
        for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
            *y = (x - mean) * inverse * gamma + beta;
        }
    }
}

/// All gradients, from the gradient `dy` of the output.
pub fn backward(x: &[f32], gamma: &[f32], statistics: &[f32], dy: &[f32]) -> Gradients {
    let width = gamma.len();
    let rows = x.len() / width;
    let of_task = rows_of_task(rows, width);
    let mut dx = vec![0.0; x.len()];
    let work = x
        .chunks(of_task * width)
        .zip(dy.chunks(of_task * width))
        .zip(statistics.chunks(2 * of_task))
        .zip(dx.chunks_mut(of_task * width))
        .collect();
    type Work<'a> = (((&'a [f32], &'a [f32]), &'a [f32]), &'a mut [f32]);
    let per_task = parallel::map(work, |(((x, dy), statistics), dx): Work<'_>| {
        let mut sums = vec![0.0; 3 * width];
        let (xhat, sums_of_parameters) = sums.split_at_mut(width);
        flow_back(x, gamma, statistics, dy, dx, xhat, sums_of_parameters);
        sums.split_off(width)
    });
    let mut totals = vec![0f64; 2 * width];
    for sums in per_task {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += f64::from(sum);
        }
    }
    let totals: Vec<f32> = totals.into_iter().map(|total| total as f32).collect();
    let (gamma, beta) = totals.split_at(width);
    Gradients {
        x: dx,
        gamma: gamma.to_vec(),
        beta: beta.to_vec(),
    }
}

/// Writes `dx` and adds to `sums`, gamma's gradient and then beta's; `xhat` is room for a row.
#[macerator::with_simd]
fn flow_back<S: macerator::Simd>(
    x: &[f32],
    gamma: &[f32],
    statistics: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    xhat: &mut [f32],
    sums: &mut [f32],
) {
    let width = gamma.len();
    let (of_gamma, of_beta) = sums.split_at_mut(width);
    let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
    let rows = rows.zip(dx.chunks_exact_mut(width));
    for (((x, dy), dx), statistics) in rows.zip(statistics.chunks_exact(2)) {
        let [mean, inverse] = [statistics[0], statistics[1]];
        for (xhat, x) in xhat.iter_mut().zip(x) {
            *xhat = (x - mean) * inverse;
        }
        for ((dx, dy), gamma) in dx.iter_mut().zip(dy).zip(gamma) {
            *dx = dy * gamma;
        }
        for ((sum, dy), xhat) in of_gamma.iter_mut().zip(dy).zip(&*xhat) {
            *sum += dy * xhat;
        }
        for (sum, dy) in of_beta.iter_mut().zip(dy) {
            *sum += dy;
        }
        let constant = sum(dx, |value| value) / width as f32;
        let slope = dot(dx, xhat) / width as f32;
        for (dx, xhat) in dx.iter_mut().zip(&*xhat) {
            *dx = inverse * (*dx - constant - xhat * slope);
        }
    }
}
