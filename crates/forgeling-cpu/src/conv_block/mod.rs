//! Convolution, batch norm, ReLU and pooling as one implementation.

mod backward;
mod forward;

pub use backward::{Block, backward};
pub use forward::{Forward, forward, forward_packed, forward_with};

pub use super::block_shape::BlockShape;

use forgeling_shaders::epsilon::EPSILON;

/// Scale and shift of each channel, `y = scale * convolved + shift`, from `[mean.., variance..]`.
pub fn affine(gamma: &[f32], beta: &[f32], statistics: &[f32]) -> Vec<[f32; 2]> {
    let (means, variances) = statistics.split_at(gamma.len());
    let moments = means.iter().zip(variances);
    gamma
        .iter()
        .zip(beta)
        .zip(moments)
        .map(|((&gamma, &beta), (&mean, &variance))| {
            let scale = f64::from(gamma) / (f64::from(variance) + EPSILON).sqrt();
            [
                scale as f32,
                (f64::from(beta) - f64::from(mean) * scale) as f32,
            ]
        })
        .collect()
}
