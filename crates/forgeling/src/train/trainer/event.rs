//! What a trainer reports.

use serde::Serialize;

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
        /// What it came to.
        #[serde(flatten)]
        validation: Validation,
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// Mean loss.
    pub loss: f64,
    /// Fraction of predictions that are right, where classes are told apart.
    pub accuracy: Option<f64>,
    /// Examples looked at.
    pub examples: usize,
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
}
