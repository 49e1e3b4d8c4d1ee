//! What becomes of gradients.

use burn::optim::GradientsParams;

use super::{Part, StepContext};
use crate::error::Result;

/// Changes the gradients of every step before the optimizer has them, such as a projection that takes nothing away from
/// earlier tasks.
pub trait GradientRule<M, B>: Part<M> {
    /// `gradients` are those of the mean loss over all of the step's examples, not scaled and not yet clipped; where one is
    /// not finite the step will be skipped. [`gradients`](super::gradients) has what one does with them.
    ///
    /// # Errors
    /// As the rule says; the model is then as it was before the step.
    fn apply(
        &mut self,
        step: &StepContext<'_, B>,
        model: &M,
        gradients: &mut GradientsParams,
    ) -> Result<()>;
}
