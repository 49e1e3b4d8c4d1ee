//! How far a run has come.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::{EpochMeans, Step, StopReason, TrainEvent, TrainSummary, TrainerConfig, Validation};
use crate::train::StepReport;

/// Steps over which examples per second and the summary's loss and accuracy are averaged.
const WINDOW: usize = 50;

/// How far a run has come.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    /// Of earlier processes.
    spent: Spent,
    kept: Kept,
    /// When each of the last steps of this process ended, with its examples.
    ends: VecDeque<(Instant, usize)>,
    epoch_begun: Instant,
}

/// What of it goes into checkpoints.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub steps: usize,
    pub epochs: usize,
    pub examples: usize,
    pub epoch: Epoch,
    last_epoch: Option<EpochMeans>,
    pub validation: Option<Validation>,
    /// That of the last step's examples.
    pub task: Option<usize>,
    /// Loss and accuracy of the last steps.
    recent: VecDeque<(f64, Option<f64>)>,
}

/// Sums over the steps of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Epoch {
    pub batches: usize,
    examples: usize,
    loss: f64,
    accuracy: Option<f64>,
}

/// Seconds, which differ from run to run where nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spent {
    run: f64,
    epoch: f64,
}

impl Progress {
    pub fn new() -> Self {
        Self::resumed(Kept::default(), Spent::default())
    }

    /// Goes on from there.
    pub fn resumed(kept: Kept, spent: Spent) -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            spent,
            kept,
            ends: VecDeque::new(),
            epoch_begun: now,
        }
    }

    pub fn kept(&self) -> Kept {
        let mut kept = self.kept.clone();
        // What is not finite has no place in JSON.
        kept.validation = kept.validation.filter(|found| found.loss.is_finite());
        kept
    }

    pub fn spent(&self) -> Spent {
        Spent {
            run: self.seconds(),
            epoch: self.spent.epoch + self.epoch_begun.elapsed().as_secs_f64(),
        }
    }

    pub fn steps(&self) -> usize {
        self.kept.steps
    }

    pub fn epochs(&self) -> usize {
        self.kept.epochs
    }

    pub fn examples(&self) -> usize {
        self.kept.examples
    }

    /// Batches of the epoch so far.
    pub fn batches(&self) -> usize {
        self.kept.epoch.batches
    }

    pub fn seconds(&self) -> f64 {
        self.spent.run + self.begun.elapsed().as_secs_f64()
    }

    pub fn task(&self) -> Option<usize> {
        self.kept.task
    }

    pub fn begin_task(&mut self, task: Option<usize>) {
        self.kept.task = task;
    }

    pub fn validated(&mut self, validation: Validation) {
        self.kept.validation = Some(validation);
    }

    /// Mean loss and accuracy of the last steps.
    pub fn recent(&self) -> (f64, Option<f64>) {
        let recent = &self.kept.recent;
        let count = recent.len().max(1) as f64;
        let loss = recent.iter().map(|(loss, _)| loss).sum::<f64>() / count;
        let accuracies = recent.iter().filter_map(|(_, accuracy)| *accuracy);
        let accuracy = accuracies.reduce(|sum, accuracy| sum + accuracy);
        (loss, accuracy.map(|sum| sum / count))
    }

    /// Takes notice of a step on so many batches and examples.
    pub fn add(&mut self, batches: usize, examples: usize, rate: f64, report: &StepReport) -> Step {
        let kept = &mut self.kept;
        kept.steps += 1;
        kept.examples += examples;
        kept.epoch.batches += batches;
        if !report.skipped {
            let (epoch, weight) = (&mut kept.epoch, examples as f64);
            epoch.examples += examples;
            epoch.loss += weight * report.loss;
            if let Some(accuracy) = report.accuracy {
                *epoch.accuracy.get_or_insert(0.0) += weight * accuracy;
            }
            kept.recent.push_back((report.loss, report.accuracy));
            if kept.recent.len() > WINDOW {
                kept.recent.pop_front();
            }
        }
        let now = Instant::now();
        self.ends.push_back((now, examples));
        // The first entry of a full window only marks its beginning.
        if self.ends.len() > WINDOW {
            self.ends.pop_front();
        }
        let (since, counted) = match self.ends.front() {
            Some((first, _)) if self.ends.len() > 1 => (*first, 1),
            _ => (self.begun, 0),
        };
        let examples: usize = self.ends.iter().skip(counted).map(|(_, count)| count).sum();
        let window = now.duration_since(since).as_secs_f64().max(1e-9);
        Step {
            step: self.kept.steps,
            epoch: self.kept.epochs,
            examples: self.kept.examples,
            loss: report.loss,
            accuracy: report.accuracy,
            learning_rate: rate,
            loss_scale: report.loss_scale,
            examples_per_second: examples as f64 / window,
            seconds: self.seconds(),
            skipped: report.skipped,
        }
    }

    pub fn end_epoch(&mut self) -> TrainEvent {
        let kept = &mut self.kept;
        kept.epochs += 1;
        let epoch = std::mem::take(&mut kept.epoch);
        let begun = std::mem::replace(&mut self.epoch_begun, Instant::now());
        let earlier = std::mem::take(&mut self.spent.epoch);
        let count = epoch.examples.max(1) as f64;
        let (loss, accuracy) = (epoch.loss / count, epoch.accuracy.map(|sum| sum / count));
        kept.last_epoch = Some(EpochMeans {
            epoch: kept.epochs,
            loss,
            accuracy,
        });
        TrainEvent::Epoch {
            epoch: kept.epochs,
            step: kept.steps,
            loss,
            accuracy,
            seconds: earlier + begun.elapsed().as_secs_f64(),
        }
    }

    /// Whether a limit has been reached.
    pub fn finished(&self, config: &TrainerConfig) -> bool {
        let over = |limit: Option<usize>, count: usize| limit.is_some_and(|limit| count >= limit);
        let kept = &self.kept;
        over(config.epochs, kept.epochs)
            || over(config.fast_dev_run.map(|_| 1), kept.epochs)
            || over(config.steps, kept.steps)
            || over(config.examples, kept.examples)
            || config.seconds.is_some_and(|limit| self.seconds() >= limit)
    }

    pub fn summary(&self, reason: StopReason) -> TrainSummary {
        let (seconds, kept) = (self.seconds(), &self.kept);
        let (loss, accuracy) = self.recent();
        TrainSummary {
            steps: kept.steps,
            epochs: kept.epochs,
            examples: kept.examples,
            loss,
            accuracy,
            last_epoch: kept.last_epoch,
            validation: kept.validation,
            examples_per_second: kept.examples as f64 / seconds.max(1e-9),
            seconds,
            reason,
        }
    }
}
