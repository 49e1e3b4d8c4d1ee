//! Equal N-way K-shot episodes.

use super::{AUGMENT_STREAM, other_tasks, parse};
use crate::data::{
    Dataset, EpisodeBatch, EpisodeSampler, RandomAffine, Rng, RngState, SamplerState, Task,
    TaskPlan, TaskSource,
};
use crate::error::Result;

/// A sampler of episodes whose images are changed at random. The episodes are those that the sampler draws by itself.
#[derive(Debug, Clone)]
pub struct Episodes {
    sampler: EpisodeSampler,
    augment: Option<RandomAffine>,
    rng: Rng,
}

impl Episodes {
    /// The episodes that `sampler` draws next. `augment` changes each image, and `seed` decides how.
    ///
    /// # Errors
    /// When the augmentation is out of range.
    pub fn new(sampler: EpisodeSampler, augment: Option<RandomAffine>, seed: u64) -> Result<Self> {
        augment.map_or(Ok(()), |augment| augment.validate())?;
        Ok(Self {
            sampler,
            augment,
            rng: Rng::new(seed).fork(AUGMENT_STREAM),
        })
    }

    /// The next episodes, side by side. Their images are changed in the order in which they lie there, all supports first:
    /// with augmentation, two episodes drawn together have other pixels than two drawn one after the other.
    ///
    /// # Errors
    /// As [`EpisodeSampler::sample_batch`]; nothing is then drawn.
    pub fn batch(&mut self, dataset: &dyn Dataset, episodes: usize) -> Result<EpisodeBatch> {
        let mut batch = self.sampler.sample_batch(dataset, episodes)?;
        if let Some(augment) = &self.augment {
            for images in [&mut batch.support, &mut batch.query] {
                augment.apply(batch.shape, images, &mut self.rng);
            }
        }
        Ok(batch)
    }

    /// The next episode as a task, with the pixels that [`batch`](Self::batch) gives one episode.
    ///
    /// # Errors
    /// As [`EpisodeSampler::plan`] and [`Task::read`]; nothing is then drawn.
    pub fn task(&mut self, dataset: &dyn Dataset) -> Result<Task> {
        let mut next = self.clone();
        let plan = TaskPlan::from(next.sampler.plan(dataset)?);
        let shape = dataset.image_shape();
        let task = Task::read_with(plan, dataset, |image| {
            if let Some(augment) = &next.augment {
                augment.apply(shape, image, &mut next.rng);
            }
        })?;
        *self = next;
        Ok(task)
    }

    /// The sampler.
    pub fn sampler(&self) -> &EpisodeSampler {
        &self.sampler
    }

    /// The state, from which [`resume`](Self::resume) goes on with the next episode.
    pub fn state(&self) -> serde_json::Value {
        serde_json::json!([self.sampler.state(), self.rng.state()])
    }

    /// Goes on where `state` was taken.
    ///
    /// # Errors
    /// When it is not the state of episodes of the same ways, shots and queries.
    pub fn resume(&mut self, state: &serde_json::Value) -> Result<()> {
        let (sampler, rng): (SamplerState, RngState) = parse(state)?;
        let sizes = |state: &SamplerState| (state.ways, state.shots, state.queries);
        let (own, other) = (sizes(&self.sampler.state()), sizes(&sampler));
        if own != other {
            let said =
                |(ways, shots, queries)| format!("{ways} ways, {shots} shots, {queries} queries");
            return Err(other_tasks().expected(said(own)).got(said(other)));
        }
        let (sampler, rng) = (EpisodeSampler::from_state(sampler)?, Rng::from_state(rng)?);
        (self.sampler, self.rng) = (sampler, rng);
        Ok(())
    }
}

/// The [`Episodes`] of a set as tasks, without end.
///
/// Tables are sets, too:
///
/// ```
/// use forgeling::data::{EpisodeSampler, Queries, Shots, TableSet, TaskSource, Ways};
/// use forgeling::data::tasks::EpisodeTasks;
/// # fn main() -> forgeling::Result<()> {
/// let kinds = ["ebb", "ebb", "ebb", "flood", "flood", "flood"];
/// let rows = [0.1, 9.0, 0.3, 8.0, 0.2, 8.5, 4.1, 9.5, 4.0, 7.5, 3.8, 8.1];
/// let (table, _) = TableSet::from_rows(2, &kinds, &rows)?.standardized()?;
/// let sampler = EpisodeSampler::new(Ways::new(2)?, Shots::new(2)?, Queries::new(1)?, 42);
/// let mut tasks = EpisodeTasks::new(table, sampler, None, 0)?;
/// let task = tasks.next_task()?.expect("there is no end");
/// assert_eq!((task.shape().width, task.outputs()), (2, 2));
/// assert_eq!(task.support().classes(), Some(&[0, 0, 1, 1][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EpisodeTasks<D> {
    dataset: D,
    episodes: Episodes,
}

impl<D: Dataset> EpisodeTasks<D> {
    /// The episodes that `sampler` draws next from `dataset`, which may be a reference. As [`Episodes::new`].
    ///
    /// # Errors
    /// As [`Episodes::new`].
    pub fn new(
        dataset: D,
        sampler: EpisodeSampler,
        augment: Option<RandomAffine>,
        seed: u64,
    ) -> Result<Self> {
        let episodes = Episodes::new(sampler, augment, seed)?;
        Ok(Self { dataset, episodes })
    }

    /// The set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// Whether every episode can be drawn, whichever classes come up.
    ///
    /// # Errors
    /// As [`EpisodeSampler::check`].
    pub fn check(&self) -> Result<()> {
        self.episodes.sampler.check(&self.dataset)
    }

    /// As [`Episodes::batch`].
    ///
    /// # Errors
    /// As [`Episodes::batch`].
    pub fn batch(&mut self, episodes: usize) -> Result<EpisodeBatch> {
        self.episodes.batch(&self.dataset, episodes)
    }
}

impl<D: Dataset> TaskSource for EpisodeTasks<D> {
    fn next_task(&mut self) -> Result<Option<Task>> {
        self.episodes.task(&self.dataset).map(Some)
    }

    fn state(&self) -> serde_json::Value {
        self.episodes.state()
    }

    fn resume(&mut self, state: &serde_json::Value) -> Result<()> {
        self.episodes.resume(state)
    }
}
