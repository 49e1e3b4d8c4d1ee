//! Terms of the loss.

use burn::tensor::Tensor;

use super::{Part, StepContext};
use crate::error::Result;
use crate::nn::Pass;
use crate::train::{Objective, Outcome};

/// Adds to the loss of every step, such as a penalty on weights that move away from where they were, or a loss on examples
/// of before.
pub trait LossTerm<M, B>: Part<M> {
    /// What is added, `[1]`, in f32 and already weighted. `batch` is what of the step's examples is in this pass: a step may
    /// take several, whose losses are averaged by examples, so that a term that does not depend on `batch` counts once.
    /// Whatever else of the model it runs, it may run in `pass`.
    ///
    /// # Errors
    /// When the term does not fit the model or the batch; the model is then as it was before the step.
    fn loss<'m>(
        &self,
        step: &StepContext<'_, B>,
        model: &'m M,
        batch: &B,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>>;

    /// What the loss of the objective alone is multiplied with in this step, for a term that has a part of its weight. Those
    /// of several terms are multiplied. Default 1.
    fn objective_weight(&self, _step: &StepContext<'_, B>) -> f64 {
        1.0
    }
}

/// An objective with the terms of a run.
pub(crate) struct WithTerms<'s, O, M, B> {
    pub objective: &'s O,
    pub terms: Vec<&'s dyn LossTerm<M, B>>,
    pub at: StepContext<'s, B>,
}

impl<M, O: Objective<M>> Objective<M> for WithTerms<'_, O, M, O::Batch> {
    type Batch = O::Batch;

    fn forward<'m>(&self, model: &'m M, batch: &O::Batch, pass: &mut Pass<'m>) -> Result<Outcome> {
        let mut outcome = self.objective.forward(model, batch, pass)?;
        let weights = self
            .terms
            .iter()
            .map(|term| term.objective_weight(&self.at));
        let weight: f64 = weights.product();
        if weight != 1.0 {
            outcome.loss = outcome.loss * weight;
        }
        for term in &self.terms {
            let loss = term.loss(&self.at, model, batch, pass)?;
            pass.watch(format_args!("the loss term '{}'", term.name()), || {
                loss.clone()
            });
            outcome.loss = outcome.loss + loss;
        }
        Ok(outcome)
    }
}
