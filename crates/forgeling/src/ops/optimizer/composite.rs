//! Optimizers by burn's own operations: for any dtype and device.

use burn::tensor::{Bool, DType, Tensor};

use super::{Rule, Scaling};

#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The moments of each tensor, in its working dtype.
    moments: Vec<Vec<Tensor<1>>>,
    /// Steps that were taken.
    time: Tensor<1>,
    /// Whether the last one was skipped, and how many were: `[1]` each.
    last_skipped: Tensor<1>,
    skipped: Tensor<1>,
}

impl State {
    pub fn skipped(&self) -> Tensor<1> {
        Tensor::cat(vec![self.last_skipped.clone(), self.skipped.clone()], 0)
    }
}

/// What a tensor is computed in: halves lose small steps.
fn working(tensor: Tensor<1>) -> Tensor<1> {
    match tensor.dtype() {
        DType::F64 | DType::F32 => tensor,
        _ => tensor.cast(DType::F32),
    }
}

/// By comparison with the largest number: compilers for GPUs may assume that there is no NaN and drop `x != x`.
fn all_finite(tensor: Tensor<1>) -> Tensor<1, Bool> {
    let largest = match tensor.dtype() {
        DType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    };
    tensor.abs().lower_equal_elem(largest).all()
}

pub(super) fn step<R: Rule>(
    rule: &R,
    scaling: Scaling,
    state: Option<State>,
    parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
) -> (Vec<Tensor<1>>, State) {
    let gradients: Vec<Tensor<1>> = gradients
        .into_iter()
        .map(|gradient| working(gradient) / scaling.loss_scale)
        .collect();
    let home = parameters[0].device();
    let state = state.unwrap_or_else(|| {
        let zero = Tensor::zeros([1], (&home, DType::F32));
        State {
            moments: gradients
                .iter()
                .map(|g| vec![g.zeros_like(); rule.moments()])
                .collect(),
            time: zero.clone(),
            last_skipped: zero.clone(),
            skipped: zero,
        }
    });

    let mut squares = Tensor::<1>::zeros([1], (&home, DType::F32));
    let mut finite = Tensor::<1>::ones([1], (&home, DType::F32));
    for gradient in &gradients {
        let ok = all_finite(gradient.clone()).float().cast(DType::F32);
        finite = finite * ok.to_device(&home);
        if scaling.clip_norm.is_some() {
            let sum = gradient.clone().square().sum().cast(DType::F32);
            squares = squares + sum.to_device(&home);
        }
    }
    let mut clip = None;
    if let Some(limit) = scaling.clip_norm {
        finite = finite * all_finite(squares.clone()).float().cast(DType::F32);
        let norm = squares.sqrt() + 1e-6;
        clip = Some((norm.recip() * limit).clamp_max(1.0));
    }
    let last_skipped = -finite.clone() + 1.0;
    let time = state.time + finite.clone();
    let factors = rule.factors(&time);

    let all = parameters.into_iter().zip(gradients).zip(state.moments);
    let (updated, moments) = all
        .map(|((old, gradient), kept)| {
            let (device, dtype) = (gradient.device(), gradient.dtype());
            let scalar = |value: &Tensor<1>| value.clone().to_device(&device).cast(dtype);
            let gradient = match &clip {
                Some(clip) => gradient * scalar(clip),
                None => gradient,
            };
            let factors: Vec<_> = factors.iter().map(scalar).collect();
            let (new, moments) = rule.compose(working(old.clone()), gradient, &kept, &factors);
            let skip = scalar(&last_skipped).greater_elem(0.5).expand(old.dims());
            let new = new.cast(old.dtype()).mask_where(skip.clone(), old);
            let moments = moments
                .into_iter()
                .zip(kept)
                .map(|(new, kept)| new.mask_where(skip.clone(), kept))
                .collect();
            (new, moments)
        })
        .unzip();
    let state = State {
        moments,
        time,
        skipped: state.skipped + last_skipped.clone(),
        last_skipped,
    };
    (updated, state)
}
