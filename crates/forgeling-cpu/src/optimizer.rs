//! Steps of the optimizers, compiled for the instructions that the machine has.

/// What [`adam`] multiplies with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamFactors {
    /// Gradients are multiplied with the first, then with the second.
    pub scales: [f32; 2],
    /// What a parameter keeps.
    pub keep: f32,
    /// The learning rate over `1 - beta1^t`.
    pub step: f32,
    /// The root of `1 - beta2^t`.
    pub root: f32,
    /// `beta1` and `1 - beta1`.
    pub beta1: [f32; 2],
    /// `beta2` and `1 - beta2`.
    pub beta2: [f32; 2],
    /// Added to the root.
    pub epsilon: f32,
}

/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`, `p = keep p - step m / (sqrt(v) / root + epsilon)`
#[macerator::with_simd]
pub fn adam<S: macerator::Simd>(
    parameters: &mut [f32],
    gradients: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    factors: &AdamFactors,
) {
    let f = *factors;
    let moments = first.iter_mut().zip(second);
    for ((p, g), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
        let g = f.scales[1] * (f.scales[0] * g);
        *m = f.beta1[0] * *m + f.beta1[1] * g;
        *v = f.beta2[0] * *v + f.beta2[1] * g * g;
        *p = f.keep * *p - f.step * *m / (v.sqrt() / f.root + f.epsilon);
    }
}

/// What [`sgd`] multiplies with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdFactors {
    /// Gradients are multiplied with the first, then with the second.
    pub scales: [f32; 2],
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
    pub momentum: f32,
    /// Whether to look ahead.
    pub nesterov: bool,
}

/// `g = gradient + decay p`, `v = momentum v + g`, `p -= rate (nesterov ? g + momentum v : v)`; without a velocity,
/// which is then empty, `p -= rate g`.
#[macerator::with_simd]
pub fn sgd<S: macerator::Simd>(
    parameters: &mut [f32],
    gradients: &[f32],
    velocity: &mut [f32],
    factors: &SgdFactors,
) {
    let f = *factors;
    let scaled = |p: f32, g: f32| f.scales[1] * (f.scales[0] * g) + f.decay * p;
    if velocity.is_empty() {
        for (p, g) in parameters.iter_mut().zip(gradients) {
            *p -= f.rate * scaled(*p, *g);
        }
        return;
    }
    for ((p, g), v) in parameters.iter_mut().zip(gradients).zip(velocity) {
        let g = scaled(*p, *g);
        *v = f.momentum * *v + g;
        let direction = if f.nesterov { g + f.momentum * *v } else { *v };
        *p -= f.rate * direction;
    }
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
