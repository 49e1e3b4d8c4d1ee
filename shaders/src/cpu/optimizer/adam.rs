//! Twin of `adam.wgsl`.

use super::turn;

/// The numbers of the Adam shader's last binding; `first` and `quads` count in groups of four.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamShape {
    /// Sums of squares at the beginning of the gradients.
    pub slots: usize,
    /// Where the gradients' values begin.
    pub first: usize,
    /// Values in all, a quarter of them.
    pub quads: usize,
    /// The learning rate.
    pub rate: f32,
    /// What a parameter keeps: 1 less rate times weight decay.
    pub keep: f32,
    /// `beta1` and `1 - beta1`.
    pub beta1: [f32; 2],
    /// `beta2` and `1 - beta2`.
    pub beta2: [f32; 2],
    /// Their natural logarithms, or -80 if that is larger.
    pub logarithms: [f32; 2],
    /// Added to the root.
    pub epsilon: f32,
    /// The largest global norm of the gradients, or 0 for any.
    pub clip: f32,
}

/// What [`adam_update`] multiplies with.
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
#[inline(always)]
pub fn adam_update(
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

/// One step on packed parameters: `gradients` as [`optimizer_gather`](super::optimizer_gather) writes them, `moments` and `new_moments` the first
/// and second moments and `[whether the last step was skipped, how many were, steps, 0]`. The step is skipped where
/// a gradient, or the norm that is to be clipped, is not finite.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn adam(
    parameters: &[f32],
    gradients: &[f32],
    moments: &[f32],
    new_parameters: &mut [f32],
    new_moments: &mut [f32],
    shape: &AdamShape,
) {
    let length = shape.quads * 4;
    new_parameters[..length].copy_from_slice(&parameters[..length]);
    new_moments[..2 * length].copy_from_slice(&moments[..2 * length]);
    let (kept, state) = new_moments.split_at_mut(2 * length);
    let turn = turn(
        gradients,
        shape.slots,
        shape.clip,
        &moments[2 * length..],
        state,
    );
    if turn.skip {
        return;
    }
    let correction = |logarithm: f32| -(f64::from(turn.time) * f64::from(logarithm)).exp_m1();
    let (first, second) = kept.split_at_mut(length);
    let factors = AdamFactors {
        scales: [1.0, turn.scale],
        keep: shape.keep,
        step: (f64::from(shape.rate) / correction(shape.logarithms[0])) as f32,
        root: correction(shape.logarithms[1]).sqrt() as f32,
        beta1: shape.beta1,
        beta2: shape.beta2,
        epsilon: shape.epsilon,
    };
    adam_update(
        &mut new_parameters[..length],
        &gradients[shape.first * 4..][..length],
        first,
        second,
        &factors,
    );
}

#[cfg(test)]
mod tests {
    use super::super::{GATHERED, GatherShape, optimizer_gather};
    use super::*;
    use crate::PART;

    const LENGTHS: [usize; GATHERED] = [1, 63, 64, 65, 0, 200];

    /// The twins against the formula in f64, one value at a time.
    #[test]
    fn packed_steps_equal_the_formula() {
        let starts: Vec<usize> = LENGTHS
            .iter()
            .scan(64, |next, length| {
                let start = *next;
                *next += length.next_multiple_of(PART);
                Some(start)
            })
            .collect();
        let length: usize = LENGTHS.iter().map(|l| l.next_multiple_of(PART)).sum();
        let value = |i: usize, step: usize| ((i * 7 + step * 13) as f32 * 0.37).sin();
        let (rate, clip) = (0.01, 3.0f32);
        let shape = AdamShape {
            slots: 1,
            first: 16,
            quads: length / 4,
            rate: 0.01,
            keep: 1.0 - 0.01 * 0.1,
            beta1: [0.9, 0.1],
            beta2: [0.999, 0.001],
            logarithms: [0.9f64.ln() as f32, 0.999f64.ln() as f32],
            epsilon: 1e-8,
            clip,
        };
        let mut parameters: Vec<f32> = (0..length).map(|i| value(i, 100)).collect();
        let mut moments = vec![0.0; 2 * length + 64];
        let mut expected: Vec<[f64; 3]> =
            parameters.iter().map(|&p| [p.into(), 0.0, 0.0]).collect();
        for step in 1..=5 {
            let bad = step == 3;
            let tensors: Vec<Vec<f32>> = LENGTHS
                .iter()
                .zip(&starts)
                .map(|(length, start)| (0..*length).map(|i| 4.0 * value(i + start, step)).collect())
                .collect();
            let mut packed = vec![f32::NAN; 64 + length];
            let gather = GatherShape {
                slot: 0,
                scale: if bad { f32::INFINITY } else { 0.25 },
                tensors: std::array::from_fn(|i| (starts[i] / 4, LENGTHS[i])),
            };
            optimizer_gather(
                std::array::from_fn(|i| &tensors[i][..]),
                &mut packed,
                &gather,
            );
            let (mut new, mut new_moments) = (vec![0.0; length], vec![0.0; 2 * length + 64]);
            adam(
                &parameters,
                &packed,
                &moments,
                &mut new,
                &mut new_moments,
                &shape,
            );
            (parameters, moments) = (new, new_moments);

            let time = if step > 3 { step - 1 } else { step } as i32;
            let gradients = tensors.iter().flatten().map(|g| f64::from(*g) * 0.25);
            let norm = gradients.map(|g| g * g).sum::<f64>().sqrt();
            for ((start, length), tensor) in starts.iter().zip(LENGTHS).zip(&tensors) {
                for i in (0..length).filter(|_| !bad) {
                    let g =
                        f64::from(tensor[i]) * 0.25 * (f64::from(clip) / (norm + 1e-6)).min(1.0);
                    let [p, m, v] = &mut expected[start - 64 + i];
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * g * g;
                    let root = (*v / (1.0 - 0.999f64.powi(time))).sqrt();
                    *p -= rate * 0.1 * *p + rate * *m / (1.0 - 0.9f64.powi(time)) / (root + 1e-8);
                    let got = f64::from(parameters[start - 64 + i]);
                    assert!((got - *p).abs() < 1e-6, "step {step}: {got} instead of {p}");
                }
            }
            let skipped = f32::from(step >= 3);
            assert_eq!(
                moments[2 * length..][..3],
                [f32::from(bad), skipped, time as f32 - f32::from(bad)]
            );
        }
    }
}
