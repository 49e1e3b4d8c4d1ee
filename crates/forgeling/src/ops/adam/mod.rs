//! One step of Adam on all tensors of a model at once.

mod composite;
mod flex;
#[cfg(not(feature = "fusion"))]
mod gpu;

use burn::tensor::{DType, Tensor};

use super::launch::has_kernels;

/// The numbers of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdamNumbers {
    pub rate: f64,
    pub betas: [f64; 2],
    pub epsilon: f64,
    pub weight_decay: f64,
    pub clip_norm: Option<f64>,
    /// What gradients are divided by before all else.
    pub loss_scale: f64,
}

impl AdamNumbers {
    /// What a parameter keeps of itself.
    fn keep(&self) -> f64 {
        1.0 - self.rate * self.weight_decay
    }

    /// Natural logarithms of the betas. That of zero is so small that its powers are lost beside 1.
    fn logarithms(&self) -> [f64; 2] {
        self.betas.map(|beta| libm::log(beta).max(-80.0))
    }
}

/// Moments and number of steps, kept as the body that made them likes it.
#[derive(Debug, Clone)]
pub(crate) enum AdamState {
    #[cfg(not(feature = "fusion"))]
    Gpu(Box<gpu::State>),
    Cpu(flex::State),
    Composite(Box<composite::State>),
}

impl AdamState {
    /// Whether the last step was skipped, and how many were: `[2]`.
    pub fn skipped(&self) -> Tensor<1> {
        match self {
            #[cfg(not(feature = "fusion"))]
            Self::Gpu(state) => state.skipped(),
            Self::Cpu(state) => state.skipped(),
            Self::Composite(state) => state.skipped(),
        }
    }
}

/// New values of `parameters`, which are not tracked and hold a number at least, as do their gradients, each of its
/// parameter's length and on its device. `state` is what the last step on tensors of these lengths and dtypes on
/// these devices gave, if there was one.
pub(crate) fn adam(
    state: Option<AdamState>,
    parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
    numbers: &AdamNumbers,
) -> (Vec<Tensor<1>>, AdamState) {
    match body(&parameters, &gradients) {
        #[cfg(not(feature = "fusion"))]
        Body::Gpu => {
            let state = state.and_then(|state| match state {
                AdamState::Gpu(state) => Some(*state),
                _ => None,
            });
            let (parameters, state) = gpu::step(state, parameters, gradients, numbers);
            (parameters, AdamState::Gpu(Box::new(state)))
        }
        Body::Cpu => {
            let state = state.and_then(|state| match state {
                AdamState::Cpu(state) => Some(state),
                _ => None,
            });
            let (parameters, state) = flex::step(state, parameters, gradients, numbers);
            (parameters, AdamState::Cpu(state))
        }
        Body::Composite => {
            let state = state.and_then(|state| match state {
                AdamState::Composite(state) => Some(*state),
                _ => None,
            });
            let (parameters, state) = composite::step(state, parameters, gradients, numbers);
            (parameters, AdamState::Composite(Box::new(state)))
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
