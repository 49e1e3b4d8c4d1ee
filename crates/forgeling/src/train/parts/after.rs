//! What happens after a step.

use burn::optim::GradientsParams;

use super::{Part, StepContext};
use crate::error::Result;
use crate::train::AnyOptimizer;

/// A step that was taken.
#[derive(Debug)]
pub struct Taken<'a, M> {
    /// The gradients that the optimizer had: unscaled, not clipped, those of the [`GradientRule`](super::GradientRule) if
    /// there is one.
    pub gradients: &'a GradientsParams,
    /// The model before the step.
    pub before: &'a M,
}

/// Changes the model after every step that was not skipped, such as a mask on pruned weights, or new values for units that
/// have died.
pub trait AfterStep<M, B>: Part<M> {
    /// Where parameters are drawn anew or grow, the optimizer has to know: [`forget`](AnyOptimizer::forget),
    /// [`grow`](AnyOptimizer::grow).
    ///
    /// # Errors
    /// As the part says; model and optimizer are then as they were before the step.
    fn after(
        &mut self,
        step: &StepContext<'_, B>,
        taken: &Taken<'_, M>,
        model: &mut M,
        optimizer: &mut AnyOptimizer,
    ) -> Result<()>;
}
