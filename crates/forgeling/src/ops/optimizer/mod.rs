//! One step of an optimizer on all tensors of a model at once.
//!
//! - `adam`, `sgd`: the rules, each with its kernel, its loop and its composition.
//! - `gpu`, `flex`, `composite`: what all rules share, for each kind of device: gathering and clipping gradients,
//!   skipping steps, keeping moments.
//! - `snapshot`: what is kept, read from its device, and back.

mod adam;
mod composite;
mod flex;
#[cfg(not(feature = "fusion"))]
mod gpu;
mod sgd;
mod snapshot;

use burn::tensor::{DType, Tensor};
#[cfg(not(feature = "fusion"))]
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
    #[cfg(not(feature = "fusion"))]
    fn kernel(&self) -> &'static Kernel;

    /// The kernel's numbers.
    #[cfg(not(feature = "fusion"))]
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

/// Moments and number of steps, kept as the body that made them likes it.
#[derive(Debug, Clone)]
pub(crate) enum OptimizerState {
    #[cfg(not(feature = "fusion"))]
    Gpu(Box<gpu::State>),
    Cpu(flex::State),
    Composite(Box<composite::State>),
}

impl OptimizerState {
    /// Whether the last step was skipped, and how many were: `[2]`.
    pub fn skipped(&self) -> Tensor<1> {
        match self {
            #[cfg(not(feature = "fusion"))]
            Self::Gpu(state) => state.skipped(),
            Self::Cpu(state) => state.skipped(),
            Self::Composite(state) => state.skipped(),
        }
    }

    /// What is kept, in one trip. Of double precision, f32 is left.
    pub async fn read(&self) -> Result<Snapshot> {
        match self {
            #[cfg(not(feature = "fusion"))]
            Self::Gpu(state) => state.read().await,
            Self::Cpu(state) => Ok(state.read()),
            Self::Composite(state) => state.read().await,
        }
    }

    /// The state that [`step`] takes together with these parameters and gradients. The snapshot is of as many
    /// parameters, of these lengths, and of the same rule.
    pub fn restore(snapshot: Snapshot, parameters: &[Tensor<1>], gradients: &[Tensor<1>]) -> Self {
        match body(parameters, gradients) {
            #[cfg(not(feature = "fusion"))]
            Body::Gpu => Self::Gpu(Box::new(gpu::State::restore(&snapshot, parameters))),
            Body::Cpu => Self::Cpu(flex::State::restore(snapshot)),
            Body::Composite => {
                let state = composite::State::restore(snapshot, parameters, gradients);
                Self::Composite(Box::new(state))
            }
        }
    }
}

/// New values of `parameters`, which are not tracked and hold a number at least, as do their gradients, each of its
/// parameter's length and on its device. `state` is what the last step of this rule on tensors of these lengths and
/// dtypes on these devices gave, if there was one.
pub(crate) fn step<R: Rule>(
    rule: &R,
    scaling: Scaling,
    state: Option<OptimizerState>,
    parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
) -> (Vec<Tensor<1>>, OptimizerState) {
    match body(&parameters, &gradients) {
        #[cfg(not(feature = "fusion"))]
        Body::Gpu => {
            let state = state.and_then(|state| match state {
                OptimizerState::Gpu(state) => Some(*state),
                _ => None,
            });
            let (parameters, state) = gpu::step(rule, scaling, state, parameters, gradients);
            (parameters, OptimizerState::Gpu(Box::new(state)))
        }
        Body::Cpu => {
            let state = state.and_then(|state| match state {
                OptimizerState::Cpu(state) => Some(state),
                _ => None,
            });
            let (parameters, state) = flex::step(rule, scaling, state, parameters, gradients);
            (parameters, OptimizerState::Cpu(state))
        }
        Body::Composite => {
            let state = state.and_then(|state| match state {
                OptimizerState::Composite(state) => Some(*state),
                _ => None,
            });
            let (parameters, state) = composite::step(rule, scaling, state, parameters, gradients);
            (parameters, OptimizerState::Composite(Box::new(state)))
        }
    }
}

enum Body {
    #[cfg(not(feature = "fusion"))]
    Gpu,
    Cpu,
    Composite,
}

fn body(parameters: &[Tensor<1>], gradients: &[Tensor<1>]) -> Body {
    let device = parameters[0].device();
    let alike = |tensor: &Tensor<1>| tensor.dtype() == DType::F32 && tensor.device() == device;
    let all_alike = parameters.iter().chain(gradients).all(alike);
    if !all_alike || !has_kernels(&device, DType::F32) {
        return Body::Composite;
    }
    if device == burn::tensor::Device::flex() {
        return Body::Cpu;
    }
    #[cfg(not(feature = "fusion"))]
    if gpu::countable(parameters) {
        return Body::Gpu;
    }
    Body::Composite
}
