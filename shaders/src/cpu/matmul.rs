//! Twins of the matrix products: plain loops, to be compared with.

/// Sizes of a product of `[batch, rows, inner]` and `[batch, inner, columns]`, as the shaders' last binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulShape {
    /// Products side by side.
    pub batch: usize,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// What is summed over.
    pub inner: usize,
    /// Parts into which the sum is split; each is written to a section of its own.
    pub splits: usize,
    /// From one section to the next.
    pub section: usize,
}

/// What a product ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulEnd {
    /// 0 none, 1 ReLU, 2 GELU.
    pub activation: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether the value before the activation is kept.
    pub keep: bool,
}

impl MatmulShape {
    /// The part of `steps` that a split sums.
    fn part(self, split: usize, steps: usize) -> std::ops::Range<usize> {
        let share = steps.div_ceil(self.splits);
        (split * share).min(steps)..((split + 1) * share).min(steps)
    }
}

/// `out[e, m, n] = activation(sum_k a[e, m, k] b(e, k, n) + bias[n])`, `kept` the same before the activation, and
/// `b(e, k, n) = b[e * inner * columns + k * down + n * across]`, where `strides` is `[down, across]`; of
/// `matmul_vec4` and `matmul_transposed_vec4` too. A split sum ends in sections of `out`, without bias and activation.
///
/// # Panics
/// When a slice is shorter than `shape` says.
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    a: &[f32],
    b: &[f32],
    bias: &[f32],
    out: &mut [f32],
    kept: &mut [f32],
    shape: MatmulShape,
    end: MatmulEnd,
    strides: [usize; 2],
) {
    let MatmulShape {
        batch,
        rows,
        columns,
        inner,
        splits,
        section,
    } = shape;
    for (row, split) in (0..batch * rows).flat_map(|row| (0..splits).map(move |s| (row, s))) {
        let b = &b[row / rows * inner * columns..];
        for column in 0..columns {
            let term = |k: usize| a[row * inner + k] * b[k * strides[0] + column * strides[1]];
            let sum: f32 = shape.part(split, inner).map(term).sum();
            let at = split * section + row * columns + column;
            if splits > 1 {
                out[at] = sum;
                continue;
            }
            let z = sum + if end.bias { bias[column] } else { 0.0 };
            if end.keep {
                kept[at] = z;
            }
            out[at] = activate(z, end.activation);
        }
    }
}

/// `grad_right[e, k, n] = sum_m a[e, m, k] grad[e, m, n]`, and from `sums` of a section on, if that is not 0,
/// `sum_m grad[0, m, n]`; of `matmul_grad_right_vec4` too. `shape` is that of the result, whose rows count `k` and whose
/// `inner` counts `m`.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn matmul_grad_right(
    a: &[f32],
    grad: &[f32],
    grad_right: &mut [f32],
    shape: MatmulShape,
    sums: usize,
) {
    let MatmulShape {
        rows,
        columns,
        inner,
        section,
        ..
    } = shape;
    for split in 0..shape.splits {
        let part = shape.part(split, inner);
        for row in 0..shape.batch * rows {
            let (product, k) = (row / rows, row % rows);
            for column in 0..columns {
                let term = |m: usize| {
                    let m = product * inner + m;
                    a[m * rows + k] * grad[m * columns + column]
                };
                grad_right[split * section + row * columns + column] = part.clone().map(term).sum();
            }
        }
        for column in (0..columns).filter(|_| sums > 0) {
            let sum = part.clone().map(|m| grad[m * columns + column]).sum();
            grad_right[split * section + sums + column] = sum;
        }
    }
}

/// `out[i] = activation(sum_s parts[s * section + i] + bias[i % columns])`, and `kept` the same before the activation.
///
/// # Panics
/// When a slice is shorter than `out` and `shape` say.
pub fn matmul_reduce(
    parts: &[f32],
    bias: &[f32],
    out: &mut [f32],
    kept: &mut [f32],
    shape: MatmulShape,
    end: MatmulEnd,
) {
    for (index, out) in out.iter_mut().enumerate() {
        let part = |split| parts[split * shape.section + index];
        let sum: f32 = (0..shape.splits).map(part).sum();
        let z = sum
            + if end.bias {
                bias[index % shape.columns]
            } else {
                0.0
            };
        if end.keep {
            kept[index] = z;
        }
        *out = activate(z, end.activation);
    }
}

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
