//! What every method trains with: events, schedules, model files and checkpoints.
//!
//! - [`Adam`], [`Sgd`], [`AnyOptimizer`]: the optimizers; [`Optimizer`]: what they have in common;
//!   [`OptimizerRecord`] is what they keep.
//! - [`MicroBatch`]: batches in parts that fit into memory, and the search for the largest.
//! - [`HardwareConfig`], [`HardwareManager`]: on what, and how; [`Trainer`]: the loop.
//! - [`CrossEntropy`], [`SoftCrossEntropy`]: what networks that tell images apart minimise.
//! - [`Distillation`]: to answer as another network does.
//! - [`LossScaler`]: what the loss is multiplied with in mixed precision.
//! - [`Schedule`], [`HalvingSchedule`]: the learning rate over time.
//! - [`Ema`]: a moving average of weights.
//! - [`EarlyStopping`]: when to stop.
//! - [`MlpTrainer`]: a perceptron in training.
//! - [`SavedNetwork`]: a network that tells images apart, and its model file; [`ModelCard`]: where it is from;
//!   [`ModelDescription`]: what a file says of itself; [`Storage`]: in how many bits its values are stored.
//! - [`probabilities`]: what a network says of images; [`Answer`]: that, and how far it can be believed:
//!   [`Confidence`], [`Temperature`], [`Typicality`].
//! - [`Scored`], [`Tally`], [`balanced_accuracy`]: how well each class is told from the others.
//! - [`MixRecord`]: how a network weights its pathways over training.
//! - [`recommend`]: the hardware configuration that suits a network.
//! - [`StepEvent`]: what a training loop reports after each step.
//! - [`weights`]: a module's values by name, and back.
//! - [`model_file`]: safetensors with a header of ours, written so that nothing is lost half-way.
//! - [`parts`]: what methods add to the loop.
//! - [`checkpoint`]: all that a run of training needs to go on, checked when it is read.

mod adam;
mod answer;
mod any_optimizer;
pub mod checkpoint;
mod confidence;
mod distillation;
mod early_stopping;
mod ema;
mod fine_tuning;
mod hardware;
mod hardware_manager;
mod micro_batch;
mod mix_record;
mod mlp;
mod model_card;
pub mod model_file;
mod models;
mod moved;
mod objective;
mod optimizer;
pub mod parts;
mod pending;
mod predict;
mod recommend;
mod record;
mod saved_network;
mod scaler;
mod schedule;
pub(crate) mod score;
mod sgd;
mod soft_cross_entropy;
mod storage;
mod trainer;
pub mod weights;

pub use adam::{Adam, AdamConfig};
pub use any_optimizer::{AnyOptimizer, OptimizerConfig};
pub use checkpoint::{Checkpoint, CheckpointConfig, CheckpointStore, Checkpoints};
pub(crate) use confidence::ranked;
pub use confidence::{
    Answer, Confidence, Ordinary, Prediction, Temperature, Typicality, picture_statistics,
};
pub use distillation::{Distillation, DistillationConfig};
pub use early_stopping::{EarlyStopping, EarlyStoppingConfig, EarlyStoppingState, Goal, Verdict};
pub use ema::{Ema, EmaConfig, EmaRecord};
pub use hardware::{HardwareConfig, HardwareReport, Precision, Preset, ResolvedPrecision};
pub use hardware_manager::{Forward, HardwareManager, StepReport};
pub(crate) use micro_batch::fewer;
pub use micro_batch::{FoundMicroBatch, MicroBatch, find_micro_batch};
pub use mix_record::{MixCurve, MixRecord};
pub use mlp::MlpTrainer;
pub use model_card::{ModelCard, ModelDescription, Resampling};
pub(crate) use moved::{Replace, in_place_of};
pub(crate) use objective::ranges;
pub use objective::{
    Batch, Classify, CrossEntropy, Encoder, Objective, Outcome, Predictions, Trainable, count_right,
};
pub use optimizer::Optimizer;
pub use predict::probabilities;
pub(crate) use predict::softmax;
pub use recommend::{Recommendation, recommend};
pub use record::{OptimizerCounts, OptimizerRecord};
pub use saved_network::{SavedNetwork, TrainingHistory};
pub use scaler::{LossScaler, LossScalerConfig, LossScalerState};
pub use schedule::{HalvingSchedule, Schedule};
pub use score::{Scored, Tally, balanced_accuracy};
use serde::Serialize;
pub use sgd::{Sgd, SgdConfig};
pub use soft_cross_entropy::SoftCrossEntropy;
pub use storage::Storage;
pub(crate) use trainer::{Around, Core, Engine};
pub use trainer::{
    Batches, EpochMeans, Epochs, MixedEpochs, Paced, Run, Source, Step, StopReason, TrainEvent,
    TrainSummary, Trainer, TrainerConfig, Validation, first_anomaly,
};

/// What a training loop reports after each optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepEvent {
    /// Optimizer steps so far, this one included.
    pub step: usize,
    /// Episodes seen so far, this step's included.
    pub episode: usize,
    /// Mean cross entropy of the queries of this step, in nats.
    pub loss: f64,
    /// Fraction of this step's queries that were classified rightly.
    pub accuracy: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Episodes per second over the last steps, rendering included.
    pub episodes_per_second: f64,
    /// Seconds since the trainer began.
    pub seconds: f64,
}
