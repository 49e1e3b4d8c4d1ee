//! Streaming linear discriminant analysis. [`Sums::rows`] are means, [`Sums::square`] is `S`.

use forgeling_cpu::double::add_products;

use super::linear::{Linear, solve};
use super::sums::Sums;
use crate::error::Result;

/// Rows whose products are added at once.
const ROWS: usize = 256;

/// Adds the examples of each class at once. With `m` their mean, `b` their number, and `μ` and `n` the class's own so far,
///
/// `S += Σ (x − m)(x − m)ᵀ + n b / (n + b) (m − μ)(m − μ)ᵀ`, `μ += b / (n + b) (m − μ)`, `n += b`,
///
/// which is what one example after the other comes to: Chan, Golub and LeVeque, "Algorithms for computing the sample variance",
/// The American Statistician, 1983.
pub fn learn(sums: &mut Sums, features: &[f32], labels: &[usize]) {
    let width = sums.width;
    let mut of_class = vec![Vec::new(); sums.counts.len()];
    for (row, &label) in features.chunks_exact(width).zip(labels) {
        of_class[label].push(row);
    }
    let mut rows = Vec::with_capacity(width * ROWS.min(2 * labels.len()));
    let mut add = |row: &mut dyn Iterator<Item = f64>, square: &mut [f64]| {
        rows.extend(row);
        if rows.len() == ROWS * width {
            add_products(&rows, width, square);
            rows.clear();
        }
    };
    for (class, examples) in of_class.iter().enumerate() {
        if examples.is_empty() {
            continue;
        }
        let (before, new) = (sums.counts[class] as f64, examples.len() as f64);
        let new_mean = mean(examples, width);
        // A single example is its own mean.
        if examples.len() > 1 {
            for row in examples {
                let from_mean = row.iter().zip(&new_mean);
                let mut row = from_mean.map(|(value, mean)| f64::from(*value) - mean);
                add(&mut row, &mut sums.square);
            }
        }
        let moves = || new_mean.iter().zip(&sums.rows[class * width..]);
        if before > 0.0 {
            let weight = (before * new / (before + new)).sqrt();
            let mut row = moves().map(|(new, old)| weight * (new - old));
            add(&mut row, &mut sums.square);
        }
        let part = new / (before + new);
        let moved: Vec<f64> = moves().map(|(new, old)| old + part * (new - old)).collect();
        sums.rows[class * width..][..width].copy_from_slice(&moved);
        sums.counts[class] += examples.len() as u64;
    }
    add_products(&rows, width, &mut sums.square);
}

fn mean(examples: &[&[f32]], width: usize) -> Vec<f64> {
    let mut mean = vec![0.0; width];
    for row in examples {
        for (sum, value) in mean.iter_mut().zip(*row) {
            *sum += f64::from(*value);
        }
    }
    let count = examples.len() as f64;
    mean.iter_mut().for_each(|sum| *sum /= count);
    mean
}

/// `W = Λ μ`, `b = −½ μᵀ Λ μ` with `Λ = [(1 − ε) S / N + ε I]⁻¹`
///
/// # Errors
/// When the matrix is not positive definite.
pub fn fit(sums: &Sums, shrinkage: f64) -> Result<Linear> {
    let examples = sums.examples().max(1) as f64;
    let covariance = sums.scaled((1.0 - shrinkage) / examples, shrinkage);
    let weights = solve(covariance, sums.width, sums.rows.clone())?;
    let means = sums.rows.chunks_exact(sums.width);
    let products = means
        .zip(weights.chunks_exact(sums.width))
        .map(|(mean, weight)| mean.iter().zip(weight).map(|(a, b)| a * b).sum::<f64>());
    Ok(Linear {
        biases: products.map(|product| -0.5 * product).collect(),
        weights,
    })
}
