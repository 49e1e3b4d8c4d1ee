//! Optimizers by burn's own operations: for any dtype and device.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

use super::{Cohort, OptimizerState, Rule, Scaling, Snapshot, chosen, cpu};
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

    /// Of the members of a cohort among these parameters and gradients; before their first step if there is no state.
    pub fn of(
        state: Option<OptimizerState>,
        members: &[usize],
        kinds: usize,
        parameters: &[Tensor<1>],
        gradients: &[Tensor<1>],
    ) -> Self {
        let home = parameters[0].device();
        let gradients = chosen(gradients, members);
        match state {
            None => Self::zeros(&home, kinds, &gradients),
            Some(OptimizerState::Gpu(state)) => state.apart(),
            Some(OptimizerState::Composite(state)) => state.at(&home),
            Some(OptimizerState::Cpu(cpu::State(snapshot)) | OptimizerState::Read(snapshot)) => {
                Self::restore(snapshot, &home, &gradients)
            }
        }
    }

    fn zeros(home: &Device, kinds: usize, gradients: &[Tensor<1>]) -> Self {
        let zero = Tensor::zeros([1], (home, DType::F32));
        let zeros = |gradient: &Tensor<1>| {
            let dtype = working_dtype(gradient.dtype());
            let zeros = Tensor::zeros([gradient.dims()[0]], (&gradient.device(), dtype));
            vec![zeros; kinds]
        };
        Self {
            moments: gradients.iter().map(zeros).collect(),
            time: zero.clone(),
            last_skipped: zero.clone(),
            skipped: zero,
        }
    }

    fn restore(snapshot: Snapshot, home: &Device, gradients: &[Tensor<1>]) -> Self {
        let scalar = |value| Tensor::full([1], value, (home, DType::F32));
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

    /// Of moments and `[whether the last step was skipped, how many were, steps, ..]`.
    pub fn new(moments: Vec<Vec<Tensor<1>>>, counts: &Tensor<1>) -> Self {
        let count = |place: usize| counts.clone().narrow(0, place, 1);
        Self {
            moments,
            time: count(2),
            last_skipped: count(0),
            skipped: count(1),
        }
    }

    /// With its counts on this device.
    fn at(mut self, home: &Device) -> Self {
        for count in [&mut self.time, &mut self.last_skipped, &mut self.skipped] {
            *count = count.clone().to_device(home);
        }
        self
    }

    /// `[1]` each: whether the last step was skipped, how many were, steps.
    pub fn counts(&self) -> [Tensor<1>; 3] {
        [&self.last_skipped, &self.skipped, &self.time].map(Tensor::clone)
    }

    /// The moments of each tensor.
    pub fn into_moments(self) -> Vec<Vec<Tensor<1>>> {
        self.moments
    }

    /// As [`super::counting_on`].
    pub fn counting_on(mut self, skipped: Tensor<1>) -> Self {
        let home = self.time.device();
        self.skipped = skipped.narrow(0, 1, 1).to_device(&home);
        self
    }

    /// As [`OptimizerState::part`].
    pub fn part(&self, members: &[usize]) -> Self {
        let moments = members.iter().map(|&member| self.moments[member].clone());
        Self {
            moments: moments.collect(),
            ..self.clone()
        }
    }

    /// As [`OptimizerState::rearranged`].
    pub fn rearrange(&mut self, member: usize, origins: &[Option<usize>]) {
        for moment in &mut self.moments[member] {
            let (device, length) = (moment.device(), moment.dims()[0]);
            // What is new comes from a zero behind the old values.
            let zero = Tensor::zeros([1], (&device, moment.dtype()));
            let old = Tensor::cat(vec![moment.clone(), zero], 0);
            let places = origins.iter().map(|place| place.unwrap_or(length) as i32);
            let places = TensorData::new(places.collect(), [origins.len()]);
            *moment = old.select(0, Tensor::<1, Int>::from_data(places, &device));
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
    cohorts: Vec<Cohort<State>>,
    mut parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
) -> (Vec<Tensor<1>>, Vec<Cohort<State>>) {
    let gradients: Vec<Tensor<1>> = gradients
        .into_iter()
        .map(|gradient| working(gradient) / scaling.loss_scale)
        .collect();
    let home = parameters[0].device();
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
    let mut moved = |Cohort { members, state }: Cohort<State>| {
        let state = state.unwrap_or_else(|| {
            let gradients = chosen(&gradients, &members);
            State::zeros(&home, rule.moments().len(), &gradients)
        });
        let time = state.time + finite.clone();
        let factors = rule.factors(&time);
        let mut moments = Vec::new();
        for (&member, kept) in members.iter().zip(state.moments) {
            let (old, gradient) = (parameters[member].clone(), gradients[member].clone());
            let (device, dtype) = (gradient.device(), gradient.dtype());
            let scalar = |value: &Tensor<1>| value.clone().to_device(&device).cast(dtype);
            let gradient = match &clip {
                Some(clip) => gradient * scalar(clip),
                None => gradient,
            };
            let factors: Vec<_> = factors.iter().map(scalar).collect();
            let (new, all) = rule.compose(working(old.clone()), gradient, &kept, &factors);
            let skip = scalar(&last_skipped).greater_elem(0.5).expand(old.dims());
            parameters[member] = new.cast(old.dtype()).mask_where(skip.clone(), old);
            let pairs = all.into_iter().zip(kept);
            let unless_skipped = pairs.map(|(new, kept)| new.mask_where(skip.clone(), kept));
            moments.push(unless_skipped.collect());
        }
        let state = Some(State {
            moments,
            time,
            skipped: state.skipped + last_skipped.clone(),
            last_skipped: last_skipped.clone(),
        });
        Cohort { members, state }
    };
    let cohorts = cohorts.into_iter().map(&mut moved).collect();
    (parameters, cohorts)
}
