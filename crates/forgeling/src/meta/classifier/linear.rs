//! Linear classifiers of few examples with many features, in closed form.
//!
//! There are fewer examples than features, so that equations are solved for the examples, in a matrix `[examples, examples]`;
//! the results are those of `[features, features]`.

use forgeling_cpu::double::{add_products, cholesky, elements, solve};

use crate::error::{Error, Result};

const OPERATION: &str = "adapt";
/// Their matrix takes half a gibibyte.
const MOST_EXAMPLES: usize = 11_585;

/// `scores = W x + b`
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// `W`, a row for each class.
    pub weights: Vec<f32>,
    /// `b`
    pub biases: Vec<f32>,
}

impl Linear {
    /// One for each class, summed in f64.
    pub fn scores<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let weights = self.weights.chunks_exact(row.len().max(1));
        weights.zip(&self.biases).map(move |(weights, bias)| {
            let products = weights.iter().zip(row);
            let sum: f64 = products.map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            (sum + f64::from(*bias)) as f32
        })
    }

    /// Of weights and biases that are for features less a center.
    fn centered(weights: &[Vec<f64>], biases: &[f64], center: &[f64]) -> Self {
        let pairs = weights.iter().zip(biases);
        let biases = pairs.map(|(row, bias)| (bias - dot(row, center)) as f32);
        Self {
            biases: biases.collect(),
            weights: weights.iter().flatten().map(|&v| v as f32).collect(),
        }
    }
}

/// Linear discriminant analysis of classes that are equally likely: with the mean `m_c` of each class, the covariance `S` of
/// all examples about the means of their classes, and `p` features,
///
/// `score_c = w_c x - w_c m_c / 2`, `w_c = [(1 - r) S + r tr(S)/p I]^-1 m_c`,
///
/// where `S` has as many degrees of freedom as there are examples more than classes. `r` is the oracle approximating shrinkage
/// (Chen et al., *Shrinkage Algorithms for MMSE Covariance Estimation*, 2010, arXiv 0907.4698). Where no class has two
/// examples that differ, `S` is taken for the unit matrix: the nearest mean.
///
/// # Errors
/// When a feature is not finite, or there are too many examples.
pub(super) fn lda(classes: &[&[Vec<f32>]]) -> Result<Linear> {
    let sample = Sample::of(classes)?;
    let residuals = sample.columns(|class| &sample.means[class], |_| 1.0);
    let products = residuals.products();
    let freedom = sample.examples.saturating_sub(classes.len()).max(1) as f64;
    let (part, variance) = shrinkage(&products, sample.examples, freedom, sample.center.len());
    let deviations = sample
        .means
        .iter()
        .map(|mean| difference(mean, &sample.center));
    let deviations: Vec<Vec<f64>> = deviations.collect();
    // The covariance is `own R R^T + diagonal I` with an example in each column of `R`; Woodbury's identity inverts it.
    let (own, diagonal) = ((1.0 - part) / freedom, part * variance);
    let weights = if own > 0.0 {
        let sides = deviations.iter().flat_map(|row| residuals.across(row));
        let found = solved(products, sample.examples, diagonal / own, sides.collect())?;
        let pairs = deviations.iter().zip(found.chunks_exact(sample.examples));
        pairs
            .map(|(row, found)| difference(row, &residuals.along(found)))
            .collect()
    } else {
        deviations.clone()
    };
    let scaled = |row: &Vec<f64>| row.iter().map(|value| value / diagonal).collect();
    let weights: Vec<Vec<f64>> = weights.iter().map(scaled).collect();
    let pairs = weights.iter().zip(&deviations);
    let biases: Vec<f64> = pairs.map(|(w, d)| -0.5 * dot(w, d)).collect();
    Ok(Linear::centered(&weights, &biases, &sample.center))
}

/// The part of the unit matrix in the covariance, and what it is multiplied with there: the mean variance.
fn shrinkage(products: &[f64], examples: usize, freedom: f64, features: usize) -> (f64, f64) {
    let (mut trace, mut squares) = (0.0, 0.0);
    for row in 0..examples {
        let (diagonal, before) = (
            products[elements(row) + row],
            &products[elements(row)..][..row],
        );
        trace += diagonal / freedom;
        squares += (diagonal * diagonal + 2.0 * dot(before, before)) / (freedom * freedom);
    }
    let width = features as f64;
    if trace <= 0.0 {
        return (1.0, 1.0);
    }
    let above = (1.0 - 2.0 / width) * squares + trace * trace;
    let below = (freedom + 1.0 - 2.0 / width) * (squares - trace * trace / width);
    let part = if below > 0.0 {
        (above / below).min(1.0)
    } else {
        1.0
    };
    (part, trace / width)
}

/// Ridge regression on which class an example is of, each class with the same weight: `W` and `b` have the smallest
///
/// `sum_i a_i |W (x_i - m) + b - y_i|^2 + penalty s |W|^2`, `a_i = n / (C n_c)`,
///
/// where `y` is 1 for the example's class and 0 for the others, `m` the mean of the classes' means, and `s` the mean of
/// `a_i |x_i - m|^2`, so that the penalty has no unit.
///
/// # Errors
/// When a feature is not finite, or there are too many examples.
pub(super) fn ridge(classes: &[&[Vec<f32>]], penalty: f64) -> Result<Linear> {
    let sample = Sample::of(classes)?;
    let (count, ways) = (sample.examples as f64, classes.len() as f64);
    let weight = |class: usize| (count / (ways * classes[class].len() as f64)).sqrt();
    let columns = sample.columns(|_| &sample.center, weight);
    let products = columns.products();
    let squares: f64 = (0..sample.examples)
        .map(|row| products[elements(row) + row])
        .sum();
    let scale = if squares > 0.0 { squares / count } else { 1.0 };
    let sides = (0..classes.len()).flat_map(|class| {
        let of_class = move |other: usize| {
            let target = f64::from(u8::from(other == class)) - 1.0 / ways;
            std::iter::repeat_n(weight(other) * target, classes[other].len())
        };
        (0..classes.len()).flat_map(of_class)
    });
    let found = solved(products, sample.examples, penalty * scale, sides.collect())?;
    let found = found.chunks_exact(sample.examples);
    let weights: Vec<Vec<f64>> = found.map(|found| columns.along(found)).collect();
    let biases = vec![1.0 / ways; classes.len()];
    Ok(Linear::centered(&weights, &biases, &sample.center))
}

/// Examples of classes, and their means.
struct Sample<'a> {
    classes: &'a [&'a [Vec<f32>]],
    examples: usize,
    means: Vec<Vec<f64>>,
    /// The mean of the classes' means.
    center: Vec<f64>,
}

impl<'a> Sample<'a> {
    fn of(classes: &'a [&'a [Vec<f32>]]) -> Result<Self> {
        let examples = classes.iter().map(|examples| examples.len()).sum();
        if examples > MOST_EXAMPLES {
            return Err(
                Error::invalid(OPERATION, "too many examples to compute with at once")
                    .expected(format!("at most {MOST_EXAMPLES}, or the adaptation head"))
                    .got(examples),
            );
        }
        let wide = |row: &Vec<f32>| row.iter().copied().map(f64::from).collect();
        let of_class = |examples: &&[Vec<f32>]| mean(examples.iter().map(wide));
        let means: Vec<Vec<f64>> = classes.iter().map(of_class).collect();
        Ok(Self {
            center: mean(means.iter().cloned()),
            classes,
            examples,
            means,
        })
    }

    /// A column for each example: what it is more than `from` says of its class, times a weight of its class.
    fn columns<'b>(
        &self,
        from: impl Fn(usize) -> &'b Vec<f64>,
        weight: impl Fn(usize) -> f64,
    ) -> Columns {
        let mut values = vec![0.0; self.center.len() * self.examples];
        let numbered = self.classes.iter().enumerate();
        let examples = numbered.flat_map(|(class, rows)| rows.iter().map(move |row| (class, row)));
        for (column, (class, example)) in examples.enumerate() {
            let (from, weight) = (from(class), weight(class));
            for (feature, (&value, from)) in example.iter().zip(from).enumerate() {
                values[feature * self.examples + column] = weight * (f64::from(value) - from);
            }
        }
        Columns {
            values,
            count: self.examples,
        }
    }
}

/// `[features, count]`
struct Columns {
    values: Vec<f64>,
    count: usize,
}

impl Columns {
    /// The scalar product of each column with each, a triangle.
    fn products(&self) -> Vec<f64> {
        let mut products = vec![0.0; elements(self.count)];
        add_products(&self.values, self.count, &mut products);
        products
    }

    /// The columns, times a number each, added up.
    fn along(&self, numbers: &[f64]) -> Vec<f64> {
        let rows = self.values.chunks_exact(self.count);
        rows.map(|row| dot(row, numbers)).collect()
    }

    /// The scalar product of each column with a vector.
    fn across(&self, vector: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.count];
        for (row, factor) in self.values.chunks_exact(self.count).zip(vector) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += factor * value;
            }
        }
        sums
    }
}

/// `(matrix + diagonal I)^-1` times vectors.
fn solved(
    mut matrix: Vec<f64>,
    width: usize,
    diagonal: f64,
    mut vectors: Vec<f64>,
) -> Result<Vec<f64>> {
    (0..width).for_each(|row| matrix[elements(row) + row] += diagonal);
    if !cholesky(&mut matrix, width) {
        return Err(Error::bad_data(
            OPERATION,
            "the features are too large or not finite",
        ));
    }
    solve(&matrix, width, &mut vectors);
    Ok(vectors)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn mean(rows: impl ExactSizeIterator<Item = Vec<f64>>) -> Vec<f64> {
    let count = rows.len() as f64;
    let sum = rows.reduce(|mut sum, row| {
        sum.iter_mut()
            .zip(row)
            .for_each(|(sum, value)| *sum += value);
        sum
    });
    let sum = sum.unwrap_or_default().into_iter();
    sum.map(|sum| sum / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rng;

    const FEATURES: usize = 7;

    /// Three classes of unequal size about means of their own; the features depend on each other.
    fn classes(sizes: [usize; 3]) -> Vec<Vec<Vec<f32>>> {
        let mut rng = Rng::new(5);
        let of_class = |(class, size): (usize, usize)| {
            let example = |_| {
                let shared = rng.normal();
                let value = |feature: usize| {
                    let own = 0.5 * rng.normal() + shared * (feature as f32 - 3.0) / 4.0;
                    own + f32::from(u8::from(feature % 3 == class)) + 2.0
                };
                (0..FEATURES).map(value).collect()
            };
            (0..size).map(example).collect()
        };
        sizes.into_iter().enumerate().map(of_class).collect()
    }

    fn borrowed(classes: &[Vec<Vec<f32>>]) -> Vec<&[Vec<f32>]> {
        classes.iter().map(Vec::as_slice).collect()
    }

    /// What the equations of the documentation demand, written down feature by feature.
    #[test]
    fn discriminants_solve_their_equations() {
        let classes = classes([20, 12, 16]);
        let found = lda(&borrowed(&classes)).unwrap();
        let wide = |row: &Vec<f32>| -> Vec<f64> { row.iter().copied().map(f64::from).collect() };
        let means: Vec<Vec<f64>> = classes
            .iter()
            .map(|rows| mean(rows.iter().map(wide)))
            .collect();
        let mut covariance = [[0.0; FEATURES]; FEATURES];
        for (rows, mean) in classes.iter().zip(&means) {
            for row in rows {
                let off = difference(&wide(row), mean);
                for (i, line) in covariance.iter_mut().enumerate() {
                    let pairs = line.iter_mut().zip(&off);
                    pairs.for_each(|(value, other)| *value += off[i] * other / 45.0);
                }
            }
        }
        let trace: f64 = (0..FEATURES).map(|i| covariance[i][i]).sum();
        let squares: f64 = covariance.iter().flatten().map(|v| v * v).sum();
        let p = FEATURES as f64;
        let above = (1.0 - 2.0 / p) * squares + trace * trace;
        let part = above / ((46.0 - 2.0 / p) * (squares - trace * trace / p));
        assert!((0.05..0.95).contains(&part), "{part}");
        let scores: Vec<Vec<f32>> = (classes.iter().flatten())
            .map(|row| found.scores(row).collect())
            .collect();
        let weights: Vec<&[f32]> = found.weights.chunks_exact(FEATURES).collect();
        for class in 0..3 {
            // Scores are compared with each other, so that means may be taken from anywhere.
            let (own, other) = (weights[class], weights[(class + 1) % 3]);
            for (i, line) in covariance.iter().enumerate() {
                let shrunk = |j: usize| {
                    let unit = f64::from(u8::from(i == j)) * trace / p;
                    (1.0 - part) * line[j] + part * unit
                };
                let left: f64 = (0..FEATURES)
                    .map(|j| shrunk(j) * f64::from(own[j] - other[j]))
                    .sum();
                let right = means[class][i] - means[(class + 1) % 3][i];
                assert!((left - right).abs() < 1e-5, "{left} {right}");
            }
            // Halfway between two means nothing speaks for either.
            let halves = means[class].iter().zip(&means[(class + 1) % 3]);
            let middle: Vec<f32> = halves.map(|(a, b)| ((a + b) / 2.0) as f32).collect();
            let scores: Vec<f32> = found.scores(&middle).collect();
            assert!((scores[class] - scores[(class + 1) % 3]).abs() < 1e-4);
        }
        assert!(scores.iter().flatten().all(|score| score.is_finite()));
    }

    #[test]
    fn single_examples_are_nearest_means() {
        let classes = classes([1, 1, 1]);
        let found = lda(&borrowed(&classes)).unwrap();
        for (class, rows) in classes.iter().enumerate() {
            let scores: Vec<f32> = found.scores(&rows[0]).collect();
            for (other, rows_of_other) in classes.iter().enumerate() {
                let pairs = rows[0].iter().zip(&rows_of_other[0]);
                let squared: f32 = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
                let gap = scores[class] - scores[other];
                assert!((gap - squared / 2.0).abs() < 1e-4, "{gap} {squared}");
            }
        }
    }

    #[test]
    fn regressions_have_no_gradient_left() {
        let classes = classes([4, 2, 3]);
        let penalty = 0.3;
        let found = ridge(&borrowed(&classes), penalty).unwrap();
        let wide = |row: &Vec<f32>| -> Vec<f64> { row.iter().copied().map(f64::from).collect() };
        let means = classes.iter().map(|rows| mean(rows.iter().map(wide)));
        let center = mean(means.collect::<Vec<_>>().into_iter());
        let weighted = || {
            let numbered = classes.iter().enumerate();
            numbered.flat_map(|(class, rows)| {
                let weight = 9.0 / (3.0 * rows.len() as f64);
                rows.iter().map(move |row| (class, weight, row))
            })
        };
        let squares = weighted().map(|(_, weight, row)| {
            let off = difference(&wide(row), &center);
            weight * dot(&off, &off) / 9.0
        });
        let scale: f64 = squares.sum();
        for class in 0..3 {
            let own = &found.weights[class * FEATURES..][..FEATURES];
            let mut gradient: Vec<f64> = own
                .iter()
                .map(|&w| penalty * scale * f64::from(w))
                .collect();
            let mut of_bias = 0.0;
            for (label, weight, row) in weighted() {
                let score = f64::from(found.scores(row).nth(class).unwrap());
                let error = weight * (score - f64::from(u8::from(label == class)));
                of_bias += error;
                let off = difference(&wide(row), &center);
                gradient
                    .iter_mut()
                    .zip(off)
                    .for_each(|(g, x)| *g += error * x);
            }
            assert!(gradient.iter().all(|g| g.abs() < 1e-4), "{gradient:?}");
            assert!(of_bias.abs() < 1e-4, "{of_bias}");
        }
    }

    #[test]
    fn features_that_are_all_the_same_and_too_many_examples_are_no_panic() {
        let same = vec![vec![vec![0.5f32; 3]; 2]; 2];
        for found in [lda(&borrowed(&same)), ridge(&borrowed(&same), 1.0)] {
            let scores: Vec<f32> = found.unwrap().scores(&[0.5; 3]).collect();
            assert_eq!(scores[0], scores[1]);
        }
        let infinite = vec![vec![vec![f32::INFINITY; 3]; 2]; 2];
        assert!(ridge(&borrowed(&infinite), 1.0).unwrap_err().is_bad_input());
        let many = vec![vec![vec![0.0f32]; MOST_EXAMPLES + 1]];
        assert!(lda(&borrowed(&many)).unwrap_err().is_bad_input());
    }
}
