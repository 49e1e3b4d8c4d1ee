//! The Fourier transform of a frame.
//!
//! Crates for it choose their instructions by what the processor has, and so give other bits on other machines, and are
//! large for a web page. A frame has few values, so that the textbook's algorithm suffices.

use std::f64::consts::TAU;

/// Transforms of one size, a power of two: `X_k = sum_n x_n exp(-2 pi i n k / size)`, after Cooley and Tukey, *An Algorithm
/// for the Machine Calculation of Complex Fourier Series*, 1965.
#[derive(Debug, Clone)]
pub(super) struct Fourier {
    /// Cosine and sine of `2 pi k / size` for the first half of all k.
    turns: Vec<(f64, f64)>,
}

impl Fourier {
    pub fn new(size: usize) -> Self {
        debug_assert!(size.is_power_of_two());
        let turn = |k: usize| {
            let angle = TAU * k as f64 / size as f64;
            (libm::cos(angle), libm::sin(angle))
        };
        Self {
            turns: (0..size / 2).map(turn).collect(),
        }
    }

    /// Transforms real and imaginary parts in place. Both are as long as the transform.
    pub fn run(&self, real: &mut [f64], imaginary: &mut [f64]) {
        let size = real.len();
        let bits = size.trailing_zeros();
        for place in 1..size {
            let other = place.reverse_bits() >> (usize::BITS - bits);
            if place < other {
                real.swap(place, other);
                imaginary.swap(place, other);
            }
        }
        let mut half = 1;
        while half < size {
            let stride = size / (2 * half);
            let pairs = real
                .chunks_exact_mut(2 * half)
                .zip(imaginary.chunks_exact_mut(2 * half));
            for (real, imaginary) in pairs {
                let (upper, lower) = real.split_at_mut(half);
                let (upper_i, lower_i) = imaginary.split_at_mut(half);
                for k in 0..half {
                    let (cosine, sine) = self.turns[k * stride];
                    let turned = lower[k] * cosine + lower_i[k] * sine;
                    let turned_i = lower_i[k] * cosine - lower[k] * sine;
                    (lower[k], lower_i[k]) = (upper[k] - turned, upper_i[k] - turned_i);
                    (upper[k], upper_i[k]) = (upper[k] + turned, upper_i[k] + turned_i);
                }
            }
            half *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transform_is_its_sum() {
        for size in [2, 8, 32] {
            let value = |n: usize, phase: f64| libm::sin(n as f64 * 1.7 + phase);
            let real: Vec<f64> = (0..size).map(|n| value(n, 0.3)).collect();
            let imaginary: Vec<f64> = (0..size).map(|n| value(n, 2.0)).collect();
            let (mut x, mut y) = (real.clone(), imaginary.clone());
            Fourier::new(size).run(&mut x, &mut y);
            for k in 0..size {
                let (mut sum, mut sum_i) = (0.0, 0.0);
                for n in 0..size {
                    let angle = -TAU * (n * k) as f64 / size as f64;
                    let (cosine, sine) = (libm::cos(angle), libm::sin(angle));
                    sum += real[n] * cosine - imaginary[n] * sine;
                    sum_i += real[n] * sine + imaginary[n] * cosine;
                }
                assert!((x[k] - sum).abs() < 1e-12 && (y[k] - sum_i).abs() < 1e-12);
            }
        }
    }
}
