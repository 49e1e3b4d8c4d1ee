//! Temperature scaling.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const OPERATION: &str = "fit_temperature";
/// Half the width of the prior, of the logarithm.
const PRIOR: f64 = 0.5;
/// The logarithm of a temperature lies within this of 0.
const MOST_LOG: f64 = 12.0;

/// What logits are divided by: `p = softmax(logits / T)`. Guo et al., *On Calibration of Modern Neural Networks*, 2017 (arXiv
/// 1706.04599).
///
/// Of `n` held-out examples with the logits `z`, the class `y` and the largest logit `z_r` of another class, `T` minimises
///
/// `sum_i [ln sum_k exp(z_ik / T) - ((1 - e) z_iy + e z_ir) / T] + ln(1 + (2 ln T)^2)`, `e = 1 / (n + 2)`
///
/// That is the paper's likelihood with two additions for few examples. As in Platt's scaling (*Probabilistic Outputs for
/// Support Vector Machines*, 1999) a part `e` of each example counts as an error, because `n` right answers do not show that
/// there are no wrong ones. And a Cauchy prior keeps `T` near 1 unless the examples clearly say otherwise, and finite where
/// logits say nothing: what 25 examples alone say is off by a third.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// `T`, a positive number. Default 1.
    pub value: f64,
    /// How many held-out examples it was fitted on. Default 0, of which follows a `T` of 1.
    pub examples: usize,
}

impl Default for Temperature {
    fn default() -> Self {
        Self {
            value: 1.0,
            examples: 0,
        }
    }
}

impl Temperature {
    /// The temperature of logits `[examples, classes]`, one label for each row. Without examples, or with one class, it is 1.
    ///
    /// # Errors
    /// When there is not one row for each label, when a label is no class, or a logit is not finite.
    pub fn fit(logits: &[f32], labels: &[usize]) -> Result<Self> {
        let examples = labels.len();
        if examples == 0 && logits.is_empty() {
            return Ok(Self::default());
        }
        if examples == 0 || logits.is_empty() || !logits.len().is_multiple_of(examples) {
            return Err(Error::invalid(OPERATION, "not one row for each label")
                .expected(format!("a multiple of {examples} logits"))
                .got(logits.len()));
        }
        let classes = logits.len() / examples;
        if let Some(label) = labels.iter().find(|&&label| label >= classes) {
            return Err(Error::invalid(OPERATION, "a label is no class")
                .expected(format!("below {classes}"))
                .got(label));
        }
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(Error::bad_data(OPERATION, "a logit is not finite"));
        }
        if classes == 1 {
            return Ok(Self {
                value: 1.0,
                examples,
            });
        }
        let rows: Vec<Row> = logits
            .chunks_exact(classes)
            .zip(labels)
            .map(|(row, &label)| Row::new(row, label, examples))
            .collect();
        let cost = |log: f64| cost(&rows, log);
        Ok(Self {
            value: libm::exp(least(cost)),
            examples,
        })
    }

    /// `softmax(logits / T)`.
    pub fn softmax(&self, logits: &[f32]) -> Vec<f64> {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let below = logits
            .iter()
            .map(|&logit| f64::from(logit) - f64::from(largest));
        let powers: Vec<f64> = below.map(|below| libm::exp(below / self.value)).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.value.is_finite() && self.value > 0.0 {
            return Ok(());
        }
        Err(
            Error::bad_data("check_confidence", "the temperature is out of range")
                .expected("a positive number")
                .got(self.value),
        )
    }
}

/// Logits of an example, less the largest.
struct Row {
    logits: Vec<f64>,
    /// The mean logit of what counts as its class.
    target: f64,
}

impl Row {
    fn new(row: &[f32], label: usize, examples: usize) -> Self {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let below = |&logit: &f32| f64::from(logit) - f64::from(largest);
        let others = row.iter().enumerate().filter(|(class, _)| *class != label);
        let rival = others.map(|(_, logit)| below(logit));
        let rival = rival.fold(f64::NEG_INFINITY, f64::max);
        let wrong = 1.0 / (examples as f64 + 2.0);
        Self {
            logits: row.iter().map(below).collect(),
            target: (1.0 - wrong) * below(&row[label]) + wrong * rival,
        }
    }
}

/// What is minimised, at a logarithm of the temperature.
fn cost(rows: &[Row], log: f64) -> f64 {
    let inverse = libm::exp(-log);
    let of_row = |row: &Row| {
        let powers = row.logits.iter().map(|below| libm::exp(below * inverse));
        libm::log(powers.sum::<f64>()) - row.target * inverse
    };
    rows.iter().map(of_row).sum::<f64>() + libm::log1p((log / PRIOR).powi(2))
}

/// Where a cost is least: the best of a coarse grid, which several minima do not mislead, then a golden-section search about
/// it.
fn least(cost: impl Fn(f64) -> f64) -> f64 {
    const STEP: f64 = 0.25;
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let places = (MOST_LOG / STEP) as i32;
    let grid = (-places..=places).map(|place| f64::from(place) * STEP);
    let best = grid
        .map(|log| (log, cost(log)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let middle = best.map_or(0.0, |best| best.0);
    let (mut low, mut high) = (middle - STEP, middle + STEP);
    // Each round leaves 0.618 of the interval; a logarithm is then known to 1e-8, where a cost is flat in f64.
    for _ in 0..37 {
        let [left, right] = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)];
        if cost(left) < cost(right) {
            high = right;
        } else {
            low = left;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rng;

    /// The documented formula, written out for one temperature.
    fn documented(logits: &[f32], labels: &[usize], temperature: f64) -> f64 {
        let classes = logits.len() / labels.len();
        let wrong = 1.0 / (labels.len() as f64 + 2.0);
        let mut sum = (1.0 + (2.0 * temperature.ln()).powi(2)).ln();
        for (row, &label) in logits.chunks(classes).zip(labels) {
            let z: Vec<f64> = row.iter().map(|&z| f64::from(z) / temperature).collect();
            let rival = (0..classes).filter(|&k| k != label).map(|k| z[k]);
            let rival = rival.fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = z.iter().map(|z| z.exp()).sum();
            sum += total.ln() - (1.0 - wrong) * z[label] - wrong * rival;
        }
        sum
    }

    /// Labels drawn from `softmax(logits / temperature)`.
    fn drawn(examples: usize, classes: usize, temperature: f64) -> (Vec<f32>, Vec<usize>) {
        let mut rng = Rng::new(3);
        let logits: Vec<f32> = (0..examples * classes)
            .map(|_| 4.0 * rng.normal())
            .collect();
        let truth = Temperature {
            value: temperature,
            examples: 0,
        };
        let labels = logits.chunks(classes).map(|row| {
            let mut rest = rng.unit_f64();
            let likely = truth.softmax(row);
            let found = likely.iter().position(|p| {
                rest -= p;
                rest < 0.0
            });
            found.unwrap_or(classes - 1)
        });
        let labels = labels.collect();
        (logits, labels)
    }

    #[test]
    fn the_fit_is_the_best_of_a_fine_grid() {
        for (examples, classes, truth) in [(7, 5, 1.0), (25, 5, 3.0), (40, 2, 0.5), (300, 10, 2.0)]
        {
            let (logits, labels) = drawn(examples, classes, truth);
            let found = Temperature::fit(&logits, &labels).unwrap();
            assert_eq!(found.examples, examples);
            let grid = (-4000..=4000).map(|place| (f64::from(place) / 1000.0).exp());
            let best = grid
                .map(|t| (t, documented(&logits, &labels, t)))
                .min_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap();
            assert!(
                (found.value / best.0).ln().abs() < 1.5e-3,
                "{found:?} {best:?}"
            );
        }
    }

    #[test]
    fn many_examples_give_the_temperature_they_were_drawn_with() {
        for truth in [0.3, 1.0, 4.0] {
            let (logits, labels) = drawn(4000, 5, truth);
            let found = Temperature::fit(&logits, &labels).unwrap().value;
            assert!((found / truth).ln().abs() < 0.1, "{truth}: {found}");
        }
    }

    #[test]
    fn few_examples_do_not_make_certain() {
        // All right, by a margin of 3 each: the paper's likelihood alone would have T = 0.
        let logits = [[3.0f32, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]].concat();
        let found = Temperature::fit(&logits, &[0, 1, 2]).unwrap();
        let sure = found.softmax(&logits[..3])[0];
        assert!((0.6..0.95).contains(&sure), "{found:?}: {sure}");
        // All wrong, or nothing said at all: high, but finite.
        let wrong = Temperature::fit(&logits, &[1, 2, 0]).unwrap();
        assert!(wrong.value > 1.5 && wrong.value < 10.0, "{wrong:?}");
        let nothing = Temperature::fit(&[0.5; 6], &[1, 0]).unwrap();
        assert!((nothing.value - 1.0).abs() < 1e-6, "{nothing:?}");
        // Tiny and huge logits alike.
        for scale in [1e-4f32, 1e3] {
            let (logits, labels) = drawn(200, 4, 1.0);
            let scaled: Vec<f32> = logits.iter().map(|z| z * scale).collect();
            let found = Temperature::fit(&scaled, &labels).unwrap().value;
            let expected = f64::from(scale);
            assert!((found / expected).ln().abs() < 0.5, "{scale}: {found}");
        }
        assert_eq!(Temperature::fit(&[], &[]).unwrap(), Temperature::default());
        assert_eq!(Temperature::fit(&[7.0, 1.0], &[0, 0]).unwrap().value, 1.0);
    }

    #[test]
    fn rows_that_do_not_fit_are_errors() {
        for (logits, labels) in [
            (&[1.0f32, 2.0, 3.0][..], &[0, 1][..]),
            (&[1.0, 2.0], &[2]),
            (&[1.0, 2.0], &[]),
            (&[], &[0]),
            (&[1.0, f32::NAN], &[0]),
        ] {
            let error = Temperature::fit(logits, labels).unwrap_err();
            assert!(error.is_bad_input(), "{error}");
        }
    }
}
