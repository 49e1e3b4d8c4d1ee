//! What a trainer reports.

use serde::{Deserialize, Serialize};

/// What happened in training; the same natively and in JavaScript, where `event` tells which it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrainEvent {
    /// A step was taken.
    Step(Step),
    /// A step was skipped, because a gradient, scaled for half precision, was not finite.
    Skipped {
        /// Steps so far, skipped ones included.
        step: usize,
        /// What losses are scaled with from now on.
        loss_scale: f64,
    },
    /// Memory did not suffice for a pass, and passes became smaller; a step's examples stay the same.
    MicroBatch {
        /// Steps so far.
        step: usize,
        /// The most examples of a pass from now on.
        examples: usize,
    },
    /// The data were gone through once.
    Epoch {
        /// Epochs so far.
        epoch: usize,
        /// Steps so far.
        step: usize,
        /// Mean loss of the epoch's examples.
        loss: f64,
        /// Mean accuracy of the epoch's examples, as a fraction, where classes are told apart.
        accuracy: Option<f64>,
        /// Seconds of the epoch.
        seconds: f64,
    },
    /// The model was validated.
    Validated {
        /// Steps so far.
        step: usize,
        /// The name of the validation set.
        set: String,
        /// Whether this set drives early stopping, where there is some.
        judges: bool,
        /// What it came to.
        #[serde(flatten)]
        validation: Validation,
    },
    /// A checkpoint was saved.
    Saved {
        /// Steps so far.
        step: usize,
        /// Where it is.
        place: String,
    },
    /// Training goes on from a checkpoint.
    Resumed {
        /// Steps so far.
        step: usize,
        /// Epochs so far.
        epoch: usize,
        /// What was passed over because it was not whole, and why.
        damaged: Vec<String>,
    },
    /// A device failed and trains no more; the others go on from the last step that all of them took.
    DeviceDropped {
        /// Steps so far.
        step: usize,
        /// Its place among the devices training began with.
        device: usize,
        /// Its name.
        name: String,
        /// What failed.
        reason: String,
        /// How many devices are left.
        remaining: usize,
    },
    /// The devices' shares of a batch were set to what they were measured to do.
    Shares {
        /// Steps so far.
        step: usize,
        /// Each device's part; together 1.
        parts: Vec<f64>,
    },
    /// Training ended.
    Stopped {
        /// Steps so far.
        step: usize,
        /// Why.
        reason: StopReason,
    },
}

/// One step of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// Steps so far, this one included, and skipped ones.
    pub step: usize,
    /// Epochs that are over.
    pub epoch: usize,
    /// Examples so far, this step's included.
    pub examples: usize,
    /// Mean loss of this step's examples, before the step.
    pub loss: f64,
    /// Fraction of this step's predictions that are right, where classes are told apart.
    pub accuracy: Option<f64>,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// What the loss was scaled with.
    pub loss_scale: f64,
    /// Examples per second over the last steps, loading included.
    pub examples_per_second: f64,
    /// Seconds since training began.
    pub seconds: f64,
    /// Whether it was skipped, because a scaled gradient was not finite; the model is then as it was.
    pub skipped: bool,
}

/// How a model does on data it is not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Mean loss.
    pub loss: f64,
    /// Fraction of predictions that are right, where classes are told apart.
    pub accuracy: Option<f64>,
    /// The same for each class by itself, averaged over the classes that occur, so that each counts alike however many
    /// examples it has; see [`balanced_accuracy`](crate::train::balanced_accuracy). What earlier versions saved has none.
    #[serde(default)]
    pub balanced_accuracy: Option<f64>,
    /// Examples looked at.
    pub examples: usize,
}

/// Means over the examples of a whole epoch, each before the step that was taken on it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochMeans {
    /// Epochs so far, this one included.
    pub epoch: usize,
    /// Mean loss.
    pub loss: f64,
    /// Fraction of predictions that are right, where classes are told apart.
    pub accuracy: Option<f64>,
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// A limit of the configuration was reached.
    Finished,
    /// The caller asked for it.
    Asked,
    /// Validation did not become better for long.
    Converged,
}

/// What [`Trainer::fit`](super::Trainer::fit) did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrainSummary {
    /// Optimizer steps, skipped ones included.
    pub steps: usize,
    /// Epochs that were gone through.
    pub epochs: usize,
    /// Examples.
    pub examples: usize,
    /// Mean loss of the last steps.
    pub loss: f64,
    /// Mean accuracy of the last steps, as a fraction, where classes are told apart.
    pub accuracy: Option<f64>,
    /// The last epoch that was gone through whole, if there was one.
    pub last_epoch: Option<EpochMeans>,
    /// The last validation, if there was one; of several sets, on the one that drives early stopping.
    pub validation: Option<Validation>,
    /// Examples per second over the whole run.
    pub examples_per_second: f64,
    /// Seconds.
    pub seconds: f64,
    /// Why it ended.
    pub reason: StopReason,
}
