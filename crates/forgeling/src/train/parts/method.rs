//! What a method adds to a run.

use super::{AfterStep, GradientRule, LossTerm, Part, Predictor};

/// A method, by the roles that it plays in a run, with one state for all of them: it says `Some(self)` for each role that it
/// implements.
///
/// **Several devices.** On several devices of one process ([`Trainer::fit_on_devices`](crate::train::Trainer::fit_on_devices))
/// every replica of the model has a replica of the method beside it. A loss term sees its share of the examples; gradient
/// rule and what happens after a step see what all shares came to, and do the same on every replica. The method of the run
/// has the state of the first replica whenever something is saved, and at the end. As a rank of several processes each has a
/// method of its own anyway.
pub trait Method<M, B>: Part<M> {
    /// What it adds to the loss. Default nothing.
    fn term(&self) -> Option<&dyn LossTerm<M, B>> {
        None
    }

    /// What becomes of the gradients. There is one rule at most in a run. Default nothing.
    fn rule(&mut self) -> Option<&mut dyn GradientRule<M, B>> {
        None
    }

    /// What happens after a step, after those of the methods that were given before. Default nothing.
    fn after_step(&mut self) -> Option<&mut dyn AfterStep<M, B>> {
        None
    }

    /// Who tells classes apart. There is one predictor at most in a run. Default nobody.
    fn predictor(&self) -> Option<&dyn Predictor<M, B>> {
        None
    }

    /// Another one of the same configuration, for a replica of the model on another device;
    /// [`load`](super::RunState::load) then gives it the state of this one. Default `None`: a method that adds to the loss,
    /// changes gradients or the model works on one device only, any other beside the first replica.
    fn on_replica(&self) -> Option<Box<dyn Method<M, B> + Send>> {
        None
    }
}
