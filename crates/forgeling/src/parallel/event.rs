//! What a step on several devices reports.

use serde::{Deserialize, Serialize};

/// What a step on several devices did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParallelStep {
    /// Mean loss over all examples of the batch.
    pub loss: f64,
    /// Means over all examples of the batch, in the order in which [`Contribution`](super::Contribution)s have them.
    pub metrics: Vec<f64>,
    /// Examples of the batch.
    pub examples: usize,
    /// Whether the loss, all gradients and all batch norms' variances were finite. If not, no replica took the step, and
    /// nothing changed.
    pub finite: bool,
    /// Examples of each replica's share.
    pub shares: Vec<usize>,
    /// Seconds in which each replica computed its share, until its first gradients were read.
    pub busy: Vec<f64>,
    /// Seconds from the first replica's beginning to its optimizer step's being on its way. What is above the largest of
    /// [`busy`](Self::busy) went into synchronization and the optimizer.
    pub seconds: f64,
    /// What else happened.
    pub events: Vec<ParallelEvent>,
}

/// Something other than a step's usual course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ParallelEvent {
    /// A device failed and trains no more; the others go on.
    Dropped {
        /// Its place among the devices training began with.
        device: usize,
        /// Its name.
        name: String,
        /// What failed.
        reason: String,
        /// Whether the step was done without it from the start, from parameters that had not changed. Otherwise it failed
        /// after the gradients had been averaged, and the others had taken the step.
        repeated: bool,
        /// How many devices are left.
        remaining: usize,
    },
    /// From now on batches are split in other parts.
    Planned {
        /// Each replica's part of a batch; together 1.
        parts: Vec<f64>,
    },
    /// The replicas' parameters had drifted apart by rounding, and are those of the first one again.
    Synchronized {
        /// The largest difference, as a part of the largest parameter.
        difference: f64,
    },
}
