//! For how long, and how, a [`Learner`] is trained.

use serde::{Deserialize, Serialize};

use super::Learner;
use crate::data::tasks::Episodes;
use crate::data::{EpisodeSampler, Queries, RandomAffine, Shots, Ways};
use crate::error::{Error, Result};
use crate::train::{
    EarlyStoppingConfig, EmaConfig, HalvingSchedule, HardwareConfig, HardwareManager,
    OptimizerConfig, Schedule, Trainer, TrainerConfig,
};

const OPERATION: &str = "fit";

/// What to train on and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitConfig {
    /// Classes of an episode. Default 5.
    pub ways: Ways,
    /// Support examples of each class. Default 5.
    pub shots: Shots,
    /// Query examples of each class. Default 15.
    pub queries: Queries,
    /// Episodes of one optimizer step, in one forward and backward pass. Default 1.
    pub batch_episodes: usize,
    /// Stop after this many episodes; `None` for no limit. Default 300.
    pub episodes: Option<usize>,
    /// Stop after this many seconds; `None` for no limit. Default `None`.
    pub seconds: Option<f64>,
    /// What moves the parameters. Default Adam (beta 0.9 and 0.999, epsilon 1e-8).
    pub optimizer: OptimizerConfig,
    /// The learning rate over the episodes.
    pub schedule: HalvingSchedule,
    /// How the images of an episode are changed before each step; `None` leaves them. Default `None`.
    pub augment: Option<RandomAffine>,
    /// Precision, checkpointing and memory. The network's own device is used, whichever is named here; where there are
    /// several [`devices`](HardwareConfig::devices), of which the network's own is the first, [`Learner::fit`] deals the
    /// episodes of a step out to them.
    pub hardware: HardwareConfig,
    /// Average the weights of all steps; the average is what is validated and left behind. For [`Learner::fit`]. Default
    /// `None`.
    pub ema: Option<EmaConfig>,
    /// Validate after so many steps, where [`FitRun`](super::FitRun) says on what. Default 100.
    pub validate_every: usize,
    /// Stop when validation does not become better for long, and leave the model behind that was the best, as
    /// [`TrainerConfig::early_stopping`]. Default `None`.
    pub early_stopping: Option<EarlyStoppingConfig>,
    /// Save a checkpoint after so many steps and at the end, where [`FitRun`](super::FitRun) says in what. Default 100.
    pub checkpoint_every: usize,
    /// Seed of the episodes. Default 0.
    pub seed: u64,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            ways: Ways::DEFAULT,
            shots: Shots::DEFAULT,
            queries: Queries::DEFAULT,
            batch_episodes: 1,
            episodes: Some(300),
            seconds: None,
            optimizer: OptimizerConfig::default(),
            schedule: HalvingSchedule::default(),
            augment: None,
            hardware: HardwareConfig::default(),
            ema: None,
            validate_every: 100,
            early_stopping: None,
            checkpoint_every: 100,
            seed: 0,
        }
    }
}

impl FitConfig {
    /// The trainer of a run on a network's device.
    pub(super) fn trainer(&self, model: &Learner) -> Result<Trainer> {
        let manager = HardwareManager::on(model.device.clone(), self.hardware.clone())?;
        let config = TrainerConfig {
            examples: self.episodes,
            seconds: self.seconds,
            optimizer: self.optimizer,
            // Of steps, where the interval is of episodes: rounded up to whole steps.
            schedule: Schedule::Halving(HalvingSchedule {
                every: self.schedule.every.div_ceil(self.batch_episodes),
                ..self.schedule
            }),
            validate_every: Some(self.validate_every),
            ema: self.ema,
            early_stopping: self.early_stopping,
            checkpoint_every: Some(self.checkpoint_every),
            ..Default::default()
        };
        Trainer::new(config, manager)
    }

    /// The episodes that it trains on, before the first one.
    pub(super) fn episodes(&self) -> Result<Episodes> {
        self.schedule.validate()?;
        if self.batch_episodes == 0 {
            return Err(Error::invalid(OPERATION, "no episode in a step")
                .expected("batch_episodes of at least 1"));
        }
        Episodes::new(self.sampler(self.seed), self.augment, self.seed)
    }

    pub(super) fn sampler(&self, seed: u64) -> EpisodeSampler {
        EpisodeSampler::new(self.ways, self.shots, self.queries, seed)
    }

    /// Whether [`Learner::fit`] ends.
    pub(super) fn check_limits(&self) -> Result<()> {
        if self.episodes.is_none() && self.seconds.is_none() {
            return Err(Error::invalid(OPERATION, "training has no end")
                .expected("a limit of episodes or seconds"));
        }
        let ends_at_once = |seconds: f64| seconds.is_nan() || seconds <= 0.0;
        if self.episodes == Some(0) || self.seconds.is_some_and(ends_at_once) {
            return Err(
                Error::invalid(OPERATION, "a limit is out of range").expected("limits above 0")
            );
        }
        Ok(())
    }
}
