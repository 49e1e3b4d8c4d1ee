//! Whether an image is like those that are known.

use serde::{Deserialize, Serialize};

use crate::data::ImageShape;
use crate::error::{Error, Result};

const OPERATION: &str = "fit_typicality";
/// Numbers of each channel that [`picture_statistics`] gives.
const PER_CHANNEL: usize = 3;
/// So many examples' weight has what is expected of a deviation before any is seen.
const PRIOR: f64 = 4.0;
/// What is expected of the deviations of a mean of values in `0..=1`, and of logarithms.
const EXPECTED: [f64; PER_CHANNEL] = [0.1, 0.3, 0.3];
/// As of a logarithm of a distance.
const EXPECTED_STRANGENESS: f64 = 0.3;
/// Standard deviations from the mean at which an image is as probably known as unknown.
const MIDDLE: f64 = 3.5;
/// How suddenly.
const STEEPNESS: f64 = 3.0;
/// No deviation is smaller: half a grey level.
const LEAST: f64 = 0.5 / 255.0;

/// Mean and standard deviation of a number over known images, for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ordinary {
    /// Of the images.
    pub mean: f64,
    /// `s^2 = (1 + 1/n) (4 e^2 + sum (x - mean)^2) / (4 + n - 1)`: the variance of `n` images, to which 4 more with the expected
    /// deviation `e` are counted, and what the mean itself is uncertain by.
    pub deviation: f64,
}

impl Ordinary {
    fn of(values: impl Iterator<Item = f64> + Clone, expected: f64) -> Self {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let squares: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
        let variance = (PRIOR * expected * expected + squares) / (PRIOR + count - 1.0);
        let deviation = libm::sqrt((1.0 + 1.0 / count) * variance).max(LEAST);
        Self { mean, deviation }
    }

    /// Standard deviations above the mean.
    fn above(&self, value: f64) -> f64 {
        (value - self.mean) / self.deviation
    }

    fn validate(&self) -> Result<()> {
        if self.mean.is_finite() && self.deviation.is_finite() && self.deviation > 0.0 {
            return Ok(());
        }
        Err(
            Error::bad_data("check_confidence", "what is ordinary is out of range")
                .expected("a finite mean, and a positive deviation")
                .got(format!("{}, {}", self.mean, self.deviation)),
        )
    }
}

/// What known images are like, each number by itself.
///
/// An image is as strange as its strangest number: `z` is the largest of the standard deviations by which its strangeness
/// lies above the mean, and by which its [statistics](picture_statistics) lie above or below theirs. The probability that it
/// is known is `1 / (1 + exp(3 (z - 3.5)))`: 0.99 at 2, one half at 3.5, 0.01 at 5. A default, which has seen nothing, takes
/// everything for known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typicality {
    /// Of the strangeness, if there is one.
    pub strangeness: Option<Ordinary>,
    /// Of the statistics, in their order.
    pub statistics: Vec<Ordinary>,
}

impl Typicality {
    /// Of held-out images: how strange each is to what was made of the others, as the logarithm of a distance, and the
    /// [statistics](picture_statistics) of each. Either list may be empty, and they need not be of the same images.
    ///
    /// # Errors
    /// When a number is not finite, and when images have not the same number of statistics.
    pub fn fit(strangeness: &[f64], statistics: &[Vec<f64>]) -> Result<Self> {
        let width = statistics.first().map_or(0, Vec::len);
        if let Some(other) = statistics.iter().find(|row| row.len() != width) {
            let problem = Error::invalid(OPERATION, "images differ in their statistics");
            return Err(problem.expected(width).got(other.len()));
        }
        let all = strangeness.iter().chain(statistics.iter().flatten());
        if let Some(wrong) = all.clone().find(|value| !value.is_finite()) {
            return Err(Error::bad_data(OPERATION, "a number is not finite").got(wrong));
        }
        let strange = strangeness.iter().copied();
        let of_place = |place: usize| {
            let values = statistics.iter().map(move |row| row[place]);
            Ordinary::of(values, EXPECTED[place % PER_CHANNEL])
        };
        Ok(Self {
            strangeness: (!strangeness.is_empty())
                .then(|| Ordinary::of(strange, EXPECTED_STRANGENESS)),
            statistics: (0..width).map(of_place).collect(),
        })
    }

    /// The probability that an image is known, of its strangeness and its statistics.
    pub fn known(&self, strangeness: f64, statistics: &[f64]) -> f64 {
        let far = self.strangeness.map(|usual| usual.above(strangeness));
        let pairs = self.statistics.iter().zip(statistics);
        let unlike = pairs.map(|(usual, &value)| usual.above(value).abs());
        let strangest = unlike.chain(far).fold(0.0, f64::max);
        1.0 / (1.0 + libm::exp(STEEPNESS * (strangest - MIDDLE)))
    }

    pub(super) fn validate(&self, channels: usize) -> Result<()> {
        let expected = PER_CHANNEL * channels;
        if ![0, expected].contains(&self.statistics.len()) {
            let problem = Error::bad_data("check_confidence", "not the statistics of an image");
            return Err(problem.expected(expected).got(self.statistics.len()));
        }
        let all = self.strangeness.iter().chain(&self.statistics);
        all.clone().try_for_each(Ordinary::validate)
    }
}

/// What an image is like, whatever it shows: of each channel its mean `m`, `ln(s + 1/255)` of its standard deviation `s`, and
/// `ln((d + 1/255) / (s + 1/255))` of the mean difference `d` of two values beside or below each other. Noise has a `d` about
/// as large as `s`, a photograph or a drawing a smaller one.
///
/// ```
/// use forgeling::data::ImageShape;
/// use forgeling::train::picture_statistics;
///
/// let steps = [0.0, 0.0, 1.0, 1.0];
/// let found = picture_statistics(&steps, ImageShape::new(1, 1, 4));
/// assert_eq!(found[0], 0.5);
/// assert!((found[1] - 0.504f64.ln()).abs() < 1e-3);
/// assert!((found[2] - (0.337f64 / 0.504).ln()).abs() < 1e-3);
/// ```
pub fn picture_statistics(pixels: &[f32], shape: ImageShape) -> Vec<f64> {
    const LEVEL: f64 = 1.0 / 255.0;
    let ImageShape { height, width, .. } = shape;
    let planes = pixels.chunks_exact((height * width).max(1));
    let of_plane = |plane: &[f32]| {
        let count = plane.len() as f64;
        let mean = plane.iter().copied().map(f64::from).sum::<f64>() / count;
        let square = |&value: &f32| (f64::from(value) - mean) * (f64::from(value) - mean);
        let deviation = libm::sqrt(plane.iter().map(square).sum::<f64>() / count);
        let apart = |a: &f32, b: &f32| (f64::from(*a) - f64::from(*b)).abs();
        let rows = plane.chunks_exact(width);
        let beside = rows.flat_map(|row| row.windows(2).map(|pair| apart(&pair[0], &pair[1])));
        let below = plane.iter().zip(plane.iter().skip(width));
        let differences = beside.chain(below.map(|(a, b)| apart(a, b)));
        let (sum, pairs) = differences.fold((0.0, 0usize), |(sum, n), d| (sum + d, n + 1));
        let difference = sum / pairs.max(1) as f64;
        [
            mean,
            libm::log(deviation + LEVEL),
            libm::log((difference + LEVEL) / (deviation + LEVEL)),
        ]
    };
    planes.flat_map(of_plane).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_case_comes_out() {
        let statistics = [vec![0.1, -1.0, -1.5], vec![0.3, -1.0, -1.5]];
        let typicality = Typicality::fit(&[1.0, 2.0, 3.0], &statistics).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        // 4/3 (4 · 0.3² + 2) / (4 + 3 - 1), and 3/2 (4 · 0.1² + 2 · 0.1²) / (4 + 2 - 1).
        let strange = typicality.strangeness.unwrap();
        close(strange.mean, 2.0);
        close(strange.deviation.powi(2), 4.0 / 3.0 * 2.36 / 6.0);
        let mean = typicality.statistics[0];
        close(mean.mean, 0.2);
        close(mean.deviation.powi(2), 1.5 * 0.06 / 5.0);
        let known = |z: f64| 1.0 / (1.0 + (3.0 * (z - 3.5)).exp());
        // The strangest number counts.
        let found = typicality.known(2.0 + 3.0 * strange.deviation, &[0.2, -1.0, -1.5]);
        close(found, known(3.0));
        let below = 0.2 - 4.0 * mean.deviation;
        let found = typicality.known(2.0 + 3.0 * strange.deviation, &[below, -1.0, -1.5]);
        close(found, known(4.0));
        // Nothing can be too near.
        close(typicality.known(-50.0, &[0.2, -1.0, -1.5]), known(0.0));
        close(Typicality::default().known(9.0, &[]), known(0.0));
    }

    #[test]
    fn one_example_and_equal_ones_leave_room() {
        let one = Typicality::fit(&[0.0], &[]).unwrap();
        // Twice the variance that was expected.
        assert!((one.strangeness.unwrap().deviation.powi(2) - 0.18).abs() < 1e-12);
        let equal = Typicality::fit(&[0.0; 1_000_000], &[]).unwrap();
        assert!(equal.strangeness.unwrap().deviation >= LEAST);
        assert!(Typicality::fit(&[f64::NAN], &[]).is_err());
        assert!(Typicality::fit(&[], &[vec![0.0], vec![]]).is_err());
    }

    #[test]
    fn every_channel_has_statistics_of_its_own() {
        let shape = ImageShape::new(2, 2, 3);
        let checks = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let flat = [0.25; 6];
        let found = picture_statistics(&[checks, flat].concat(), shape);
        let level: f64 = 1.0 / 255.0;
        let expected = [
            0.5,
            (0.5 + level).ln(),
            ((1.0 + level) / (0.5 + level)).ln(),
            0.25,
            level.ln(),
            0.0,
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn numbers_of_a_file_are_checked() {
        let right = Typicality::fit(&[0.0, 1.0], &[vec![0.0; 3]]).unwrap();
        assert!(right.validate(1).is_ok() && Typicality::default().validate(1).is_ok());
        assert!(right.validate(3).unwrap_err().is_bad_input());
        let mut wrong = right.clone();
        wrong.statistics[1].deviation = 0.0;
        assert!(wrong.validate(1).unwrap_err().is_bad_input());
    }
}
