//! Scores that are linear in the features.

use forgeling_cpu::double;

use crate::error::{Error, Result};

/// `scores = W x + b`
#[derive(Debug, Clone)]
pub struct Linear {
    /// `W`, a row for each class.
    pub weights: Vec<f64>,
    /// `b`
    pub biases: Vec<f64>,
}

impl Linear {
    /// `[rows, classes]`, less the largest of each row; of classes that have not been seen, negative infinity.
    pub fn scores(&self, features: &[f32], rows: usize, seen: &[u64]) -> Vec<f32> {
        let classes = self.biases.len();
        let mut exact = vec![0.0; rows * classes];
        double::scores(features, &self.weights, &self.biases, &mut exact);
        let mut scores = Vec::with_capacity(exact.len());
        for row in exact.chunks_exact(classes) {
            let of_seen = || row.iter().zip(seen).filter(|(_, count)| **count > 0);
            let largest = of_seen().fold(f64::NEG_INFINITY, |max, (score, _)| max.max(*score));
            scores.extend(row.iter().zip(seen).map(|(score, count)| match count {
                0 => f32::NEG_INFINITY,
                // Seen classes stay above those that are not.
                _ => ((score - largest) as f32).max(f32::MIN),
            }));
        }
        scores
    }
}

/// `matrix⁻¹ v` of each of `vectors`, for a symmetric positive definite matrix of which the lower triangle is given.
///
/// # Errors
/// When it is not positive definite.
pub fn solve(mut matrix: Vec<f64>, width: usize, mut vectors: Vec<f64>) -> Result<Vec<f64>> {
    if !double::cholesky(&mut matrix, width) {
        let message = "the matrix to invert is not positive definite in f64";
        return Err(Error::invalid("closed_form", message)
            .expected("a larger shrinkage or penalty, or features of like scale"));
    }
    double::solve(&matrix, width, &mut vectors);
    Ok(vectors)
}
