//! Examples of before.

use super::RunState;
use crate::error::Result;

/// Examples that were trained on, some of which parts have again at each step: [`Needs::replayed`](super::Needs::replayed).
/// The trainer fills it and draws from it, so that all parts of a step have the same.
pub trait Replay<B>: RunState {
    /// Takes notice of what a step was taken on. `answers` are the model's outputs for it before the step, example after
    /// example: those that accuracy is counted from. There are none where classes are not told apart or several devices took
    /// the step.
    ///
    /// # Errors
    /// When it does not fit what is there.
    fn remember(&mut self, batch: &B, task: Option<usize>, answers: Option<&[f32]>) -> Result<()>;

    /// Whether it cannot do without `answers`. Default no.
    fn keeps_answers(&self) -> bool {
        false
    }

    /// After the last step on a task, as [`Part::end_task`](super::Part::end_task), after the parts were told. Default nothing.
    ///
    /// # Errors
    /// As the buffer says; the run then ends.
    fn end_task(&mut self, _task: usize) -> Result<()> {
        Ok(())
    }

    /// Draws so many examples, or fewer where there are not as many; `None` where there are none.
    ///
    /// # Errors
    /// When they cannot be read.
    fn draw(&mut self, examples: usize) -> Result<Option<B>>;
}
