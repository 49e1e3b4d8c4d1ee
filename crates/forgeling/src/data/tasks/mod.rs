//! Where tasks come from: each source follows from a seed, and goes on from a saved state with the tasks that would have
//! come.
//!
//! | source | its tasks |
//! |---|---|
//! | [`EpisodeTasks`] | N-way K-shot episodes of any [`Dataset`](super::Dataset): images, turned images, tables |
//! | [`UnevenTasks`] | episodes whose ways, shots and queries vary, class by class |
//! | [`SineTasks`] | waves to be continued from a few points, the regression of the MAML paper |
//! | [`ListTasks`] | the episodes of an [`EpisodeList`], the same ones for everybody |

mod episodes;
mod list;
mod sine;
mod uneven;

pub use episodes::{EpisodeTasks, Episodes};
pub use list::{EpisodeList, ListTasks, ListedEpisode};
pub use sine::{Sine, SineConfig, SineTasks};
pub use uneven::{UnevenConfig, UnevenTasks};

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The stream of the augmentation's random numbers, forked from a source's seed: apart from those of the episodes, so that
/// the same ones are drawn with and without augmentation.
const AUGMENT_STREAM: u64 = 1;

fn parse<T: DeserializeOwned>(state: &serde_json::Value) -> Result<T> {
    T::deserialize(state).map_err(|error| {
        Error::bad_data(RESUME, format!("not the state of such a source: {error}"))
    })
}

fn other_tasks() -> Error {
    Error::invalid(RESUME, "the state is of a source of other tasks")
}

const RESUME: &str = "resume_tasks";
