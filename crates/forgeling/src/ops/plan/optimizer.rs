//! The step that follows the gradients.

use forgeling_shaders::optimizer_gather::TENSORS;
use serde::{Deserialize, Serialize};

use super::tally::Buffer;
use super::{MemoryUse, SINGLE, Shaped, Simulation};
use crate::ops::launch::PART;

/// Which optimizer takes the step, as far as memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedOptimizer {
    /// Adam, which keeps two moments of each parameter. The default.
    #[default]
    Adam,
    /// Gradient descent with momentum, which keeps one.
    Momentum,
    /// Plain gradient descent, which keeps none.
    Sgd,
}

impl PlannedOptimizer {
    fn moments(self) -> usize {
        match self {
            Self::Adam => 2,
            Self::Momentum => 1,
            Self::Sgd => 0,
        }
    }
}

/// What is kept from step to step.
#[derive(Default)]
pub(super) struct State {
    /// The parameters side by side, as the last step gave them.
    packed: Option<Buffer>,
    moments: Option<Buffer>,
}

/// Numbers that are bound where there is no tensor.
const NOTHING: usize = TENSORS * PART;

impl Simulation {
    /// Moves all parameters by the gradients that are pending: `ops/optimizer/gpu.rs`. The parameters before the step
    /// are given, since whoever trains keeps them until the step is known to be good.
    pub(crate) fn step(&self, optimizer: PlannedOptimizer) -> Vec<Shaped> {
        let gradients = self.pending.take();
        let parts = |shaped: &Shaped| shaped.len().next_multiple_of(PART);
        let places: Vec<usize> = gradients.keys().copied().collect();
        let length: usize = {
            let parameters = self.parameters.borrow();
            places
                .iter()
                .map(|&place| parts(&parameters[place].1))
                .sum()
        };
        let slots = places.len().div_ceil(TENSORS) * self.heuristics.gather_workgroups;
        let gathered = (slots * 4).next_multiple_of(PART) + length;
        let kept = optimizer.moments() * length + PART;
        let State { packed, moments } = self.optimizer.take();
        let moments =
            moments.unwrap_or_else(|| self.buffer(MemoryUse::Optimizer, "moments", kept * SINGLE));
        let packed = packed.unwrap_or_else(|| {
            self.buffer(
                MemoryUse::Parameters,
                "gathered parameters",
                gathered * SINGLE,
            )
        });
        let nothing = self.scratch("nothing", NOTHING * SINGLE);
        let of_gradients = self.scratch("gathered gradients", gathered * SINGLE);
        drop(nothing);
        let new = self.buffer(MemoryUse::Parameters, "new parameters", length * SINGLE);
        let new_moments = self.buffer(MemoryUse::Optimizer, "moments", kept * SINGLE);
        drop((packed, moments, of_gradients, gradients));
        let mut parameters = self.parameters.borrow_mut();
        let before = parameters
            .iter()
            .map(|(_, parameter)| parameter.clone())
            .collect();
        for &place in &places {
            parameters[place].1.buffer = new.clone();
        }
        *self.optimizer.borrow_mut() = State {
            packed: Some(new),
            moments: Some(new_moments),
        };
        before
    }

    /// Moves the running statistics to those of this batch.
    pub(crate) fn absorb(&self) -> Vec<Buffer> {
        let found = self.statistics.take();
        found
            .iter()
            .map(|statistics| {
                let bytes = (statistics.bytes() / 3 * 2) as usize;
                self.buffer(MemoryUse::Parameters, "running statistics", bytes)
            })
            .collect()
    }
}
