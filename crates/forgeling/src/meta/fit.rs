//! Training a [`Learner`] on episodes.

use std::ops::ControlFlow;

use serde::Serialize;
use web_time::Instant;

use super::{FitConfig, Learner, TaskLoss};
use crate::data::tasks::Episodes;
use crate::data::{Dataset, Task};
use crate::device::{Device, DeviceList};
use crate::error::{Error, Result};
use crate::parallel::ParallelConfig;
use crate::train::{
    Checkpoints, Run, Source, Step, StepEvent, StopReason, TrainEvent, TrainSummary, Trainer,
    Validation,
};

const OPERATION: &str = "fit";

/// What [`Learner::fit_run`] reads and writes: `FitRun::on(&data).validated_on("unseen", &other, 50)`.
pub struct FitRun<'a> {
    data: &'a dyn Dataset,
    held_out: Vec<(String, &'a dyn Dataset, usize)>,
    checkpoints: Option<&'a mut dyn Checkpoints>,
}

impl<'a> FitRun<'a> {
    /// Trains on episodes of `data`.
    pub fn on(data: &'a dyn Dataset) -> Self {
        Self {
            data,
            held_out: Vec::new(),
            checkpoints: None,
        }
    }

    /// Validates on so many episodes of other data too, of the same ways, shots and queries and the same ones every time.
    /// The first of several drives early stopping.
    #[must_use]
    pub fn validated_on(mut self, name: &str, data: &'a dyn Dataset, episodes: usize) -> Self {
        self.held_out.push((name.into(), data, episodes));
        self
    }

    /// Goes on from the latest checkpoint there, if there is one, and saves others.
    #[must_use]
    pub fn saved_in(mut self, checkpoints: &'a mut dyn Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }
}

/// What [`Learner::fit`] did, earlier parts of a run that went on included.
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
    /// The last validation, if there was one.
    pub validation: Option<Validation>,
    /// Whether the caller stopped it before its limits.
    pub stopped: bool,
}

impl From<TrainSummary> for FitSummary {
    fn from(summary: TrainSummary) -> Self {
        Self {
            steps: summary.steps,
            episodes: summary.examples,
            loss: summary.loss,
            accuracy: summary.accuracy.unwrap_or_default(),
            episodes_per_second: summary.examples_per_second,
            seconds: summary.seconds,
            validation: summary.validation,
            stopped: summary.reason == StopReason::Asked,
        }
    }
}

/// Episode sampler and [`Trainer`] of one training run, advanced one step at a time.
///
/// Between two steps the network is whole: it can be evaluated, saved or left as it is.
#[derive(Debug)]
pub struct EpisodeTrainer {
    config: FitConfig,
    episodes: Episodes,
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
        Ok(Self {
            episodes: config.episodes()?,
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
        let tasks = model.prepared(batch.tasks()?)?;
        self.advance(model, tasks, started).await
    }

    /// Takes one optimizer step on tasks of any kind drawn elsewhere, as they are; they may differ in ways, shots and queries or have numbers to
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
    ///     trainer.step_on(&mut model, tasks).await?;
    /// }
    /// assert_eq!(model.history().episodes, 2);
    /// # Ok::<(), forgeling::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When there is no task, when one does not fit the network, when an inner loop diverges, when the device fails, and
    /// when the loss or a gradient is not finite; the network is then as it was before the step.
    pub async fn step_on(&mut self, model: &mut Learner, tasks: Vec<Task>) -> Result<StepEvent> {
        for task in &tasks {
            model.check(task.shape(), OPERATION)?;
        }
        let tasks = model.prepared(tasks)?;
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
            none => none.insert(self.config.trainer(model)?),
        };
        let network = &mut model.model;
        let step = trainer.step_on(network, &TaskLoss, &[tasks]).await?;
        let (recent, seconds) = (trainer.recent(), started.elapsed().as_secs_f64());
        model.learned(&self.config, episodes, recent, seconds);
        Ok(StepEvent::from(&step))
    }
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

/// The same episodes of a data set, epoch after epoch.
struct HeldOut<'a> {
    episodes: Episodes,
    /// Before the first one.
    first: Episodes,
    data: &'a dyn Dataset,
    /// Of an epoch.
    count: usize,
    given: usize,
}

/// Episodes that are answered at once in validation.
const AT_ONCE: usize = 8;

impl<'a> HeldOut<'a> {
    fn new(config: &FitConfig, data: &'a dyn Dataset, count: usize) -> Result<Self> {
        if count == 0 {
            return Err(Error::invalid(OPERATION, "no episode to validate on")
                .expected("1 or more")
                .got(0));
        }
        let sampler = config.sampler(config.seed);
        sampler.check(data)?;
        let first = Episodes::new(sampler, None, config.seed)?;
        Ok(Self {
            episodes: first.clone(),
            first,
            data,
            count,
            given: 0,
        })
    }
}

impl Source for HeldOut<'_> {
    type Batch = Vec<Task>;

    async fn next(&mut self) -> Result<Option<Vec<Task>>> {
        let count = AT_ONCE.min(self.count - self.given);
        if count == 0 {
            (self.episodes, self.given) = (self.first.clone(), 0);
            return Ok(None);
        }
        let batch = self.episodes.batch(self.data, count)?;
        self.given += count;
        batch.tasks().map(Some)
    }

    // Between two validations it is at its beginning.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn resume(&mut self, _state: &serde_json::Value) -> Result<()> {
        Ok(())
    }
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
        let told = |event: &TrainEvent| match event {
            TrainEvent::Step(step) => on_event(&StepEvent::from(step)),
            _ => ControlFlow::Continue(()),
        };
        self.fit_run(FitRun::on(data), config, told).await
    }

    /// As [`fit`](Self::fit), with validation and checkpoints, and with all events: a run that was stopped or killed goes
    /// on where its latest checkpoint is, as [`Trainer::fit`] does, on the CPU bit for bit. It is to begin with the same
    /// learner.
    ///
    /// # Errors
    /// As [`fit`](Self::fit) and [`Trainer::fit`].
    pub async fn fit_run(
        &mut self,
        run: FitRun<'_>,
        config: FitConfig,
        on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<FitSummary> {
        config.check_limits()?;
        let mut source = Drawn {
            episodes: config.episodes()?,
            count: config.batch_episodes,
            data: run.data,
        };
        self.check(run.data.image_shape(), OPERATION)?;
        let mut held_out = Vec::new();
        for (name, data, count) in run.held_out {
            self.check(data.image_shape(), OPERATION)?;
            held_out.push((name, HeldOut::new(&config, data, count)?));
        }
        let devices = self.several(&config).await?;
        let mut trainer = config.trainer(self)?;
        let mut steps = Run::on(&mut source);
        for (name, source) in &mut held_out {
            steps = steps.validated_on(name, source);
        }
        if let Some(checkpoints) = run.checkpoints {
            steps = steps.saved_in(checkpoints);
        }
        let (network, objective) = (&mut self.model, &TaskLoss);
        let fitted = match devices {
            None => trainer.fit(network, objective, steps, on_event).await,
            Some(devices) => {
                let parallel = ParallelConfig::default();
                trainer
                    .fit_on_devices(&devices, parallel, network, objective, steps, on_event)
                    .await
            }
        };
        // Also where it failed on the way.
        let so_far = trainer.summary(StopReason::Asked);
        self.learned(&config, so_far.examples, trainer.recent(), so_far.seconds);
        let summary = fitted?;
        self.finish(run.data)?;
        Ok(summary.into())
    }

    /// The devices of a run, where there are several.
    async fn several(&self, config: &FitConfig) -> Result<Option<Vec<Device>>> {
        let several = |devices: &&DeviceList| devices.choices().len() > 1;
        let Some(devices) = config.hardware.devices.as_ref().filter(several) else {
            return Ok(None);
        };
        let devices = devices.open().await?;
        if devices[0].tensors() != self.device.tensors() {
            return Err(Error::invalid(
                OPERATION,
                "the network is not on the first of the devices",
            )
            .expected(&devices[0].info().name)
            .got(&self.device.info().name));
        }
        Ok(Some(devices))
    }

    /// Notes in the summary that so many episodes more have been learned from.
    fn learned(
        &mut self,
        config: &FitConfig,
        episodes: usize,
        (loss, accuracy): (f64, Option<f64>),
        seconds: f64,
    ) {
        if episodes == 0 {
            return;
        }
        let history = &mut self.history;
        history.episodes += episodes;
        history.ways = config.ways.get();
        history.shots = config.shots.get();
        history.queries = config.queries.get();
        history.seed = config.seed;
        history.loss = loss;
        history.accuracy = accuracy.unwrap_or_default();
        history.seconds += seconds;
    }
}
