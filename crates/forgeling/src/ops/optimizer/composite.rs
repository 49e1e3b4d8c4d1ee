//! Optimizers by burn's own operations: for any dtype and device.

use burn::tensor::{Bool, DType, Tensor, TensorData};

use super::{Rule, Scaling, Snapshot};
use crate::device::Readback;
use crate::error::Result;

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

    pub async fn read(&self) -> Result<Snapshot> {
        let scalars = [&self.last_skipped, &self.skipped, &self.time];
        let trip = scalars.into_iter().chain(self.moments.iter().flatten());
        let trip = trip.fold(Readback::new(), |trip, tensor| trip.with(tensor.clone()));
        let mut values = trip.run_all().await?.into_iter();
        let counts = [(); 3].map(|()| values.next().map_or(0.0, |scalar| scalar[0]));
        let of = |moments: &Vec<_>| values.by_ref().take(moments.len()).collect();
        let moments = self.moments.iter().map(of).collect();
        Ok(Snapshot::new(moments, counts))
    }

    pub fn restore(snapshot: Snapshot, parameters: &[Tensor<1>], gradients: &[Tensor<1>]) -> Self {
        let home = parameters[0].device();
        let scalar = |value| Tensor::full([1], value, (&home, DType::F32));
        let [last_skipped, skipped, time] = snapshot.counts().map(scalar);
        let pairs = snapshot.moments.into_iter().zip(gradients);
        let moments = pairs.map(|(moments, gradient)| {
            let (device, dtype) = (gradient.device(), working_dtype(gradient.dtype()));
            let tensor = |values: Vec<f32>| {
                let length = values.len();
                let data = TensorData::new(values, [length]);
                Tensor::<1>::from_data(data, &device).cast(dtype)
            };
            moments.into_iter().map(tensor).collect()
        });
        Self {
            moments: moments.collect(),
            time,
            last_skipped,
            skipped,
        }
    }
}

/// What a tensor is computed in: halves lose small steps.
fn working_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

fn working(tensor: Tensor<1>) -> Tensor<1> {
    match working_dtype(tensor.dtype()) {
        dtype if dtype == tensor.dtype() => tensor,
        dtype => tensor.cast(dtype),
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
                .map(|g| vec![g.zeros_like(); rule.moments().len()])
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
