//! The exponential function as a plain expression, which the compiler turns into vectors.

/// `e^x` within 2e-7 of itself from -87 to 88; 0 below, and `e^88` above. NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.0;
    const HIGHEST: f32 = 88.0;
    // ln 2 in two parts, of which the first has so few bits that its multiples are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Added to a number, it leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // Comparisons that are false for NaN.
    let held = if x < LOWEST { LOWEST } else { x };
    let held = if held > HIGHEST { HIGHEST } else { held };
    let rounded = held * std::f32::consts::LOG2_E + ROUND;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    let twos = rounded - ROUND;
    let rest = held - twos * LN_2[0] - twos * LN_2[1];
    // Cephes, expf.
    let mut sum = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_66,
        0.5,
    ] {
        sum = sum * rest + coefficient;
    }
    let result = (sum * rest * rest + rest + 1.0) * power;
    if x < LOWEST { 0.0 } else { result }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn it_follows_the_standard_librarys() {
        for step in -8_700..=8_800 {
            let x = step as f32 / 100.0;
            let error = f64::from(exp(x)) / f64::from(x).exp() - 1.0;
            assert!(error.abs() < 2e-7, "e^{x}: {error:e}");
        }
        assert_eq!((exp(-100.0), exp(f32::NEG_INFINITY)), (0.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && exp(0.0) == 1.0);
    }
}
