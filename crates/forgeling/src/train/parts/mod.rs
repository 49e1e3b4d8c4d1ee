//! What a method adds to training.
//!
//! [`Trainer::fit`](super::Trainer::fit) owns the loop and the order of things; a [`Method`] plays one or several *roles* in
//! it. A [`Run`](super::Run) takes any number of methods. Roles differ in what they may touch:
//!
//! - [`LossTerm`]: adds to the loss; reads the model. Any number.
//! - [`GradientRule`]: changes the gradients before the step, unscaled and before they are clipped. One at most.
//! - [`AfterStep`]: changes the model, and what the optimizer keeps of it, after a step. Any number, in their order.
//! - [`Predictor`]: tells classes apart in the place of the model's outputs. One at most.
//!
//! Every method is a [`Part`]: it has a name and [`Needs`], which are checked before the first step, and a [`RunState`] of its
//! own in [`Sections`] of the checkpoint. What methods train on again comes from a [`Replay`]. [`gradients`] are sums and
//! products of whole models' gradients.
//!
//! Methods also work as ranks of several processes, and on several devices where [`Method::on_replica`] gives another one.

mod after;
pub mod gradients;
mod loss;
mod method;
mod needs;
mod predictor;
mod replay;
mod rule;
mod sections;
mod set;

pub use after::{AfterStep, Taken};
pub use loss::LossTerm;
pub(crate) use loss::WithTerms;
pub use method::Method;
pub use needs::Needs;
pub use predictor::Predictor;
pub use replay::Replay;
pub use rule::GradientRule;
pub use sections::{RunState, Sections};
pub use set::Changes;
pub(crate) use set::{Parts, Takes};

use crate::error::Result;

/// What parts of a run have in common.
pub trait Part<M>: RunState {
    /// Tells it from the others of a run, in messages and in checkpoints; without a `/`.
    fn name(&self) -> &str;

    /// What it cannot do without. Default nothing.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Before the first step on a task. Default nothing.
    ///
    /// # Errors
    /// As the part says; the run then ends.
    fn begin_task(&mut self, _task: usize, _model: &M) -> Result<()> {
        Ok(())
    }

    /// After the last step on a task: where the source [says](crate::train::Source::ends_task) that it was the last, before the
    /// model is validated; otherwise when the first batch of another task has come. Default nothing.
    ///
    /// # Errors
    /// As the part says; the run then ends.
    fn end_task(&mut self, _task: usize, _model: &M) -> Result<()> {
        Ok(())
    }

    /// After the last step of an epoch, of which so many are over, before the model is validated. On several devices only the
    /// run's own part is told. Default nothing.
    ///
    /// # Errors
    /// As the part says; the run then ends.
    fn end_epoch(&mut self, _epoch: usize, _model: &M) -> Result<()> {
        Ok(())
    }

    /// Bytes that it keeps on the device, which count towards the memory budget. Default 0.
    fn bytes(&self) -> u64 {
        0
    }
}

/// Where a run is when it takes a step.
#[derive(Debug)]
pub struct StepContext<'a, B> {
    /// Steps before this one.
    pub step: usize,
    /// Epochs that are over.
    pub epoch: usize,
    /// The task of the step's examples, where the source has tasks.
    pub task: Option<usize>,
    /// The learning rate.
    pub learning_rate: f64,
    /// Examples of the step, without those of before.
    pub examples: usize,
    /// Examples of before, as many as the part that [needs](Needs::replayed) most asked for; `None` as long as there are
    /// none.
    pub replayed: Option<&'a B>,
}

// Whatever the batches are.
impl<B> Clone for StepContext<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for StepContext<'_, B> {}
