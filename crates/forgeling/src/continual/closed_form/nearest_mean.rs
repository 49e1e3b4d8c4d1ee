//! The class with the nearest mean. [`Sums::rows`] are sums.

use super::linear::Linear;
use super::sums::Sums;

/// Adds each example to its class.
pub fn learn(sums: &mut Sums, features: &[f32], labels: &[usize]) {
    let width = sums.width;
    for (row, &label) in features.chunks_exact(width).zip(labels) {
        sums.counts[label] += 1;
        let sum = &mut sums.rows[label * width..][..width];
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
}

/// `w = μ`, `b = −½ ‖μ‖²`: half the squared distance from `x`, less `½ ‖x‖²`, which all classes have.
pub fn fit(sums: &Sums) -> Linear {
    let classes = 0..sums.counts.len();
    let mean = |class: usize| {
        let count = sums.counts[class].max(1) as f64;
        sums.row(class).iter().map(move |sum| sum / count)
    };
    let square = |class| mean(class).map(|value| value * value).sum::<f64>();
    Linear {
        biases: classes.clone().map(|class| -0.5 * square(class)).collect(),
        weights: classes.flat_map(mean).collect(),
    }
}
