//! Training a [`Learner`] on episodes.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::{Learner, TaskLoss};
use crate::data::tasks::Episodes;
use crate::data::{
    Dataset, EpisodeBatch, EpisodeSampler, Queries, RandomAffine, Shots, Task, Ways,
};
use crate::device::{Device, DeviceList};
use crate::error::{Error, Result};
use crate::parallel::ParallelConfig;
use crate::train::{
    HalvingSchedule, HardwareConfig, HardwareManager, OptimizerConfig, Run, Schedule, Source, Step,
    StepEvent, StopReason, TrainEvent, Trainer, TrainerConfig,
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
            seed: 0,
        }
    }
}

/// What [`Learner::fit`] did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FitSummary {
    /// Optimizer steps.
    pub steps: usize,
    /// Episodes.
    pub episodes: usize,
    /// Mean loss of the last steps, in nats.
    pub loss: f64,
    /// Mean query accuracy of the last steps, as a fraction.
    pub accuracy: f64,
    /// Episodes per second over the whole run.
    pub episodes_per_second: f64,
    /// Seconds.
    pub seconds: f64,
    /// Whether the caller stopped it before its limits.
    pub stopped: bool,
}

/// Episode sampler and [`Trainer`] of one training run, advanced one step at a time.
///
/// Between two steps the network is whole: it can be evaluated, saved or left as it is.
#[derive(Debug)]
pub struct EpisodeTrainer {
    config: FitConfig,
    episodes: Episodes,
    begun: Instant,
    /// From the first step on, which tells the device.
    trainer: Option<Trainer>,
}

impl EpisodeTrainer {
    /// A trainer at the beginning of a run. `episodes` and `seconds` of the configuration are for
    /// [`Learner::fit`]; a trainer goes on as long as it is asked to.
    ///
    /// # Errors
    /// When the configuration is out of range.
    pub fn new(config: FitConfig) -> Result<Self> {
        config.schedule.validate()?;
        if config.batch_episodes == 0 {
            return Err(Error::invalid("fit", "no episode in a step")
                .expected("batch_episodes of at least 1"));
        }
        Ok(Self {
            episodes: episodes(&config)?,
            begun: Instant::now(),
            trainer: None,
            config,
        })
    }

    /// Draws episodes, augments them if so configured, and takes one optimizer step on them.
    ///
    /// # Errors
    /// When `data` does not fit the network or has too few classes or examples, and as
    /// [`step_on`](Self::step_on).
    pub async fn step(&mut self, model: &mut Learner, data: &dyn Dataset) -> Result<StepEvent> {
        model.check(data.image_shape(), OPERATION)?;
        let started = Instant::now();
        let batch = self.episodes.batch(data, self.config.batch_episodes)?;
        self.advance(model, batch.tasks()?, started).await
    }

    /// Takes one optimizer step on episodes drawn elsewhere, as they are.
    ///
    /// # Errors
    /// When the images do not fit the network, when the device fails, and when the loss or a gradient is not
    /// finite; the network is then as it was before the step.
    pub async fn step_on(&mut self, model: &mut Learner, batch: EpisodeBatch) -> Result<StepEvent> {
        model.check(batch.shape, OPERATION)?;
        self.advance(model, batch.tasks()?, Instant::now()).await
    }

    /// Takes one optimizer step on tasks of any kind, which may differ in ways, shots and queries or have numbers to
    /// predict; each counts alike. An event's accuracy is 0 where there are no classes.
    ///
    /// ```
    /// use forgeling::data::{Glyphs, Split, TaskSource};
    /// use forgeling::data::tasks::{UnevenConfig, UnevenTasks};
    /// use forgeling::meta::{EpisodeTrainer, FitConfig, Learner};
    /// use forgeling::nn::zoo::Conv4Config;
    /// use forgeling::{Device, DeviceChoice};
    ///
    /// # pollster::block_on(async {
    /// let device = Device::open(DeviceChoice::Cpu).await?;
    /// let encoder = Conv4Config { filters: 4, ..Default::default() }.graph()?;
    /// let mut model = Learner::protonet(&encoder, 0, &device)?;
    /// let mut source = UnevenTasks::new(Glyphs::new(0, Split::Train, 100)?, UnevenConfig::default())?;
    /// let mut trainer = EpisodeTrainer::new(FitConfig::default())?;
    /// for _ in 0..2 {
    ///     let tasks = source.next_task()?.into_iter().collect();
    ///     trainer.step_on_tasks(&mut model, tasks).await?;
    /// }
    /// assert_eq!(model.summary().episodes, 2);
    /// # Ok::<(), forgeling::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When there is no task, when one does not fit the network, when an inner loop diverges, and as
    /// [`step_on`](Self::step_on).
    pub async fn step_on_tasks(
        &mut self,
        model: &mut Learner,
        tasks: Vec<Task>,
    ) -> Result<StepEvent> {
        for task in &tasks {
            model.check(task.shape(), OPERATION)?;
        }
        self.advance(model, tasks, Instant::now()).await
    }

    async fn advance(
        &mut self,
        model: &mut Learner,
        tasks: Vec<Task>,
        started: Instant,
    ) -> Result<StepEvent> {
        let episodes = tasks.len();
        let trainer = match &mut self.trainer {
            Some(trainer) => trainer,
            none => none.insert(trainer(&self.config, model)?),
        };
        let network = &mut model.model;
        let step = trainer.step_on(network, &TaskLoss, &[tasks]).await?;
        let recent = trainer.recent();
        model.learned(&self.config, episodes, recent, started.elapsed());
        Ok(StepEvent::from(&step))
    }

    fn finished(&self) -> bool {
        let episodes = self.trainer.as_ref().map_or(0, Trainer::examples);
        let enough = self.config.episodes.is_some_and(|limit| episodes >= limit);
        let seconds = self.begun.elapsed().as_secs_f64();
        enough || self.config.seconds.is_some_and(|limit| seconds >= limit)
    }

    fn summary(&self, stopped: bool) -> FitSummary {
        let seconds = self.begun.elapsed().as_secs_f64();
        let reason = if stopped {
            StopReason::Asked
        } else {
            StopReason::Finished
        };
        let summary = self.trainer.as_ref().map(|trainer| trainer.summary(reason));
        let episodes = summary.map_or(0, |summary| summary.examples);
        FitSummary {
            steps: summary.map_or(0, |summary| summary.steps),
            episodes,
            loss: summary.map_or(0.0, |summary| summary.loss),
            accuracy: summary
                .and_then(|summary| summary.accuracy)
                .unwrap_or_default(),
            episodes_per_second: episodes as f64 / seconds.max(1e-9),
            seconds,
            stopped,
        }
    }
}

fn episodes(config: &FitConfig) -> Result<Episodes> {
    let sampler = EpisodeSampler::new(config.ways, config.shots, config.queries, config.seed);
    Episodes::new(sampler, config.augment, config.seed)
}

/// The episodes of a data set, without end.
struct Drawn<'a> {
    episodes: Episodes,
    /// Of each step.
    count: usize,
    data: &'a dyn Dataset,
}

impl Source for Drawn<'_> {
    type Batch = Vec<Task>;

    async fn next(&mut self) -> Result<Option<Vec<Task>>> {
        let batch = self.episodes.batch(self.data, self.count)?;
        batch.tasks().map(Some)
    }

    fn state(&self) -> serde_json::Value {
        self.episodes.state()
    }

    fn resume(&mut self, state: &serde_json::Value) -> Result<()> {
        self.episodes.resume(state)
    }
}

impl From<&Step> for StepEvent {
    fn from(step: &Step) -> Self {
        Self {
            step: step.step,
            episode: step.examples,
            loss: step.loss,
            accuracy: step.accuracy.unwrap_or_default(),
            learning_rate: step.learning_rate,
            episodes_per_second: step.examples_per_second,
            seconds: step.seconds,
        }
    }
}

/// The trainer of a run on a network's device.
fn trainer(config: &FitConfig, model: &Learner) -> Result<Trainer> {
    let manager = HardwareManager::on(model.device.clone(), config.hardware.clone())?;
    let config = TrainerConfig {
        examples: config.episodes,
        seconds: config.seconds,
        optimizer: config.optimizer,
        // Of steps, where the interval is of episodes: rounded up to whole steps.
        schedule: Schedule::Halving(HalvingSchedule {
            every: config.schedule.every.div_ceil(config.batch_episodes),
            ..config.schedule
        }),
        ..Default::default()
    };
    Trainer::new(config, manager)
}

impl Learner {
    /// Trains on episodes of `data` until the configuration's limits, calling `on_event` after every step;
    /// `ControlFlow::Break` stops it there. The episodes of a step are normalised together, support and
    /// queries alike, as is usual.
    ///
    /// # Errors
    /// As [`EpisodeTrainer::step`], and when the configuration sets no limit.
    pub async fn fit(
        &mut self,
        data: &dyn Dataset,
        config: FitConfig,
        mut on_event: impl FnMut(&StepEvent) -> ControlFlow<()>,
    ) -> Result<FitSummary> {
        if config.episodes.is_none() && config.seconds.is_none() {
            return Err(Error::invalid("fit", "training has no end")
                .expected("a limit of episodes or seconds"));
        }
        let ends_at_once = |seconds: f64| seconds.is_nan() || seconds <= 0.0;
        if config.episodes == Some(0) || config.seconds.is_some_and(ends_at_once) {
            return Err(
                Error::invalid(OPERATION, "a limit is out of range").expected("limits above 0")
            );
        }
        let several = |devices: &&DeviceList| devices.choices().len() > 1;
        if let Some(devices) = config.hardware.devices.as_ref().filter(several) {
            let devices = devices.open().await?;
            let summary = self.fit_on(&devices, data, &config, on_event).await?;
            self.finish(data)?;
            return Ok(summary);
        }
        let mut trainer = EpisodeTrainer::new(config)?;
        let mut stopped = false;
        while !stopped && !trainer.finished() {
            let event = trainer.step(self, data).await?;
            stopped = on_event(&event).is_break();
        }
        self.finish(data)?;
        Ok(trainer.summary(stopped))
    }

    async fn fit_on(
        &mut self,
        devices: &[Device],
        data: &dyn Dataset,
        config: &FitConfig,
        mut on_event: impl FnMut(&StepEvent) -> ControlFlow<()>,
    ) -> Result<FitSummary> {
        if devices[0].tensors() != self.device.tensors() {
            return Err(Error::invalid(
                OPERATION,
                "the network is not on the first of the devices",
            )
            .expected(&devices[0].info().name)
            .got(&self.device.info().name));
        }
        // Checks the numbers.
        let episodes = EpisodeTrainer::new(config.clone())?.episodes;
        self.check(data.image_shape(), OPERATION)?;
        let begun = Instant::now();
        let mut trainer = trainer(config, self)?;
        let mut source = Drawn {
            episodes,
            count: config.batch_episodes,
            data,
        };
        let told = |event: &TrainEvent| match event {
            TrainEvent::Step(step) => on_event(&StepEvent::from(step)),
            _ => ControlFlow::Continue(()),
        };
        let (run, parallel) = (Run::on(&mut source), ParallelConfig::default());
        let network = &mut self.model;
        let summary = trainer
            .fit_on_devices(devices, parallel, network, &TaskLoss, run, told)
            .await?;
        self.learned(config, summary.examples, trainer.recent(), begun.elapsed());
        Ok(FitSummary {
            steps: summary.steps,
            episodes: summary.examples,
            loss: summary.loss,
            accuracy: summary.accuracy.unwrap_or_default(),
            episodes_per_second: summary.examples_per_second,
            seconds: summary.seconds,
            stopped: summary.reason == StopReason::Asked,
        })
    }

    /// Notes in the summary that so many episodes more have been learned from.
    fn learned(
        &mut self,
        config: &FitConfig,
        episodes: usize,
        (loss, accuracy): (f64, Option<f64>),
        took: Duration,
    ) {
        let summary = &mut self.summary;
        summary.episodes += episodes;
        summary.ways = config.ways.get();
        summary.shots = config.shots.get();
        summary.queries = config.queries.get();
        summary.seed = config.seed;
        summary.loss = loss;
        summary.accuracy = accuracy.unwrap_or_default();
        summary.seconds += took.as_secs_f64();
    }
}
