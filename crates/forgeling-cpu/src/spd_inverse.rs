//! Inverses of symmetric positive definite matrices.

/// `[batch, n]`, the bits of NaN, and the first step and the end of the steps, as the shader's last binding. Here all steps
/// are taken at once.
pub type SpdInverseShape = [usize; 5];

/// `inverse[e] = a[e]^-1`, by Gauss-Jordan elimination in f64. A pivot that is not above f32's rounding beside the
/// diagonal, or is NaN, makes the whole matrix NaN.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn spd_inverse(a: &[f32], inverse: &mut [f32], shape: SpdInverseShape) {
    let [batch, n, ..] = shape;
    if n == 0 {
        return;
    }
    let mut work = vec![0.0f64; n * n];
    let mut pivot_row = vec![0.0f64; n];
    for matrix in 0..batch {
        let a = &a[matrix * n * n..][..n * n];
        for (to, from) in work.iter_mut().zip(a) {
            *to = f64::from(*from);
        }
        for k in 0..n {
            let pivot = work[k * n + k];
            let sound = pivot > f64::from(f32::EPSILON * a[k * n + k].abs());
            let factor = if sound { 1.0 / pivot } else { f64::NAN };
            pivot_row.copy_from_slice(&work[k * n..][..n]);
            pivot_row[k] = 1.0;
            for value in &mut pivot_row {
                *value *= factor;
            }
            for (row, values) in work.chunks_exact_mut(n).enumerate() {
                if row == k {
                    values.copy_from_slice(&pivot_row);
                    continue;
                }
                let in_column = values[k];
                values[k] = 0.0;
                for (value, pivot) in values.iter_mut().zip(&pivot_row) {
                    *value -= in_column * pivot;
                }
            }
        }
        for (to, from) in inverse[matrix * n * n..].iter_mut().zip(&work) {
            *to = *from as f32;
        }
    }
}
