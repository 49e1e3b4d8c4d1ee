//! One step of an optimizer on all tensors of a model at once.
//!
//! Tensors that have taken the same steps are a [`Cohort`], which has one count of steps. Usually there is one cohort;
//! all share the norm of the gradients, and whether the step is skipped.
//!
//! - `adam`, `sgd`: the rules, each with its kernel, its loop and its composition.
//! - `gpu`, `flex`, `composite`: what all rules share, for each kind of device: gathering and clipping gradients,
//!   skipping steps, keeping moments.
//! - `snapshot`: what is kept, read from its device, and back.

mod adam;
mod composite;
mod cpu;
mod gpu;
mod sgd;
mod snapshot;

use burn::tensor::{DType, Tensor};
use forgeling_shaders::Kernel;

pub(crate) use self::adam::AdamRule;
pub(crate) use self::sgd::SgdRule;
pub(crate) use self::snapshot::Snapshot;
use super::launch::has_kernels;
use crate::error::Result;

/// What is done to gradients before a rule takes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scaling {
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// What gradients are divided by before all else.
    pub loss_scale: f64,
}

/// How one parameter moves.
pub(crate) trait Rule: Copy + Send + Sync {
    /// Names of the numbers that are kept for each value of a parameter; zero at first.
    fn moments(&self) -> &'static [&'static str];

    /// The kernel that moves packed parameters. Its `shape` is `[slots, first, quads, clip, numbers ..]`, and its
    /// moments end with the state of `wgsl/shared/optimizer.wgsl`.
    fn kernel(&self) -> &'static Kernel;

    /// The kernel's numbers.
    fn numbers(&self) -> Vec<f64>;

    /// Moves `values` in the step with number `steps`, counted from 1; gradients are first multiplied with `scales`.
    fn update(
        &self,
        values: &mut [f32],
        gradients: &[f32],
        moments: &mut [&mut [f32]],
        steps: u64,
        scales: [f32; 2],
    );

    /// Numbers that all parameters of a step share, `[1]` each; `time` counts steps from 1.
    fn factors(&self, time: &Tensor<1>) -> Vec<Tensor<1>>;

    /// New value and moments, of tensors of one dtype.
    fn compose(
        &self,
        value: Tensor<1>,
        gradient: Tensor<1>,
        moments: &[Tensor<1>],
        factors: &[Tensor<1>],
    ) -> (Tensor<1>, Vec<Tensor<1>>);
}

/// Tensors that have taken the same steps.
#[derive(Debug, Clone)]
pub(crate) struct Cohort<S> {
    /// Their places among the tensors of a step, in order.
    pub members: Vec<usize>,
    /// What their last step left, of each in the order of `members`.
    pub state: Option<S>,
}

/// Moments and number of steps of a cohort, kept as the implementation that made them likes it.
#[derive(Debug, Clone)]
pub(crate) enum OptimizerState {
    Gpu(Box<gpu::State>),
    Cpu(cpu::State),
    Composite(Box<composite::State>),
    /// From a record, before the next step tells where it belongs.
    Read(Snapshot),
}

impl OptimizerState {
    /// Whether the last step was skipped, and how many were: `[2]`.
    pub fn skipped(&self) -> Tensor<1> {
        match self {
            Self::Gpu(state) => state.skipped(),
            Self::Cpu(state) => state.skipped(),
            Self::Composite(state) => state.skipped(),
            Self::Read(snapshot) => cpu::State(snapshot.clone()).skipped(),
        }
    }

    /// What is kept, in one trip. Of double precision, f32 is left.
    pub async fn read(&self) -> Result<Snapshot> {
        match self {
            Self::Gpu(state) => state.read().await,
            Self::Cpu(cpu::State(snapshot)) | Self::Read(snapshot) => Ok(snapshot.clone()),
            Self::Composite(state) => state.read().await,
        }
    }

    /// The state of some of the tensors, with these places in the cohort.
    pub fn part(&self, members: &[usize]) -> Self {
        match self {
            Self::Gpu(state) => Self::Composite(Box::new(state.apart().part(members))),
            Self::Cpu(cpu::State(snapshot)) => Self::Cpu(cpu::State(snapshot.part(members))),
            Self::Composite(state) => Self::Composite(Box::new(state.part(members))),
            Self::Read(snapshot) => Self::Read(snapshot.part(members)),
        }
    }

    /// The state where a tensor has other values than before: value `i` is what value `origins[i]` was, or new, with
    /// moments of zero.
    pub fn rearranged(&self, member: usize, origins: &[Option<usize>]) -> Self {
        let composite = |mut state: composite::State| {
            state.rearrange(member, origins);
            Self::Composite(Box::new(state))
        };
        let rearranged = |snapshot: &Snapshot| {
            let mut snapshot = snapshot.clone();
            snapshot.rearrange(member, origins);
            snapshot
        };
        match self {
            Self::Gpu(state) => composite(state.apart()),
            Self::Cpu(cpu::State(snapshot)) => Self::Cpu(cpu::State(rearranged(snapshot))),
            Self::Composite(state) => composite(composite::State::clone(state)),
            Self::Read(snapshot) => Self::Read(rearranged(snapshot)),
        }
    }
}

/// A cohort that goes on counting skipped steps from `skipped`, which is what
/// [`OptimizerState::skipped`] says; its parameters and gradients are among these.
pub(crate) fn counting_on<R: Rule>(
    rule: &R,
    cohort: &mut Cohort<OptimizerState>,
    skipped: Tensor<1>,
    parameters: &[Tensor<1>],
    gradients: &[Tensor<1>],
) {
    let kinds = rule.moments().len();
    let state = cohort.state.take();
    let state = composite::State::of(state, &cohort.members, kinds, parameters, gradients);
    cohort.state = Some(OptimizerState::Composite(Box::new(
        state.counting_on(skipped),
    )));
}

/// New values of `parameters`, which are not tracked and hold a number at least, as do their gradients, each of its
/// parameter's length and on its device; and the cohorts with their new state. Each parameter is in one cohort, whose
/// state is what the last step of this rule on tensors of these lengths and dtypes on these devices gave, if there was one.
pub(crate) fn step<R: Rule>(
    rule: &R,
    scaling: Scaling,
    cohorts: Vec<Cohort<OptimizerState>>,
    parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
) -> (Vec<Tensor<1>>, Vec<Cohort<OptimizerState>>) {
    match route(&parameters, &gradients) {
        Route::Gpu => {
            let cohorts = each(cohorts, |state, members| {
                gpu::State::of(state, members, &parameters)
            });
            let (parameters, cohorts) = gpu::step(rule, scaling, cohorts, parameters, gradients);
            let wrap = |state, _: &[usize]| OptimizerState::Gpu(Box::new(state));
            (parameters, each(cohorts, wrap))
        }
        Route::Cpu => {
            let cohorts = each(cohorts, |state, _| cpu::State::of(state));
            let (parameters, cohorts) = cpu::step(rule, scaling, cohorts, parameters, gradients);
            let wrap = |state, _: &[usize]| OptimizerState::Cpu(state);
            (parameters, each(cohorts, wrap))
        }
        Route::Composite => {
            let kinds = rule.moments().len();
            let cohorts = each(cohorts, |state, members| {
                composite::State::of(Some(state), members, kinds, &parameters, &gradients)
            });
            let (parameters, cohorts) =
                composite::step(rule, scaling, cohorts, parameters, gradients);
            let wrap = |state, _: &[usize]| OptimizerState::Composite(Box::new(state));
            (parameters, each(cohorts, wrap))
        }
    }
}

/// The cohorts with their states, where they have some, as something else.
fn each<A, B>(cohorts: Vec<Cohort<A>>, convert: impl Fn(A, &[usize]) -> B) -> Vec<Cohort<B>> {
    let convert = |cohort: Cohort<A>| {
        let Cohort { members, state } = cohort;
        let state = state.map(|state| convert(state, &members));
        Cohort { members, state }
    };
    cohorts.into_iter().map(convert).collect()
}

/// Those with these places.
fn chosen(tensors: &[Tensor<1>], members: &[usize]) -> Vec<Tensor<1>> {
    let chosen = members.iter().map(|&member| tensors[member].clone());
    chosen.collect()
}

enum Route {
    Gpu,
    Cpu,
    Composite,
}

fn route(parameters: &[Tensor<1>], gradients: &[Tensor<1>]) -> Route {
    let device = parameters[0].device();
    let alike = |tensor: &Tensor<1>| tensor.dtype() == DType::F32 && tensor.device() == device;
    let all_alike = parameters.iter().chain(gradients).all(alike);
    if !all_alike || !has_kernels(&device, DType::F32) {
        return Route::Composite;
    }
    if device == burn::tensor::Device::flex() {
        return Route::Cpu;
    }
    if gpu::countable(parameters) {
        return Route::Gpu;
    }
    Route::Composite
}
