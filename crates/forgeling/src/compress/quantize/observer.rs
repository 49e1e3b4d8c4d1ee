//! What values a layer sees, and the range that is cut out of them.

use serde::{Deserialize, Serialize};

use super::OPERATION;
use crate::error::{Error, Result};

/// Parts of the range from the smallest to the largest value that are compared by their errors.
const PARTS: usize = 36;
const PART: f64 = 0.02;

/// How the range of activations is found, from batches; 0 is always within it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observer {
    /// From the smallest to the largest value.
    MinMax,
    /// The mean of the smallest and of the largest values of batches, that of each later batch counting
    /// `1 - momentum`.
    MovingAverage {
        /// From 0 up to and without 1; 0.9 is usual.
        momentum: f64,
    },
    /// Without the part of `1 - fraction` at either end, to a two-thousandth of the largest value.
    Percentile {
        /// Above 0.5, 1 at most; 0.9999 is usual.
        fraction: f64,
    },
    /// Of parts of the whole range, 1 to 0.3 of it, the one that rounds with the least sum of squared errors. The default.
    #[default]
    Mse,
}

impl Observer {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: &str, expected: &str, got: f64| {
            Err(Error::invalid(OPERATION, format!("{what} is out of range"))
                .expected(expected)
                .got(got))
        };
        match *self {
            Self::MovingAverage { momentum } if !(0.0..1.0).contains(&momentum) => {
                refuse("momentum", "0 up to and without 1", momentum)
            }
            Self::Percentile { fraction } if !(fraction > 0.5 && fraction <= 1.0) => {
                refuse("fraction", "above 0.5, at most 1", fraction)
            }
            _ => Ok(()),
        }
    }
}

/// What came by at one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed {
    /// The smallest and the largest value of each batch.
    ranges: Vec<[f32; 2]>,
    histogram: Histogram,
    /// The largest distance from 0 of each channel, where these lie side by side.
    pub largest: Vec<f32>,
}

/// How values become 8 bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affine {
    pub scale: f32,
    pub zero_point: u8,
}

impl Observed {
    /// Takes in the values of a batch, whose rows have so many channels.
    ///
    /// # Errors
    /// When there is none, or one is not finite; `place` is named.
    pub fn see(&mut self, values: &[f32], channels: usize, place: &str) -> Result<()> {
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            let message = format!("what '{place}' rounds holds a value that is not finite");
            return Err(Error::bad_data(OPERATION, message).got(bad));
        }
        let fold = |[low, high]: [f32; 2], value: &f32| [low.min(*value), high.max(*value)];
        let range = values.iter().fold([f32::INFINITY, f32::NEG_INFINITY], fold);
        if values.is_empty() {
            return Err(Error::bad_data(
                OPERATION,
                format!("'{place}' has no values"),
            ));
        }
        self.ranges.push(range);
        self.histogram.add(values, range[1].max(-range[0]));
        self.largest.resize(channels, 0.0);
        for row in values.chunks(channels) {
            for (largest, value) in self.largest.iter_mut().zip(row) {
                *largest = largest.max(value.abs());
            }
        }
        Ok(())
    }

    /// How these values become 8 bits.
    pub fn affine(&self, observer: Observer) -> Affine {
        let all = self.ranges.iter();
        let whole = all.fold([0.0f64; 2], |[low, high], range| {
            let [l, h] = range.map(f64::from);
            [low.min(l), high.max(h)]
        });
        match observer {
            Observer::MinMax => affine(whole),
            Observer::MovingAverage { momentum } => {
                let mut ranges = self.ranges.iter().map(|range| range.map(f64::from));
                let first = ranges.next().unwrap_or_default();
                affine(ranges.fold(first, |mean, range| {
                    [0, 1].map(|end| momentum * mean[end] + (1.0 - momentum) * range[end])
                }))
            }
            Observer::Percentile { fraction } => {
                affine([1.0 - fraction, fraction].map(|part| self.histogram.quantile(part)))
            }
            Observer::Mse => {
                let parts = (0..PARTS).map(|part| 1.0 - PART * part as f64);
                let candidates = parts.map(|part| affine(whole.map(|end| end * part)));
                let errors = candidates.map(|candidate| (self.error(candidate), candidate));
                let best = errors.min_by(|a, b| a.0.total_cmp(&b.0));
                best.map_or_else(|| affine(whole), |(_, candidate)| candidate)
            }
        }
    }

    /// The sum of squared errors.
    fn error(&self, affine: Affine) -> f64 {
        let levels = crate::ops::Levels::activations(affine.zero_point);
        let errors = self.histogram.counted().map(|(value, count)| {
            let rounded = levels.nearest(value, affine.scale) as f32 * affine.scale;
            count as f64 * f64::from(value - rounded).powi(2)
        });
        errors.sum()
    }
}

/// Places on either side of 0.
const SIDE: i32 = 2048;

/// How often values come, to a two-thousandth of a power of 2 that is no smaller than any. 0 has a place of its own.
#[derive(Debug, Clone, Default)]
struct Histogram {
    /// Of `-SIDE` to `SIDE` times the width; empty before there is a value that is not 0.
    counts: Vec<u64>,
    width: f32,
    zeros: u64,
}

impl Histogram {
    /// Counts values, of which none is further from 0 than `most`.
    fn add(&mut self, values: &[f32], most: f32) {
        if most < f32::MIN_POSITIVE * SIDE as f32 {
            self.zeros += values.len() as u64;
            return;
        }
        if self.counts.is_empty() {
            self.counts = vec![0; 2 * SIDE as usize + 1];
            self.width = f32::MIN_POSITIVE;
            while self.width * (SIDE as f32) < most {
                self.width *= 2.0;
            }
            self.counts[SIDE as usize] = std::mem::take(&mut self.zeros);
        }
        while self.width * (SIDE as f32) < most {
            self.widen();
        }
        let inverse = 1.0 / self.width;
        for value in values {
            let place = (value * inverse).round_ties_even() as i32 + SIDE;
            self.counts[place.clamp(0, 2 * SIDE) as usize] += 1;
        }
    }

    /// Makes places twice as wide.
    fn widen(&mut self) {
        let mut wider = vec![0; self.counts.len()];
        for (place, count) in self.counts.iter().enumerate() {
            let half = (place as i32 - SIDE) as f32 * 0.5;
            wider[(half.round_ties_even() as i32 + SIDE) as usize] += count;
        }
        self.counts = wider;
        self.width *= 2.0;
    }

    /// Values with how often they came, from the smallest on.
    fn counted(&self) -> impl Iterator<Item = (f32, u64)> {
        let places = (-SIDE..).zip(&self.counts);
        let all = places.map(|(place, count)| (place as f32 * self.width, *count));
        all.chain((self.zeros > 0).then_some((0.0, self.zeros)))
            .filter(|(_, count)| *count > 0)
    }

    /// The value below which this part of all lies.
    fn quantile(&self, part: f64) -> f64 {
        let all: u64 = self.counted().map(|(_, count)| count).sum();
        let wanted = part * all.saturating_sub(1) as f64;
        let mut before = 0;
        for (value, count) in self.counted() {
            before += count;
            if before as f64 > wanted {
                return f64::from(value);
            }
        }
        0.0
    }
}

/// 256 steps from the lower end to the upper one, moved so that 0 is one of them. A range of nothing has steps of 1.
fn affine([low, high]: [f64; 2]) -> Affine {
    let (low, high) = (low.min(0.0), high.max(0.0));
    let scale = ((high - low) / 255.0) as f32;
    if !scale.is_normal() {
        return Affine {
            scale: 1.0,
            zero_point: 0,
        };
    }
    Affine {
        scale,
        zero_point: (-low / f64::from(scale)).round().clamp(0.0, 255.0) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(batches: &[&[f32]]) -> Observed {
        let mut observed = Observed::default();
        for batch in batches {
            observed.see(batch, 1, "a").unwrap();
        }
        observed
    }

    #[test]
    fn ranges_are_those_of_their_definitions() {
        let seen = observed(&[&[-1.0, 0.5, 3.0], &[-2.0, 1.0]]);
        let found = seen.affine(Observer::MinMax);
        assert_eq!(found.scale, 5.0 / 255.0);
        assert_eq!(found.zero_point, 102);
        let found = seen.affine(Observer::MovingAverage { momentum: 0.75 });
        // -1.25 to 2.5
        assert_eq!(found.scale, 3.75 / 255.0);
        assert_eq!(found.zero_point, 85);
        let many: Vec<f32> = (0..=1000).map(|i| i as f32).collect();
        // 100 to 900, in places of a half, and 0.
        let found = observed(&[&many]).affine(Observer::Percentile { fraction: 0.9 });
        assert!(
            (found.scale - 900.0 / 255.0).abs() < 0.5 / 255.0,
            "{found:?}"
        );
        assert_eq!(found.zero_point, 0);
    }

    #[test]
    fn the_least_error_leaves_an_outlier_out() {
        // So many that one far off costs less than coarser steps for all.
        let mut values: Vec<f32> = (0..1_000_000).map(|i| i as f32 * 1e-6).collect();
        values.push(2.0);
        let seen = observed(&[&values]);
        let [mse, whole] = [Observer::Mse, Observer::MinMax].map(|by| seen.affine(by));
        assert!(mse.scale < 0.7 * whole.scale, "{mse:?} {whole:?}");
        assert!(seen.error(mse) < 0.8 * seen.error(whole));
    }

    #[test]
    fn places_grow_with_what_comes() {
        let small: Vec<f32> = (0..100).map(|i| i as f32 * 1e-3).collect();
        let mut histogram = Histogram::default();
        histogram.add(&[0.0; 5], 0.0);
        histogram.add(&small, 0.099);
        histogram.add(&[-70.0, 3.0], 70.0);
        let counted: Vec<(f32, u64)> = histogram.counted().collect();
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 107);
        assert!((counted[0].0 + 70.0).abs() < 0.05, "{counted:?}");
        let near = |value: f32| (value / histogram.width).fract() == 0.0;
        assert!(counted.iter().all(|(value, _)| near(*value)));
        assert!(
            counted
                .iter()
                .any(|(value, count)| *value == 0.0 && *count > 30)
        );
    }

    #[test]
    fn nothing_and_nan_are_told_apart() {
        let one = Affine {
            scale: 1.0,
            zero_point: 0,
        };
        for observer in [
            Observer::MinMax,
            Observer::Mse,
            Observer::Percentile { fraction: 0.99 },
            Observer::MovingAverage { momentum: 0.9 },
        ] {
            assert_eq!(observed(&[&[0.0; 7]]).affine(observer), one);
            // What is only positive or negative still has 0.
            let up = observed(&[&[2.0, 4.0]]).affine(observer);
            assert_eq!(up.zero_point, 0, "{observer:?}");
            let down = observed(&[&[-2.0, -4.0]]).affine(observer);
            assert_eq!(down.zero_point, 255, "{observer:?}");
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let error = Observed::default().see(&[1.0, bad], 1, "conv.scale");
            assert!(error.unwrap_err().to_string().contains("conv.scale"));
        }
        let wrong = [
            Observer::MovingAverage { momentum: 1.0 },
            Observer::Percentile { fraction: 0.5 },
            Observer::Percentile { fraction: f64::NAN },
        ];
        for observer in wrong {
            assert!(observer.validate().unwrap_err().is_bad_input());
        }
    }
}
