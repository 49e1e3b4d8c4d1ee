//! Values as bytes.

/// How bytes stand for values: `scale (q - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    pub scale: f32,
    pub zero_point: u8,
}

/// The bytes nearest to values: `round(x (1 / scale)) + zero_point` within 0 and 255, halves to the even one. Says whether
/// there was NaN, which no byte stands for.
pub(super) fn round_to(x: &[f32], grid: Grid, bytes: &mut [u8]) -> bool {
    let mut nan = false;
    round(
        x,
        1.0 / grid.scale,
        f32::from(grid.zero_point),
        bytes,
        &mut nan,
    );
    nan
}

#[allow(
    clippy::manual_clamp,
    reason = "`max` makes a number of NaN, so that the conversion needs no test"
)]
#[macerator::with_simd]
fn round<S: macerator::Simd>(x: &[f32], inverse: f32, zero: f32, bytes: &mut [u8], nan: &mut bool) {
    let mut any = false;
    for (byte, x) in bytes.iter_mut().zip(x) {
        let q = (x * inverse).round_ties_even() + zero;
        // SAFETY: it is within 0 and 255.
        *byte = unsafe { q.max(0.0).min(255.0).to_int_unchecked::<i32>() } as u8;
        any |= x.is_nan();
    }
    *nan |= any;
}
