//! Sums, and means and variances that do not cancel.

/// Sum and squared deviations from the own mean of some values.
#[derive(Clone, Copy, Default)]
pub struct Moments {
    pub count: f64,
    pub mean: f64,
    pub squares: f64,
}

impl Moments {
    /// Both together (Chan, Golub and LeVeque, 1979).
    pub fn and(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * other.count / count,
            squares: self.squares
                + other.squares
                + delta * delta * self.count * other.count / count,
        }
    }
}

/// Sums in sixteen lanes, which the compiler may keep in registers of any width.
#[inline(always)]
pub fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value);
        }
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    for &value in rest {
        total += term(value);
    }
    total
}

/// `sum a b` in the lanes of [`sum`].
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of_pairs(a, b, |a, b| a * b)
}

/// As [`sum`], with a term of two values. Several sums of the same values are best taken one after the other: of a loop
/// that takes two of them compilers made scalar code, seven times as slow.
#[inline(always)]
pub fn sum_of_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(a, b);
        }
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        total += term(a, b);
    }
    total
}

#[macerator::with_simd]
pub fn moments<S: macerator::Simd>(values: &[f32]) -> Moments {
    let count = values.len() as f64;
    let mean = (f64::from(sum(values, |v| v)) / count) as f32;
    let squares = sum(values, |v| (v - mean) * (v - mean));
    // The mean was rounded: take that out of the squares' sum and use the exact one.
    let exact = f64::from(mean) + f64::from(sum(values, |v| v - mean)) / count;
    Moments {
        count,
        mean: exact,
        squares: f64::from(squares) - count * (exact - f64::from(mean)).powi(2),
    }
}
