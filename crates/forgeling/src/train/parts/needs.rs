//! What a part cannot do without.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a part needs of a run, or what a [`Source`](crate::train::Source) has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Needs {
    /// That it learns where one task ends and the next begins.
    pub task_boundaries: bool,
    /// That the model learns, also where it is validated, which task an example is of.
    pub task_ids: bool,
    /// So many examples of before at each step, from the run's [`Replay`](super::Replay).
    pub replayed: usize,
}

impl Needs {
    /// To be told where tasks end, and nothing else.
    pub const BOUNDARIES: Self = Self {
        task_boundaries: true,
        task_ids: false,
        replayed: 0,
    };

    /// Whether a run has what the part of this name needs. `given` is what its source has; `replays`, whether there is a
    /// replay buffer.
    pub(super) fn check(self, part: &str, given: Self, replays: bool) -> Result<()> {
        let lacks = |what: &str, expected: &str| {
            let message = format!("part '{part}' needs {what}");
            Err(Error::invalid("fit", message).expected(expected))
        };
        if self.task_boundaries && !given.task_boundaries {
            return lacks("to be told where tasks end", "a source that has tasks");
        }
        if self.task_ids && !given.task_ids {
            return lacks("the examples' tasks", "a source that tells them");
        }
        if self.replayed > 0 && !replays {
            return lacks("examples of before", "a run with a replay buffer");
        }
        Ok(())
    }
}
