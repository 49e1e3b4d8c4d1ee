//! Twin of `sgd.wgsl`.

use super::turn;

/// The numbers of the SGD shader's last binding; `first` and `quads` count in groups of four.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdShape {
    /// Sums of squares at the beginning of the gradients.
    pub slots: usize,
    /// Where the gradients' values begin.
    pub first: usize,
    /// Values in all, a quarter of them.
    pub quads: usize,
    /// The largest global norm of the gradients, or 0 for any.
    pub clip: f32,
    /// The learning rate.
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
    /// Momentum; 0 for none, and then no velocity is kept.
    pub momentum: f32,
    /// Whether to look ahead.
    pub nesterov: bool,
}

/// What [`sgd_update`] multiplies with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdFactors {
    /// Gradients are multiplied with the first, then with the second.
    pub scales: [f32; 2],
    /// The learning rate.
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
    /// Momentum.
    pub momentum: f32,
    /// Whether to look ahead.
    pub nesterov: bool,
}

/// `g = gradient + decay p`, `v = momentum v + g`, `p -= rate (nesterov ? g + momentum v : v)`; without a velocity,
/// which is then empty, `p -= rate g`.
#[inline(always)]
pub fn sgd_update(
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

/// One step on packed parameters: `gradients` as [`super::optimizer_gather`] writes them, `moments` and `new_moments` the
/// velocity, if there is momentum, and `[whether the last step was skipped, how many were, steps, 0]`. The step is
/// skipped where a gradient, or the norm that is to be clipped, is not finite.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn sgd(
    parameters: &[f32],
    gradients: &[f32],
    moments: &[f32],
    new_parameters: &mut [f32],
    new_moments: &mut [f32],
    shape: &SgdShape,
) {
    let length = shape.quads * 4;
    let kept = if shape.momentum > 0.0 { length } else { 0 };
    new_parameters[..length].copy_from_slice(&parameters[..length]);
    new_moments[..kept].copy_from_slice(&moments[..kept]);
    let (velocity, state) = new_moments.split_at_mut(kept);
    let turn = turn(gradients, shape.slots, shape.clip, &moments[kept..], state);
    if turn.skip {
        return;
    }
    let factors = SgdFactors {
        scales: [1.0, turn.scale],
        rate: shape.rate,
        decay: shape.decay,
        momentum: shape.momentum,
        nesterov: shape.nesterov,
    };
    let gradients = &gradients[shape.first * 4..][..length];
    sgd_update(&mut new_parameters[..length], gradients, velocity, &factors);
}

#[cfg(test)]
mod tests {
    use super::super::{GATHERED, GatherShape, optimizer_gather};
    use super::*;
    use crate::PART;

    /// Two steps by hand, one that is skipped between them: momentum 0.5, rate 0.1, decay 0.2, norm clipped to 1.
    #[test]
    fn packed_steps_equal_those_by_hand() {
        for (momentum, nesterov, expected) in [
            // g = clip * gradient + 0.2 p; the gradient (3, 4) becomes (0.6, 0.8).
            (0.0, false, [1.0 - 0.1 * 0.8, 2.0 - 0.1 * 1.2]),
            (0.5, false, [1.0 - 0.1 * 0.8, 2.0 - 0.1 * 1.2]),
            (0.5, true, [1.0 - 0.1 * 1.2, 2.0 - 0.1 * 1.8]),
        ] {
            let shape = SgdShape {
                slots: 1,
                first: 16,
                quads: 16,
                clip: 1.0,
                rate: 0.1,
                decay: 0.2,
                momentum,
                nesterov,
            };
            let mut parameters = vec![0.0f32; PART];
            parameters[..2].copy_from_slice(&[1.0, 2.0]);
            let mut moments = vec![0.0; 2 * PART];
            let mut step = |gradient: [f32; 2]| {
                let mut packed = vec![f32::NAN; 2 * PART];
                let mut tensors: [(usize, usize); GATHERED] = [(0, 0); GATHERED];
                tensors[0] = (16, 2);
                let gather = GatherShape {
                    slot: 0,
                    scale: 1.0,
                    tensors,
                };
                let mut values: [&[f32]; GATHERED] = [&[]; GATHERED];
                values[0] = &gradient;
                optimizer_gather(values, &mut packed, &gather);
                let (mut new, mut new_moments) = (vec![0.0; PART], vec![0.0; 2 * PART]);
                sgd(
                    &parameters,
                    &packed,
                    &moments,
                    &mut new,
                    &mut new_moments,
                    &shape,
                );
                (parameters, moments) = (new, new_moments);
                [parameters[0], parameters[1]]
            };
            let close = |got: [f32; 2], expected: [f32; 2]| {
                assert!(
                    got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6),
                    "{got:?}"
                );
            };
            let first = step([3.0, 4.0]);
            close(first, expected);
            assert_eq!(step([f32::NAN, 4.0]), first);
            let velocity: [f32; 2] = if momentum > 0.0 {
                [0.8, 1.2]
            } else {
                [0.0, 0.0]
            };
            let second = [0, 1].map(|i| {
                let g = [0.6, -0.8][i] + 0.2 * first[i];
                let v = momentum * velocity[i] + g;
                first[i] - 0.1 * if nesterov { g + momentum * v } else { v }
            });
            close(step([3.0, -4.0]), second);
        }
    }
}
