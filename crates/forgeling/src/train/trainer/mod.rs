//! The training loop.
//!
//! - [`TrainerConfig`]: how long, with what.
//! - [`Source`]: where batches come from.
//! - [`TrainEvent`]: what is reported.
//! - `anomaly`: which part of a model gave the first value that is not finite.

mod anomaly;
mod config;
mod event;
mod source;

use std::collections::VecDeque;
use std::ops::ControlFlow;

use web_time::Instant;

pub use anomaly::first_anomaly;
pub use config::TrainerConfig;
pub use event::{Step, StopReason, TrainEvent, Validation};
pub use source::Source;

use super::objective::{Batch, Objective, Trainable, count_right};
use super::{AnyOptimizer, HardwareManager, StepReport};
use crate::device::Readback;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{Normalization, Pass};

/// Steps over which examples per second and the summary's loss and accuracy are averaged.
const WINDOW: usize = 50;
const OPERATION: &str = "fit";

/// What [`Trainer::fit`] did.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TrainSummary {
    /// AnyOptimizer steps, skipped ones included.
    pub steps: usize,
    /// Epochs that were gone through.
    pub epochs: usize,
    /// Examples.
    pub examples: usize,
    /// Mean loss of the last steps.
    pub loss: f64,
    /// Mean accuracy of the last steps, as a fraction, where classes are told apart.
    pub accuracy: Option<f64>,
    /// The last validation, if there was one.
    pub validation: Option<Validation>,
    /// Examples per second over the whole run.
    pub examples_per_second: f64,
    /// Seconds.
    pub seconds: f64,
    /// Why it ended.
    pub reason: StopReason,
}

/// Takes training steps, one after the other, on any model and objective. Between two steps the model is whole: it can be
/// evaluated, saved or left as it is.
#[derive(Debug)]
pub struct Trainer {
    config: TrainerConfig,
    manager: HardwareManager,
    optimizer: AnyOptimizer,
    progress: Progress,
    /// The most examples in one pass, once memory has not sufficed.
    micro_batch: Option<usize>,
}

/// How far a run has come.
#[derive(Debug)]
struct Progress {
    begun: Instant,
    steps: usize,
    epochs: usize,
    examples: usize,
    /// When each of the last steps ended, with its examples, loss and accuracy.
    recent: VecDeque<Recent>,
    epoch: Epoch,
    validation: Option<Validation>,
}

#[derive(Debug, Clone, Copy)]
struct Recent {
    at: Instant,
    examples: usize,
    loss: f64,
    accuracy: Option<f64>,
}

/// Sums over the steps of an epoch.
#[derive(Debug, Clone, Copy)]
struct Epoch {
    begun: Instant,
    batches: usize,
    examples: usize,
    loss: f64,
    accuracy: Option<f64>,
}

impl Epoch {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            batches: 0,
            examples: 0,
            loss: 0.0,
            accuracy: None,
        }
    }

    fn add(&mut self, examples: usize, report: &StepReport) {
        let weight = examples as f64;
        self.examples += examples;
        self.loss += weight * report.loss;
        if let Some(accuracy) = report.accuracy {
            *self.accuracy.get_or_insert(0.0) += weight * accuracy;
        }
    }
}

impl Trainer {
    /// A trainer before its first step.
    ///
    /// # Errors
    /// When the configuration is out of range.
    pub fn new(config: TrainerConfig, manager: HardwareManager) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            optimizer: AnyOptimizer::new(config.optimizer)?,
            micro_batch: manager.config().micro_batch,
            progress: Progress {
                begun: Instant::now(),
                steps: 0,
                epochs: 0,
                examples: 0,
                recent: VecDeque::new(),
                epoch: Epoch::new(),
                validation: None,
            },
            config,
            manager,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// What it trains on.
    pub fn manager(&self) -> &HardwareManager {
        &self.manager
    }

    /// Steps so far, skipped ones included.
    pub fn steps(&self) -> usize {
        self.progress.steps
    }

    /// Examples so far.
    pub fn examples(&self) -> usize {
        self.progress.examples
    }

    /// The most examples of a pass, where that was asked for or memory has not sufficed for more.
    pub fn micro_batch(&self) -> Option<usize> {
        self.micro_batch
    }

    /// Mean loss and accuracy of the last steps.
    pub fn recent(&self) -> (f64, Option<f64>) {
        let recent = &self.progress.recent;
        let count = recent.len().max(1) as f64;
        let loss = recent.iter().map(|step| step.loss).sum::<f64>() / count;
        let accuracies = recent.iter().filter_map(|step| step.accuracy);
        let accuracy = accuracies.reduce(|sum, accuracy| sum + accuracy);
        (loss, accuracy.map(|sum| sum / count))
    }

    /// Takes one step on all of these batches, each of which counts by its examples.
    ///
    /// # Errors
    /// When there is no example, when a batch does not fit the model, when memory does not suffice for a single example,
    /// when the device fails, and when the loss or a gradient is not finite. The model is then as it was before the step.
    pub async fn step_on<M: Trainable, O: Objective<M>>(
        &mut self,
        model: &mut M,
        objective: &O,
        batches: &[O::Batch],
    ) -> Result<Step> {
        let examples: usize = batches.iter().map(Batch::len).sum();
        if examples == 0 {
            return Err(Error::invalid(OPERATION, "a step on no example"));
        }
        let largest = batches.iter().map(Batch::len).max().unwrap_or(1);
        loop {
            let micro = self.micro_batch.unwrap_or(largest).min(largest);
            let passed = self.passes(model, objective, batches, micro, examples);
            match passed {
                Ok(()) => break,
                Err(problem) => {
                    self.manager.clear();
                    if !problem.is_out_of_memory() || micro == 1 {
                        return Err(problem);
                    }
                    self.manager.device().tensors().memory_cleanup();
                    self.micro_batch = Some(micro.div_ceil(2));
                }
            }
        }
        let rate = self.config.schedule.rate(self.progress.examples);
        let stepped = self.manager.step(&mut self.optimizer, rate, model).await;
        let report = match stepped {
            Err(problem) if problem.is_diverged() => {
                return Err(self.explain(problem, model, objective, batches).await);
            }
            stepped => stepped?,
        };
        let progress = &mut self.progress;
        progress.steps += 1;
        progress.examples += examples;
        progress.recent.push_back(Recent {
            at: Instant::now(),
            examples,
            loss: report.loss,
            accuracy: report.accuracy,
        });
        // The first entry of a full window only marks its beginning.
        if progress.recent.len() > WINDOW {
            progress.recent.pop_front();
        }
        progress.epoch.batches += batches.len();
        if !report.skipped {
            progress.epoch.add(examples, &report);
        }
        Ok(self.taken(rate, &report))
    }

    /// Forward and backward passes of at most `micro` examples each.
    fn passes<M: Trainable, O: Objective<M>>(
        &mut self,
        model: &M,
        objective: &O,
        batches: &[O::Batch],
        micro: usize,
        examples: usize,
    ) -> Result<()> {
        for batch in batches {
            let mut one = |part: &O::Batch| {
                let share = part.len() as f64 / examples as f64;
                let pass = self
                    .manager
                    .forward(|pass| objective.forward(model, part, pass))?;
                self.manager.backward_part(pass, model, share)
            };
            if batch.len() <= micro {
                one(batch)?;
                continue;
            }
            for part in batch.split(&even_parts(batch.len(), micro)) {
                one(&part)?;
            }
        }
        Ok(())
    }

    /// Adds to an error which part of the model gave the first value that is not finite.
    async fn explain<M: Trainable, O: Objective<M>>(
        &self,
        problem: Error,
        model: &M,
        objective: &O,
        batches: &[O::Batch],
    ) -> Error {
        for batch in batches {
            let found = first_anomaly(&self.manager, model, objective, batch).await;
            if let Ok(Some(name)) = found {
                let step = self.progress.steps + 1;
                let what = format!("{name} is not finite at step {step}");
                let error = Error::new(ErrorKind::Diverged, problem.operation(), what);
                return error
                    .expected(problem.expectation().unwrap_or("finite values"))
                    .got(problem.found().unwrap_or("others"));
            }
        }
        problem
    }

    /// Mean loss and accuracy of `model` over an epoch of `source`, with running statistics and without gradients.
    ///
    /// # Errors
    /// When the data cannot be read or do not fit the model, when there are none, and when the device fails.
    pub async fn validate<M: Trainable, O: Objective<M>>(
        &self,
        model: &M,
        objective: &O,
        source: &mut impl Source<Batch = O::Batch>,
    ) -> Result<Validation> {
        let frozen = model.valid();
        let (mut loss, mut right, mut rows, mut examples) = (0.0, 0, 0, 0);
        let limit = self.config.fast_dev_run.unwrap_or(usize::MAX);
        let mut batches = 0;
        while let Some(batch) = source.next().await? {
            let micro = self.micro_batch.unwrap_or(batch.len()).max(1);
            for part in batch.split(&even_parts(batch.len(), micro)) {
                let mut pass = Pass::new(Normalization::Running, self.manager.device().tensors())
                    .computing_in(self.manager.precision().dtype());
                let outcome = objective.forward(&frozen, &part, &mut pass)?;
                let mut trip = Readback::new().with(outcome.loss);
                let labels = outcome.predictions.map(|predictions| {
                    trip = std::mem::take(&mut trip).with(predictions.logits);
                    predictions.labels
                });
                let read = trip.run_all().await?;
                loss += part.len() as f64 * f64::from(read[0][0]);
                examples += part.len();
                if let Some(labels) = labels {
                    right += count_right(&read[1], &labels);
                    rows += labels.len();
                }
            }
            batches += 1;
            if batches >= limit {
                break;
            }
        }
        if examples == 0 {
            return Err(Error::invalid(OPERATION, "nothing to validate on"));
        }
        Ok(Validation {
            loss: loss / examples as f64,
            accuracy: (rows > 0).then(|| right as f64 / rows as f64),
            examples,
        })
    }

    /// Trains `model` on batches of `source` until a limit of the configuration, calling `on_event` for everything that
    /// happens; `ControlFlow::Break` after a step stops it there. With `validation`, the model is validated on an epoch
    /// of it after every epoch, or as [`validate_every`](TrainerConfig::validate_every) says.
    ///
    /// # Errors
    /// When the configuration sets no limit, as [`step_on`](Self::step_on), and when the data cannot be read or an epoch
    /// has no batch.
    pub async fn fit<M, O, S>(
        &mut self,
        model: &mut M,
        objective: &O,
        source: &mut S,
        mut validation: Option<&mut S>,
        mut on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<TrainSummary>
    where
        M: Trainable,
        O: Objective<M>,
        S: Source<Batch = O::Batch>,
    {
        if !self.config.is_limited() {
            return Err(Error::invalid(OPERATION, "training has no end")
                .expected("a limit of epochs, steps, examples or seconds"));
        }
        let mut kept: Vec<O::Batch> = Vec::new();
        let reason = loop {
            if self.finished() {
                break StopReason::Finished;
            }
            let mut batches = Vec::new();
            let mut over = false;
            while batches.len() < self.config.accumulate && !over {
                match self.next_batch(source, &mut kept, batches.len()).await? {
                    Some(batch) => batches.push(batch),
                    None => over = true,
                }
            }
            if !batches.is_empty() {
                let micro_batch = self.micro_batch;
                let step = self.step_on(model, objective, &batches).await?;
                if let Some(examples) = self.micro_batch.filter(|_| self.micro_batch != micro_batch)
                {
                    let step = step.step;
                    let _ = on_event(&TrainEvent::MicroBatch { step, examples });
                }
                let event = if step.skipped {
                    TrainEvent::Skipped {
                        step: step.step,
                        loss_scale: self.manager.loss_scale(),
                    }
                } else {
                    TrainEvent::Step(step)
                };
                if on_event(&event).is_break() {
                    break StopReason::Asked;
                }
                let every = self.config.validate_every;
                if every.is_some_and(|every| self.progress.steps.is_multiple_of(every)) {
                    self.validate_with(model, objective, &mut validation, &mut on_event)
                        .await?;
                }
            }
            if over {
                if self.progress.epoch.batches == 0 {
                    return Err(Error::invalid(OPERATION, "an epoch without a batch"));
                }
                let event = self.end_epoch();
                let broken = on_event(&event).is_break();
                if self.config.validate_every.is_none() {
                    self.validate_with(model, objective, &mut validation, &mut on_event)
                        .await?;
                }
                if broken {
                    break StopReason::Asked;
                }
            }
        };
        let step = self.progress.steps;
        let _ = on_event(&TrainEvent::Stopped { step, reason });
        Ok(self.summary(reason))
    }

    /// The next batch of the source, or of those that are trained on over and over; `None` at the end of an epoch.
    async fn next_batch<S: Source>(
        &self,
        source: &mut S,
        kept: &mut Vec<S::Batch>,
        pending: usize,
    ) -> Result<Option<S::Batch>>
    where
        S::Batch: Clone,
    {
        let place = self.progress.epoch.batches + pending;
        if self.config.fast_dev_run.is_some_and(|limit| place >= limit) {
            return Ok(None);
        }
        let Some(limit) = self.config.overfit_batches else {
            return source.next().await;
        };
        if place >= limit {
            return Ok(None);
        }
        if place >= kept.len() {
            match source.next().await? {
                Some(batch) => kept.push(batch),
                None => return Ok(None),
            }
        }
        Ok(Some(kept[place].clone()))
    }

    async fn validate_with<M, O, S>(
        &mut self,
        model: &M,
        objective: &O,
        validation: &mut Option<&mut S>,
        on_event: &mut impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<()>
    where
        M: Trainable,
        O: Objective<M>,
        S: Source<Batch = O::Batch>,
    {
        let Some(source) = validation else {
            return Ok(());
        };
        let validation = self.validate(model, objective, *source).await?;
        self.progress.validation = Some(validation);
        let step = self.progress.steps;
        let _ = on_event(&TrainEvent::Validated { step, validation });
        Ok(())
    }

    /// The step just taken.
    fn taken(&self, rate: f64, report: &StepReport) -> Step {
        let progress = &self.progress;
        let (first, last) = (progress.recent.front(), progress.recent.back());
        // Of a single step, the time since the beginning; otherwise the first entry marks where the others begin.
        let (since, skipped) = match (first, last) {
            (Some(first), Some(last)) if first.at != last.at => (first.at, 1),
            _ => (progress.begun, 0),
        };
        let counted = progress.recent.iter().skip(skipped);
        let examples: usize = counted.map(|step| step.examples).sum();
        let now = Instant::now();
        let window = now.duration_since(since).as_secs_f64().max(1e-9);
        Step {
            step: progress.steps,
            epoch: progress.epochs,
            examples: progress.examples,
            loss: report.loss,
            accuracy: report.accuracy,
            learning_rate: rate,
            loss_scale: report.loss_scale,
            examples_per_second: examples as f64 / window,
            seconds: now.duration_since(progress.begun).as_secs_f64(),
            skipped: report.skipped,
        }
    }

    fn end_epoch(&mut self) -> TrainEvent {
        let progress = &mut self.progress;
        progress.epochs += 1;
        let epoch = std::mem::replace(&mut progress.epoch, Epoch::new());
        let count = epoch.examples.max(1) as f64;
        TrainEvent::Epoch {
            epoch: progress.epochs,
            step: progress.steps,
            loss: epoch.loss / count,
            accuracy: epoch.accuracy.map(|sum| sum / count),
            seconds: epoch.begun.elapsed().as_secs_f64(),
        }
    }

    fn finished(&self) -> bool {
        let (config, progress) = (&self.config, &self.progress);
        let over = |limit: Option<usize>, count: usize| limit.is_some_and(|limit| count >= limit);
        let seconds = progress.begun.elapsed().as_secs_f64();
        over(config.epochs, progress.epochs)
            || over(config.fast_dev_run.map(|_| 1), progress.epochs)
            || over(config.steps, progress.steps)
            || over(config.examples, progress.examples)
            || config.seconds.is_some_and(|limit| seconds >= limit)
    }

    /// The run so far.
    pub fn summary(&self, reason: StopReason) -> TrainSummary {
        let progress = &self.progress;
        let seconds = progress.begun.elapsed().as_secs_f64();
        let (loss, accuracy) = self.recent();
        TrainSummary {
            steps: progress.steps,
            epochs: progress.epochs,
            examples: progress.examples,
            loss,
            accuracy,
            validation: progress.validation,
            examples_per_second: progress.examples as f64 / seconds.max(1e-9),
            seconds,
            reason,
        }
    }
}

/// `total` in as few parts of at most `most` as there can be, whose sizes differ by one at most.
fn even_parts(total: usize, most: usize) -> Vec<usize> {
    let parts = total.div_ceil(most.max(1)).max(1);
    (0..parts)
        .map(|index| total / parts + usize::from(index < total % parts))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_few() {
        assert_eq!(even_parts(10, 4), [4, 3, 3]);
        assert_eq!(even_parts(10, 10), [10]);
        assert_eq!(even_parts(10, 99), [10]);
        assert_eq!(even_parts(3, 1), [1, 1, 1]);
        assert_eq!(even_parts(0, 4), [0]);
    }
}
