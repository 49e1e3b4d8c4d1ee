//! Sounds at another rate.

use std::f64::consts::PI;

use crate::error::{Error, Result};

const OPERATION: &str = "resample";

/// Zero crossings of the sinc on each side.
const CROSSINGS: f64 = 16.0;
/// Where the filter begins to let through less, as a part of the lower one of the two rates' halves.
const PASS: f64 = 0.95;
/// Weights of a table, at most: 64 MB. Only rates that share no factor with the usual ones need more.
const MAX_WEIGHTS: usize = 1 << 23;

/// From one rate to another, by a sinc in a Hann window:
///
/// ```text
/// y_m = sum_k x_k h(m from / to - k),  h(t) = c sinc(c t) (1 + cos(pi c t / 16)) / 2 for |c t| < 16,  c = 0.95 min(1, to / from)
/// ```
///
/// Weights of each `y` are scaled to sum to 1. Beyond its ends a sound is silent.
pub(super) struct Resampler {
    pub from: u32,
    pub to: u32,
    /// Both without common factors.
    ratio: (usize, usize),
    /// Samples before and after.
    reach: usize,
    /// The weights of each phase, one after the other.
    weights: Vec<f64>,
}

impl Resampler {
    /// # Errors
    /// When the rates need too large a table.
    pub fn new(from: u32, to: u32) -> Result<Self> {
        let common = greatest_common_divisor(from, to).max(1);
        let (up, down) = ((to / common) as usize, (from / common) as usize);
        let cutoff = PASS * (f64::from(to) / f64::from(from)).min(1.0);
        let reach = (CROSSINGS / cutoff).ceil() as usize;
        let taps = 2 * reach + 1;
        if up.saturating_mul(taps) > MAX_WEIGHTS {
            return Err(
                Error::bad_data(OPERATION, "the rate is too odd to be changed")
                    .expected(format!("one with factors of {to}"))
                    .got(from),
            );
        }
        let mut weights = Vec::with_capacity(up * taps);
        for phase in 0..up {
            let offset = phase as f64 / up as f64;
            let weight = |tap: usize| {
                let t = cutoff * (offset + reach as f64 - tap as f64);
                if t.abs() >= CROSSINGS {
                    return 0.0;
                }
                let sinc = match t {
                    0.0 => 1.0,
                    _ => libm::sin(PI * t) / (PI * t),
                };
                sinc * (0.5 + 0.5 * libm::cos(PI * t / CROSSINGS))
            };
            let first = weights.len();
            weights.extend((0..taps).map(weight));
            let sum: f64 = weights[first..].iter().sum();
            weights[first..]
                .iter_mut()
                .for_each(|weight| *weight /= sum);
        }
        Ok(Self {
            from,
            to,
            ratio: (up, down),
            reach,
            weights,
        })
    }

    /// How many samples it takes to give so many, with what the filter looks at on both sides.
    pub fn needed(&self, samples: usize) -> usize {
        let (up, down) = self.ratio;
        samples.saturating_mul(down).div_ceil(up) + 2 * (self.reach + 1)
    }

    /// The sound at the other rate.
    pub fn run(&self, samples: &[f32]) -> Vec<f32> {
        let (up, down) = self.ratio;
        let count = samples.len().saturating_mul(up) / down;
        let taps = 2 * self.reach + 1;
        let value = |place: usize| {
            let (whole, phase) = (place * down / up, place * down % up);
            let weights = &self.weights[phase * taps..(phase + 1) * taps];
            // The first tap is `reach` samples before.
            let skipped = self.reach.saturating_sub(whole);
            let first = whole.saturating_sub(self.reach);
            let pairs = weights.iter().skip(skipped).zip(samples.iter().skip(first));
            let products = pairs.map(|(weight, &sample)| weight * f64::from(sample));
            products.sum::<f64>() as f32
        };
        (0..count).map(value).collect()
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f64, rate: u32, samples: usize) -> Vec<f32> {
        let step = 2.0 * PI * frequency / f64::from(rate);
        (0..samples)
            .map(|n| libm::sin(step * n as f64) as f32)
            .collect()
    }

    #[test]
    fn tones_stay_and_what_the_rate_cannot_hold_goes() {
        for from in [8000, 11_025, 22_050, 44_100, 48_000] {
            let resampler = Resampler::new(from, 16_000).unwrap();
            let second = from as usize;
            let found = resampler.run(&tone(1234.0, from, second));
            assert_eq!(found.len(), 16_000);
            let expected = tone(1234.0, 16_000, 16_000);
            let inside = found.iter().zip(&expected).skip(100).take(15_800);
            let error = inside.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error < 2e-3, "{from}: {error}");
            if from > 22_050 {
                let above = resampler.run(&tone(9000.0, from, second));
                let loudest = above[100..15_900].iter().copied().fold(0.0, f32::max);
                assert!(loudest < 0.01, "{from}: {loudest}");
            }
            let level = resampler.run(&vec![0.5; second]);
            assert!(
                level[200..15_800]
                    .iter()
                    .all(|value| (value - 0.5).abs() < 1e-6)
            );
        }
        assert!(Resampler::new(383_999, 16_000).is_err());
    }
}
