//! Training a [`ProtoNet`] on episodes.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use burn::optim::GradientsParams;
use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::ProtoNet;
use super::protonet::accuracies;
use crate::data::{Dataset, EpisodeBatch, EpisodeSampler, Queries, RandomAffine, Rng, Shots, Ways};
use crate::device::Readback;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::Normalization;
use crate::train::{Adam, AdamConfig, HalvingSchedule, StepEvent};

/// Steps over which episodes per second and the summary's loss and accuracy are averaged.
const WINDOW: usize = 50;
const OPERATION: &str = "fit";
const AUGMENT_STREAM: u64 = 1;

/// What to train on and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
    /// The learning rate of Adam (beta 0.9 and 0.999, epsilon 1e-8) over the episodes.
    pub schedule: HalvingSchedule,
    /// How the images of an episode are changed before each step; `None` leaves them. Default `None`.
    pub augment: Option<RandomAffine>,
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
            schedule: HalvingSchedule::default(),
            augment: None,
            seed: 0,
        }
    }
}

/// What [`ProtoNet::fit`] did.
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

/// Optimizer, episode sampler and schedule of one training run, advanced one step at a time.
///
/// Between two steps the network is whole: it can be evaluated, saved or left as it is.
pub struct EpisodeTrainer {
    config: FitConfig,
    sampler: EpisodeSampler,
    /// Apart from the sampler's, so that the same episodes are drawn with and without augmentation.
    augment_rng: Rng,
    optimizer: Adam,
    begun: Instant,
    steps: usize,
    episodes: usize,
    /// When each of the last steps ended, with its loss and accuracy.
    recent: VecDeque<(Instant, f64, f64)>,
}

impl EpisodeTrainer {
    /// A trainer at the beginning of a run. `episodes` and `seconds` of the configuration are for
    /// [`ProtoNet::fit`]; a trainer goes on as long as it is asked to.
    ///
    /// # Errors
    /// When the configuration is out of range.
    pub fn new(config: FitConfig) -> Result<Self> {
        config.schedule.validate()?;
        if let Some(augment) = &config.augment {
            augment.validate()?;
        }
        if config.batch_episodes == 0 {
            return Err(Error::invalid("fit", "no episode in a step")
                .expected("batch_episodes of at least 1"));
        }
        Ok(Self {
            sampler: EpisodeSampler::new(config.ways, config.shots, config.queries, config.seed),
            augment_rng: Rng::new(config.seed).fork(AUGMENT_STREAM),
            optimizer: Adam::new(AdamConfig::default())?,
            begun: Instant::now(),
            steps: 0,
            episodes: 0,
            recent: VecDeque::new(),
            config,
        })
    }

    /// Draws episodes, augments them if so configured, and takes one optimizer step on them.
    ///
    /// # Errors
    /// When `data` does not fit the network or has too few classes or examples, and as
    /// [`step_on`](Self::step_on).
    pub async fn step(&mut self, model: &mut ProtoNet, data: &dyn Dataset) -> Result<StepEvent> {
        model.check(data.image_shape(), OPERATION)?;
        let started = Instant::now();
        let mut batch = self
            .sampler
            .sample_batch(data, self.config.batch_episodes)?;
        if let Some(augment) = self.config.augment {
            for images in [&mut batch.support, &mut batch.query] {
                augment.apply(batch.shape, images, &mut self.augment_rng);
            }
        }
        self.advance(model, batch, started).await
    }

    /// Takes one optimizer step on episodes drawn elsewhere, as they are.
    ///
    /// # Errors
    /// When the images do not fit the network, when the device fails, and when the loss or a gradient is not
    /// finite; the network is then as it was before the step.
    pub async fn step_on(
        &mut self,
        model: &mut ProtoNet,
        batch: EpisodeBatch,
    ) -> Result<StepEvent> {
        self.advance(model, batch, Instant::now()).await
    }

    async fn advance(
        &mut self,
        model: &mut ProtoNet,
        batch: EpisodeBatch,
        started: Instant,
    ) -> Result<StepEvent> {
        model.check(batch.shape, OPERATION)?;
        let (episodes, ways, queries) = (batch.episodes, batch.ways.get(), batch.queries.get());
        let rate = self.config.schedule.rate(self.episodes);
        let device = model.device.autodiff();
        let pass = model.forward(&model.encoder, batch, Normalization::Batch, &device)?;
        let gradients = GradientsParams::from_grads(pass.loss.backward(), &model.encoder);
        // Before anything is read, so that there is one wait for all; the network is replaced once the step is good.
        let encoder = self
            .optimizer
            .step(rate, model.encoder.clone(), gradients)
            .absorb(pass.statistics);
        let trip = Readback::new().with(pass.loss).with(pass.logits);
        let skipped = self.optimizer.skipped();
        let skipped = skipped.expect("a network has parameters, so that a step was taken");
        let [loss, logits, skipped] = trip.with(skipped).run().await?;
        let loss = f64::from(loss[0]);
        let diverged = |what: &str, got: String| {
            Error::new(ErrorKind::Diverged, OPERATION, what)
                .expected("a smaller learning rate")
                .got(format!("{got} at step {}", self.steps + 1))
        };
        if !loss.is_finite() {
            return Err(diverged("the loss is not finite", loss.to_string()));
        }
        if skipped[0] > 0.0 {
            let got = format!("a loss of {loss}");
            return Err(diverged("a gradient is not finite", got));
        }
        model.encoder = encoder;

        let accuracies = accuracies(&logits, episodes, ways, queries);
        let accuracy = accuracies.iter().sum::<f64>() / episodes as f64;
        Ok(self.record(model, episodes, rate, loss, accuracy, started))
    }

    fn record(
        &mut self,
        model: &mut ProtoNet,
        episodes: usize,
        rate: f64,
        loss: f64,
        accuracy: f64,
        started: Instant,
    ) -> StepEvent {
        let now = Instant::now();
        self.steps += 1;
        self.episodes += episodes;
        let since = self.recent.front().map_or(self.begun, |first| first.0);
        // The first entry of a full window only marks its beginning.
        let steps_since = if self.recent.is_empty() {
            1
        } else {
            self.recent.len()
        };
        self.recent.push_back((now, loss, accuracy));
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
        let seconds = now.duration_since(self.begun).as_secs_f64();
        let window = now.duration_since(since).as_secs_f64().max(1e-9);
        let (mean_loss, mean_accuracy) = self.recent_means();

        let summary = &mut model.summary;
        summary.episodes += episodes;
        summary.ways = self.config.ways.get();
        summary.shots = self.config.shots.get();
        summary.queries = self.config.queries.get();
        summary.seed = self.config.seed;
        summary.loss = mean_loss;
        summary.accuracy = mean_accuracy;
        summary.seconds += now.duration_since(started).as_secs_f64();
        StepEvent {
            step: self.steps,
            episode: self.episodes,
            loss,
            accuracy,
            learning_rate: rate,
            episodes_per_second: (steps_since * episodes) as f64 / window,
            seconds,
        }
    }

    fn recent_means(&self) -> (f64, f64) {
        let count = self.recent.len().max(1) as f64;
        let sum = self
            .recent
            .iter()
            .fold((0.0, 0.0), |sum, r| (sum.0 + r.1, sum.1 + r.2));
        (sum.0 / count, sum.1 / count)
    }

    fn finished(&self) -> bool {
        let enough = self
            .config
            .episodes
            .is_some_and(|limit| self.episodes >= limit);
        let late = self
            .config
            .seconds
            .is_some_and(|limit| self.begun.elapsed().as_secs_f64() >= limit);
        enough || late
    }

    fn summary(&self, stopped: bool) -> FitSummary {
        let seconds = self.begun.elapsed().as_secs_f64();
        let (loss, accuracy) = self.recent_means();
        FitSummary {
            steps: self.steps,
            episodes: self.episodes,
            loss,
            accuracy,
            episodes_per_second: self.episodes as f64 / seconds.max(1e-9),
            seconds,
            stopped,
        }
    }
}

impl ProtoNet {
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
        let mut trainer = EpisodeTrainer::new(config)?;
        while !trainer.finished() {
            let event = trainer.step(self, data).await?;
            if on_event(&event).is_break() {
                return Ok(trainer.summary(true));
            }
        }
        Ok(trainer.summary(false))
    }
}
