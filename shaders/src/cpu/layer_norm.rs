//! Normalisation of rows.

use crate::PART;

/// Rows, width and the bits of epsilon, as the shaders' last binding.
pub type LayerNormShape = [usize; 3];

/// `y[r, c] = gamma[c] (x[r, c] - mean[r]) inverse[r] + beta[c]` with `inverse = 1 / sqrt(variance + epsilon)`;
/// `statistics` gets mean and inverse of each row.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn layer_norm(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [f32],
    statistics: &mut [f32],
    shape: LayerNormShape,
) {
    let [rows, width, bits] = shape;
    let epsilon = f32::from_bits(bits as u32);
    for row in 0..rows {
        let x = &x[row * width..][..width];
        let mean = x.iter().sum::<f32>() / width as f32;
        let squares: f32 = x.iter().map(|value| (value - mean) * (value - mean)).sum();
        let inverse = 1.0 / (squares / width as f32 + epsilon).sqrt();
        statistics[2 * row] = mean;
        statistics[2 * row + 1] = inverse;
        for (column, value) in x.iter().enumerate() {
            y[row * width + column] = (value - mean) * inverse * gamma[column] + beta[column];
        }
    }
}

/// The gradients of [`layer_norm`]: `dx`, and `parameters = [dgamma, dbeta]` in rows of a multiple of [`PART`].
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn layer_norm_backward(
    x: &[f32],
    gamma: &[f32],
    statistics: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    parameters: &mut [f32],
    shape: LayerNormShape,
) {
    let [rows, width, _] = shape;
    let second = width.next_multiple_of(PART);
    parameters[..second + width].fill(0.0);
    for row in 0..rows {
        let [mean, inverse] = [statistics[2 * row], statistics[2 * row + 1]];
        let cells = row * width..(row + 1) * width;
        let xhat: Vec<f32> = x[cells.clone()]
            .iter()
            .map(|value| (value - mean) * inverse)
            .collect();
        let dy = &dy[cells.clone()];
        let [mut along, mut sum] = [0.0; 2];
        for column in 0..width {
            let slope = dy[column] * gamma[column];
            along += slope * xhat[column];
            sum += slope;
            parameters[column] += dy[column] * xhat[column];
            parameters[second + column] += dy[column];
        }
        let [along, sum] = [along, sum].map(|total| total / width as f32);
        for (column, dx) in dx[cells].iter_mut().enumerate() {
            *dx = inverse * (dy[column] * gamma[column] - sum - xhat[column] * along);
        }
    }
}
