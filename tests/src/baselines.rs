//! What a small network has to beat: two classifiers of plain pixels.
//!
//! Examples are rows of one flat slice, as many as there are labels; classes are numbered from 0.

/// The class of each row of `test`: the one whose mean in `train` is nearest.
///
/// # Panics
/// When there is no example, or the rows do not divide the slices.
pub fn nearest_mean(train: &[f32], labels: &[usize], test: &[f32]) -> Vec<usize> {
    let width = width(train, labels);
    let classes = classes(labels);
    let mut means = vec![0.0; classes * width];
    let mut counts = vec![0.0; classes];
    for (row, label) in train.chunks_exact(width).zip(labels) {
        counts[*label] += 1.0;
        for (mean, value) in means[label * width..].iter_mut().zip(row) {
            *mean += f64::from(*value);
        }
    }
    let distance = |row: &[f32], class: usize| -> f64 {
        let means = means[class * width..].iter();
        let squares = row.iter().zip(means).map(|(value, sum)| {
            let apart = f64::from(*value) - sum / counts[class];
            apart * apart
        });
        squares.sum()
    };
    let nearest = |row| {
        (0..classes)
            .filter(|class| counts[*class] > 0.0)
            .min_by(|a, b| distance(row, *a).total_cmp(&distance(row, *b)))
            .unwrap()
    };
    rows(test, width).map(nearest).collect()
}

/// The share of `predictions` that are right.
///
/// # Panics
/// When there are not as many of both.
pub fn accuracy(predictions: &[usize], labels: &[usize]) -> f64 {
    assert_eq!(predictions.len(), labels.len());
    let right = predictions.iter().zip(labels).filter(|(a, b)| a == b);
    right.count() as f64 / labels.len() as f64
}

/// Multinomial logistic regression: the softmax of a linear function of standardized values, by the least mean
/// cross-entropy plus half of [`LogisticRegression::PENALTY`] times the squared weights.
#[derive(Debug, Clone)]
pub struct LogisticRegression {
    width: usize,
    means: Vec<f32>,
    scales: Vec<f32>,
    /// One row for each class.
    weights: Vec<f32>,
    biases: Vec<f32>,
}

impl LogisticRegression {
    /// What large weights cost.
    pub const PENALTY: f32 = 1e-2;
    /// Steps of gradient descent over all examples.
    pub const STEPS: usize = 300;
    const MOMENTUM: f32 = 0.9;

    /// Learns from `train`.
    ///
    /// # Panics
    /// When there is no example, or the rows do not divide the slice.
    pub fn fit(train: &[f32], labels: &[usize]) -> Self {
        let width = width(train, labels);
        let classes = classes(labels);
        let (means, scales) = standardization(train, width);
        let mut model = Self {
            width,
            means,
            scales,
            weights: vec![0.0; classes * width],
            biases: vec![0.0; classes],
        };
        let train: Vec<f32> = rows(train, width)
            .flat_map(|row| model.standard(row))
            .collect();
        // A step may not be longer than 2 over the largest curvature, which is at most half of the largest eigenvalue
        // of the examples' second moments, their constant included, and the penalty.
        let rate = 1.0 / (0.5 * (largest_eigenvalue(&train, width) + 1.0) + Self::PENALTY);
        let share = 1.0 / labels.len() as f32;
        let mut speed = vec![0.0; classes * (width + 1)];
        for _ in 0..Self::STEPS {
            let mut gradient = vec![0.0; classes * (width + 1)];
            for (row, label) in train.chunks_exact(width).zip(labels) {
                for (class, probability) in model.softmax(row).into_iter().enumerate() {
                    let error = share * (probability - f32::from(u8::from(class == *label)));
                    let gradient = &mut gradient[class * (width + 1)..][..=width];
                    for (sum, value) in gradient.iter_mut().zip(row) {
                        *sum += error * value;
                    }
                    gradient[width] += error;
                }
            }
            for (class, bias) in model.biases.iter_mut().enumerate() {
                let at = class * (width + 1);
                let weights = &mut model.weights[class * width..][..width];
                let gradient = &gradient[at..=at + width];
                let speed = &mut speed[at..=at + width];
                for (i, weight) in weights.iter_mut().enumerate() {
                    let slope = gradient[i] + Self::PENALTY * *weight;
                    speed[i] = Self::MOMENTUM * speed[i] - rate * slope;
                    *weight += speed[i];
                }
                speed[width] = Self::MOMENTUM * speed[width] - rate * gradient[width];
                *bias += speed[width];
            }
        }
        model
    }

    /// The probability of each class for each row of `test`, row by row.
    ///
    /// # Panics
    /// When the rows do not divide the slice.
    pub fn probabilities(&self, test: &[f32]) -> Vec<f32> {
        rows(test, self.width)
            .flat_map(|row| self.softmax(&self.standard(row)))
            .collect()
    }

    /// The most probable class of each row of `test`.
    ///
    /// # Panics
    /// As [`LogisticRegression::probabilities`].
    pub fn predict(&self, test: &[f32]) -> Vec<usize> {
        let classes = self.biases.len();
        let best = |row: &[f32]| {
            (0..classes)
                .max_by(|a, b| row[*a].total_cmp(&row[*b]))
                .unwrap()
        };
        self.probabilities(test)
            .chunks_exact(classes)
            .map(best)
            .collect()
    }

    fn standard(&self, row: &[f32]) -> Vec<f32> {
        let parts = row.iter().zip(&self.means).zip(&self.scales);
        parts
            .map(|((value, mean), scale)| (value - mean) * scale)
            .collect()
    }

    fn softmax(&self, row: &[f32]) -> Vec<f32> {
        let weights = self.weights.chunks_exact(self.width).zip(&self.biases);
        let scores: Vec<f32> = weights
            .map(|(weights, bias)| weights.iter().zip(row).map(|(w, x)| w * x).sum::<f32>() + bias)
            .collect();
        let largest = scores.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }
}

/// Mean of each value, and one over its standard deviation (0 where it never varies).
fn standardization(train: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let count = (train.len() / width) as f64;
    (0..width)
        .map(|column| {
            let values = || {
                train
                    .iter()
                    .skip(column)
                    .step_by(width)
                    .map(|v| f64::from(*v))
            };
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            let scale = if variance > 1e-12 {
                variance.sqrt().recip()
            } else {
                0.0
            };
            (mean as f32, scale as f32)
        })
        .unzip()
}

/// Of the rows' mean outer product, a little too large rather than too small.
fn largest_eigenvalue(rows: &[f32], width: usize) -> f32 {
    let count = (rows.len() / width) as f32;
    let mut vector: Vec<f32> = (0..width).map(|i| 1.0 + 0.1 * (i % 7) as f32).collect();
    let mut value = 0.0;
    for _ in 0..20 {
        let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
        if length < 1e-12 {
            break;
        }
        let mut next = vec![0.0; width];
        for row in rows.chunks_exact(width) {
            let along: f32 = row.iter().zip(&vector).map(|(x, v)| x * v / length).sum();
            for (next, x) in next.iter_mut().zip(row) {
                *next += along * x / count;
            }
        }
        value = next.iter().map(|v| v * v).sum::<f32>().sqrt();
        vector = next;
    }
    value * 1.1
}

fn width(train: &[f32], labels: &[usize]) -> usize {
    assert!(!labels.is_empty(), "no example");
    assert_eq!(train.len() % labels.len(), 0, "rows of one width");
    let width = train.len() / labels.len();
    assert!(width > 0, "rows without a value");
    width
}

fn classes(labels: &[usize]) -> usize {
    labels.iter().max().map_or(0, |last| last + 1)
}

fn rows(values: &[f32], width: usize) -> std::slice::ChunksExact<'_, f32> {
    assert_eq!(values.len() % width, 0, "rows of one width");
    values.chunks_exact(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mean_is_the_middle_of_a_class() {
        // Means are (1, 0) and (4, 4); class 1 has no example.
        let train = [0.0, 0.0, 2.0, 0.0, 4.0, 3.0, 4.0, 5.0];
        let test = [1.0, 1.0, 4.0, 3.0, 2.0, 1.0];
        let found = nearest_mean(&train, &[0, 0, 2, 2], &test);
        assert_eq!(found, [0, 2, 0]);
        assert_eq!(accuracy(&found, &[0, 2, 2]), 2.0 / 3.0);
    }

    #[test]
    fn logistic_regression_finds_the_least_loss() {
        // One value of -1 or 1, right three times out of four. By symmetry the weights are -w and w without biases,
        // and the loss ln(1 + e^-2w) * 3/4 + ln(1 + e^2w) / 4 + PENALTY w² is least where
        // sigmoid(2w) = 3/4 - PENALTY w.
        let train = [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0];
        let labels = [0, 0, 0, 1, 1, 1, 1, 0];
        let model = LogisticRegression::fit(&train, &labels);
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..40 {
            let w: f32 = (low + high) / 2.0;
            if 1.0 / (1.0 + (-2.0 * w).exp()) < 0.75 - LogisticRegression::PENALTY * w {
                low = w;
            } else {
                high = w;
            }
        }
        assert!(
            (model.weights[1] - low).abs() < 1e-4,
            "{model:?}, not {low}"
        );
        assert!(
            (model.weights[0] + low).abs() < 1e-4,
            "{model:?}, not -{low}"
        );
        let expected = 0.75 - LogisticRegression::PENALTY * low;
        let found = model.probabilities(&[1.0, -1.0]);
        assert!((found[1] - expected).abs() < 1e-4, "{found:?}");
        assert!((found[2] - expected).abs() < 1e-4, "{found:?}");
        assert_eq!(model.predict(&[0.5, -0.5]), [1, 0]);
    }

    #[test]
    fn a_value_that_never_varies_does_no_harm() {
        let train = [7.0, 0.0, 7.0, 1.0, 7.0, 2.0];
        let model = LogisticRegression::fit(&train, &[0, 1, 2]);
        assert_eq!(model.predict(&[9.0, -1.0, 9.0, 3.0]), [0, 2]);
    }
}
