//! Optimizers on the CPU back end. Values are moved in pieces, each by itself, and sums are taken piece by piece in
//! order, so that the same bits come every time.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Device, Tensor, TensorData};
use forgeling_cpu::optimizer::sum_of_squares;
use forgeling_cpu::parallel;

use super::{Cohort, OptimizerState, Rule, Scaling, Snapshot};
use crate::ops::cpu_tensors::{tensor, with_values};

/// Values of a piece: enough to be worth a task, and few enough to stay in the cache.
const PIECE: usize = 1 << 14;

#[derive(Debug, Clone)]
pub(crate) struct State(pub(super) Snapshot);

impl State {
    pub fn skipped(&self) -> Tensor<1> {
        let [last, skipped, _] = self.0.counts();
        Tensor::from_data(TensorData::new(vec![last, skipped], [2]), &Device::flex())
    }

    /// Of tensors that are f32 and on the CPU.
    pub fn of(state: OptimizerState) -> Self {
        let state = match state {
            OptimizerState::Cpu(state) => return state,
            OptimizerState::Read(snapshot) => return Self(snapshot),
            OptimizerState::Gpu(state) => state.apart(),
            OptimizerState::Composite(state) => *state,
        };
        let values = |tensor: Tensor<1>| {
            let tensor = primitive(tensor.to_device(&Device::flex()));
            with_values([&tensor], |[values]| values.to_vec())
        };
        let counts = state.counts().map(|count| values(count)[0]);
        let of = |moments: Vec<Tensor<1>>| moments.into_iter().map(values).collect();
        let moments = state.into_moments().into_iter().map(of).collect();
        Self(Snapshot::new(moments, counts))
    }
}

fn primitive(tensor: Tensor<1>) -> FlexTensor {
    tensor
        .try_into_primitive::<Flex>()
        .expect("the caller checked that the tensor is on the CPU")
}

pub(super) fn step<R: Rule>(
    rule: &R,
    scaling: Scaling,
    cohorts: Vec<Cohort<State>>,
    mut parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
) -> (Vec<Tensor<1>>, Vec<Cohort<State>>) {
    let gradients: Vec<FlexTensor> = gradients.into_iter().map(primitive).collect();
    let inverse = (1.0 / scaling.loss_scale) as f32;
    let (mut squares, mut finite) = (0.0, true);
    for gradient in &gradients {
        with_values([gradient], |[values]| {
            let pieces = values.chunks(PIECE).collect();
            for (sum, all) in parallel::map(pieces, |piece| sum_of_squares(piece, inverse)) {
                squares += sum;
                finite &= all;
            }
        });
    }
    let mut clip = 1.0;
    if let Some(limit) = scaling.clip_norm {
        // As on GPUs, where the sum is an f32.
        finite &= (squares as f32).is_finite();
        clip = (limit / (squares.sqrt() + 1e-6)).min(1.0) as f32;
    }
    let scales = [inverse, clip];

    let mut moved = |Cohort { members, state }: Cohort<State>| {
        let State(mut state) = state.unwrap_or_else(|| {
            let zeros = |&member: &usize| {
                let length = parameters[member].dims()[0];
                vec![vec![0.0; length]; rule.moments().len()]
            };
            State(Snapshot {
                moments: members.iter().map(zeros).collect(),
                ..Default::default()
            })
        });
        state.last_skipped = !finite;
        if finite {
            state.steps += 1;
            for (&member, moments) in members.iter().zip(&mut state.moments) {
                let old = primitive(parameters[member].clone());
                let gradient = &gradients[member];
                parameters[member] = updated(rule, &old, gradient, moments, state.steps, scales);
            }
        } else {
            state.skipped += 1;
        }
        let state = Some(State(state));
        Cohort { members, state }
    };
    let cohorts = cohorts.into_iter().map(&mut moved).collect();
    (parameters, cohorts)
}

/// The new values of one parameter.
fn updated<R: Rule>(
    rule: &R,
    parameter: &FlexTensor,
    gradient: &FlexTensor,
    moments: &mut [Vec<f32>],
    steps: u64,
    scales: [f32; 2],
) -> Tensor<1> {
    let values = with_values([parameter, gradient], |[old, gradient]| {
        // A new vector: someone else may hold the old values.
        let mut values = vec![0.0; old.len()];
        let pieces = pieces(&mut values, old, gradient, moments);
        parallel::map(pieces, |mut piece| {
            piece.values.copy_from_slice(piece.old);
            let moments = &mut piece.moments;
            rule.update(piece.values, piece.gradient, moments, steps, scales);
        });
        values
    });
    let length = values.len();
    Tensor::from_primitive::<Flex>(tensor(values, [length]))
}

/// What belongs to a piece of one tensor.
struct Piece<'a> {
    values: &'a mut [f32],
    old: &'a [f32],
    gradient: &'a [f32],
    moments: Vec<&'a mut [f32]>,
}

fn pieces<'a>(
    values: &'a mut [f32],
    old: &'a [f32],
    gradient: &'a [f32],
    moments: &'a mut [Vec<f32>],
) -> Vec<Piece<'a>> {
    let mut moments: Vec<_> = moments
        .iter_mut()
        .map(|moment| moment.chunks_mut(PIECE))
        .collect();
    let all = values
        .chunks_mut(PIECE)
        .zip(old.chunks(PIECE))
        .zip(gradient.chunks(PIECE));
    all.map(|((values, old), gradient)| Piece {
        values,
        old,
        gradient,
        moments: moments.iter_mut().filter_map(Iterator::next).collect(),
    })
    .collect()
}
