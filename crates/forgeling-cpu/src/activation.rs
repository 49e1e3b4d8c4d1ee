//! Activations and their slopes, by number.

/// `grad_input[i] = grad[i] activation'(kept[i])`, where `kept` is the value before GELU, after ReLU.
pub fn activation_grad(kept: &[f32], grad: &[f32], grad_input: &mut [f32], activation: usize) {
    for ((out, kept), grad) in grad_input.iter_mut().zip(kept).zip(grad) {
        *out = match activation {
            1 if *kept <= 0.0 => 0.0,
            2 => grad * gelu_slope(*kept),
            _ => *grad,
        };
    }
}

/// Activations by number: 0 none, 1 ReLU, 2 GELU. NaN stays NaN.
pub fn activate(z: f32, activation: usize) -> f32 {
    match activation {
        1 if z <= 0.0 => 0.0,
        2 => z * normal(z),
        _ => z,
    }
}

/// The normal distribution's probability below `z`: Abramowitz and Stegun 7.1.26, within 1e-7.
fn normal(z: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * z.abs());
    let series = t
        * (0.254_829_6
            + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152 + t * 1.061_405_4))));
    let tail = 0.5 * series * (-0.5 * z * z).exp();
    if z < 0.0 { tail } else { 1.0 - tail }
}

fn gelu_slope(z: f32) -> f32 {
    normal(z) + z * 0.398_942_3 * (-0.5 * z * z).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the normal distribution from tables.
    #[test]
    fn gelu_has_its_known_values() {
        for (z, probability) in [(0.0, 0.5), (1.0, 0.841_344_7), (-2.0, 0.022_750_13)] {
            assert!((normal(z) - probability).abs() < 2e-7, "{z}");
            let step = 1e-2;
            let difference = (activate(z + step, 2) - activate(z - step, 2)) / (2.0 * step);
            assert!((gelu_slope(z) - difference).abs() < 1e-4, "{z}");
        }
        assert_eq!(activate(f32::INFINITY, 2), f32::INFINITY);
        assert!(activate(f32::NAN, 2).is_nan() && activate(f32::NAN, 1).is_nan());
    }
}
