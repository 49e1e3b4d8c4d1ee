//! The twins of the optimizers' kernels, compiled for the instructions that the machine has.

use forgeling_shaders::cpu::{AdamFactors, SgdFactors, adam_update, sgd_update};

/// A step of Adam.
#[macerator::with_simd]
pub fn adam<S: macerator::Simd>(
    parameters: &mut [f32],
    gradients: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    factors: &AdamFactors,
) {
    adam_update(parameters, gradients, first, second, factors);
}

/// A step of gradient descent.
#[macerator::with_simd]
pub fn sgd<S: macerator::Simd>(
    parameters: &mut [f32],
    gradients: &[f32],
    velocity: &mut [f32],
    factors: &SgdFactors,
) {
    sgd_update(parameters, gradients, velocity, factors);
}

/// The sum of the squares of `scale * values`, in eight lanes, and whether they are all finite.
#[macerator::with_simd]
pub fn sum_of_squares<S: macerator::Simd>(values: &[f32], scale: f32) -> (f64, bool) {
    const INFINITY: u32 = f32::INFINITY.to_bits();
    let mut lanes = [0f64; 8];
    // Without its sign, a number's bits are less than those of infinity, and NaN's are more.
    let mut largest = [0u32; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for ((lane, largest), value) in lanes.iter_mut().zip(&mut largest).zip(chunk) {
            let value = scale * value;
            *lane += f64::from(value) * f64::from(value);
            *largest = (*largest).max(value.abs().to_bits());
        }
    }
    let mut sum: f64 = lanes.iter().sum();
    let mut finite = largest.iter().all(|bits| *bits < INFINITY);
    for value in rest {
        let value = scale * value;
        sum += f64::from(value) * f64::from(value);
        finite &= value.is_finite();
    }
    (sum, finite)
}
