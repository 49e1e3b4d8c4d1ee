//! Examples of before.

use super::RunState;
use crate::error::Result;

/// Examples that were trained on, some of which parts have again at each step: [`Needs::replayed`](super::Needs::replayed).
/// The trainer fills it and draws from it, so that all parts of a step have the same.
pub trait Replay<B>: RunState {
    /// Takes notice of what a step was taken on.
    ///
    /// # Errors
    /// When it does not fit what is there.
    fn remember(&mut self, batch: &B, task: Option<usize>) -> Result<()>;

    /// After the last step on a task, when the first batch of another has come, and after the parts were told. Default
    /// nothing.
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
