//! Batches of episodes, without end.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pipeline::{Pipeline, Plan, Source};
use super::{AUGMENT_STREAM, check_counts};
use crate::data::{
    Dataset, EpisodeBatch, EpisodePlan, EpisodeSampler, RandomAffine, Rng, SamplerState,
};
use crate::error::{Error, Result};

const OPERATION: &str = "load_episodes";

/// How an [`EpisodeLoader`] makes batches of what its sampler draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeLoaderConfig {
    /// Episodes of a batch. Default 1.
    pub episodes: usize,
    /// Threads that render episodes; 0 for none. A browser has none, whatever is said here. Default 1.
    pub workers: usize,
    /// Batches that the workers are ahead at most, each of which takes memory. Default 2.
    pub prefetch: usize,
    /// How each image is changed at random; `None` leaves it. Default `None`.
    pub augment: Option<RandomAffine>,
    /// Seed of the augmentation; the sampler has one of its own for the episodes. Default 0.
    pub seed: u64,
}

impl Default for EpisodeLoaderConfig {
    fn default() -> Self {
        Self {
            episodes: 1,
            workers: 1,
            prefetch: 2,
            augment: None,
            seed: 0,
        }
    }
}

impl EpisodeLoaderConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When a batch has no episode, there are more than 256 workers, none or more than 65,536 batches are prefetched, or
    /// the augmentation is out of range.
    pub fn validate(&self) -> Result<()> {
        let batch = ("episodes", self.episodes);
        check_counts(OPERATION, batch, self.workers, self.prefetch)?;
        self.augment.map_or(Ok(()), |augment| augment.validate())
    }
}

/// Where an [`EpisodeLoader`] stands, for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeLoaderState {
    /// The sampler before the next batch.
    pub sampler: SamplerState,
    /// Batches so far.
    pub batches: u64,
    /// As configured.
    pub episodes: usize,
    /// As configured.
    pub seed: u64,
}

/// Gives what an [`EpisodeSampler`] draws in batches, without end, rendered ahead by worker threads.
///
/// The episodes are those that the sampler would give by itself. Augmentation depends on the seed and on an episode's
/// number, not on the workers, which start with the first batch and end when the loader is dropped.
///
/// ```
/// use forgeling::data::{EpisodeLoader, EpisodeSampler, Glyphs, Queries, Shots, Split, Ways};
/// # pollster::block_on(async {
/// let glyphs = Glyphs::new(1, Split::Train, 100)?;
/// let sampler = EpisodeSampler::new(Ways::new(5)?, Shots::new(1)?, Queries::new(3)?, 42);
/// let mut loader = EpisodeLoader::new(glyphs, sampler, Default::default())?;
/// let batch = loader.next().await?;
/// assert_eq!(batch.query_dims(), [1, 5, 3, 1, 28, 28]);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
pub struct EpisodeLoader {
    pipeline: Pipeline<EpisodesPlan, Episodes>,
    config: EpisodeLoaderConfig,
}

impl EpisodeLoader {
    /// A loader of the episodes that `sampler` would draw next.
    ///
    /// # Errors
    /// When the configuration is out of range, and as [`EpisodeSampler::check`].
    pub fn new(
        dataset: impl Dataset + 'static,
        sampler: EpisodeSampler,
        config: EpisodeLoaderConfig,
    ) -> Result<Self> {
        config.validate()?;
        sampler.check(&dataset)?;
        let dataset: Arc<dyn Dataset> = Arc::new(dataset);
        let source = Episodes {
            dataset: dataset.clone(),
            sampler: sampler.clone(),
            augment: config.augment,
            rng: Rng::new(config.seed).fork(AUGMENT_STREAM),
        };
        let plan = EpisodesPlan {
            dataset,
            sampler,
            batches: 0,
            episodes: config.episodes,
            seed: config.seed,
        };
        Ok(Self {
            pipeline: Pipeline::new(plan, source, config.workers, config.prefetch),
            config,
        })
    }

    /// As configured.
    pub fn config(&self) -> &EpisodeLoaderConfig {
        &self.config
    }

    /// The next batch. With workers this blocks until it is ready; without, it is rendered here, and others run in
    /// between.
    ///
    /// # Errors
    /// When an image cannot be read, the dataset panics, or memory does not suffice. The batch is then left out: the next
    /// call gives the one that follows.
    pub async fn next(&mut self) -> Result<EpisodeBatch> {
        self.pipeline.next().await
    }

    /// Where the loader stands: behind the last batch that [`Self::next`] gave, whatever was rendered ahead.
    pub fn state(&self) -> EpisodeLoaderState {
        self.pipeline.state()
    }

    /// Goes on where `state` was taken: the batches that follow are those that would have followed there.
    ///
    /// # Errors
    /// When the state was taken of a loader whose seed, ways, shots, queries or episodes of a batch were others.
    pub fn resume(&mut self, state: EpisodeLoaderState) -> Result<()> {
        let mut plan = self.pipeline.plan().clone();
        let shape = |state: &EpisodeLoaderState| {
            let s = &state.sampler;
            let each = format!("{} ways, {} shots, {} queries", s.ways, s.shots, s.queries);
            format!("{} × {each}, seed {}", state.episodes, state.seed)
        };
        let (own, other) = (shape(&plan.state()), shape(&state));
        if own != other {
            let message = "the state is of a loader of other episodes";
            return Err(Error::invalid("resume_loader", message)
                .expected(own)
                .got(other));
        }
        plan.sampler = EpisodeSampler::from_state(state.sampler)?;
        plan.batches = state.batches;
        self.pipeline.replace(plan);
        Ok(())
    }
}

impl std::fmt::Debug for EpisodeLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpisodeLoader")
            .field("config", &self.config)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Which episodes make up a batch.
struct EpisodesJob {
    plans: Vec<EpisodePlan>,
    /// The number of the first one.
    first: u64,
}

#[derive(Clone)]
struct EpisodesPlan {
    dataset: Arc<dyn Dataset>,
    sampler: EpisodeSampler,
    batches: u64,
    episodes: usize,
    seed: u64,
}

impl Plan for EpisodesPlan {
    type Job = EpisodesJob;
    type State = EpisodeLoaderState;

    fn next(&mut self) -> Result<EpisodesJob> {
        let first = self.batches * self.episodes as u64;
        self.batches += 1;
        let plans = (0..self.episodes)
            .map(|_| self.sampler.plan(&self.dataset))
            .collect::<Result<_>>()?;
        Ok(EpisodesJob { plans, first })
    }

    fn state(&self) -> EpisodeLoaderState {
        EpisodeLoaderState {
            sampler: self.sampler.state(),
            batches: self.batches,
            episodes: self.episodes,
            seed: self.seed,
        }
    }
}

/// Renders episodes.
struct Episodes {
    dataset: Arc<dyn Dataset>,
    /// For the sizes of an episode.
    sampler: EpisodeSampler,
    augment: Option<RandomAffine>,
    rng: Rng,
}

impl Source for Episodes {
    type Job = EpisodesJob;
    type Item = EpisodeBatch;

    fn begin(&self, job: &EpisodesJob) -> Result<(EpisodeBatch, usize)> {
        let shape = self.dataset.image_shape();
        let mut batch = self.sampler.empty_batch(shape, job.plans.len())?;
        for plan in &job.plans {
            batch.push(plan.clone());
        }
        let images = batch.image_count();
        Ok((batch, images))
    }

    fn part(&self, job: &EpisodesJob, batch: &mut EpisodeBatch, part: usize) -> Result<()> {
        let shape = batch.shape;
        let (class, example, image) = batch.image_mut(part);
        self.dataset.read(class, example, image)?;
        if let Some(augment) = &self.augment {
            let mut rng = self.rng.fork(job.first).fork(part as u64);
            augment.apply(shape, image, &mut rng);
        }
        Ok(())
    }
}
