//! Values to compute with, and what counts as the same result.

/// f32 on another device: sums in another order.
pub const F32_TOLERANCE: f32 = 1e-4;

/// Activations stored in f16 on one side or both: 11 bits.
pub const F16_TOLERANCE: f32 = 1e-2;

/// `|a - b| <= tolerance * max|b|` for every element.
///
/// # Panics
/// When the lengths differ, an element is too far off, or is not a number.
pub fn assert_close(name: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{name}: lengths differ");
    let scale = b
        .iter()
        .fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        let error = (a - b).abs() / scale;
        assert!(
            error <= tolerance,
            "{name}[{index}]: {a} instead of {b}, {error:e} of the largest value"
        );
    }
}

/// `count` values between -1 and 1 that look random and are the same everywhere; the script
/// `golden/protonet.py` makes the same ones.
pub fn waves(count: usize, phase: f64) -> Vec<f32> {
    (0..count).map(|i| wave(i, phase) as f32).collect()
}

/// One of [`waves`] in f64.
pub fn wave(index: usize, phase: f64) -> f64 {
    (index as f64 * 12.9898 + phase * 78.233).sin() * 0.6
        + (index as f64 * 0.37 + phase).cos() * 0.4
}
