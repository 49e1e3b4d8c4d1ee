//! Ridge regression on one-hot labels. [`Sums::rows`] are `Qᵀ`, [`Sums::square`] is `G`.

use forgeling_cpu::double::add_products;

use super::linear::{Linear, solve};
use super::nearest_mean;
use super::sums::Sums;
use crate::error::Result;

/// Rows that are widened to f64 at once.
const ROWS: usize = 256;

/// `G += h hᵀ`, `Q += h yᵀ` of each example.
pub fn learn(sums: &mut Sums, features: &[f32], labels: &[usize]) {
    nearest_mean::learn(sums, features, labels);
    for rows in features.chunks(ROWS * sums.width) {
        let rows: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
        add_products(&rows, sums.width, &mut sums.square);
    }
}

/// `W = (G + λ I)⁻¹ Q`
///
/// # Errors
/// When the matrix is not positive definite.
pub fn fit(sums: &Sums, penalty: f64) -> Result<Linear> {
    Ok(Linear {
        weights: solve(sums.scaled(1.0, penalty), sums.width, sums.rows.clone())?,
        biases: vec![0.0; sums.counts.len()],
    })
}
