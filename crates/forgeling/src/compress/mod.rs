//! Networks that become smaller and faster.
//!
//! **Pruning** removes whole channels, so that what is left is a plain, smaller network:
//!
//! - [`ChannelGroups`]: which channels go together, followed index by index through the graph.
//! - [`PruningConfig`], [`PruningTarget`]: how much; [`Criterion`], [`Ranking`], [`HeadPruning`]: which.
//! - [`PruningPlan`]: planned, printed, applied to a network and to what its optimizer keeps.
//! - [`prune_gradually`]: in steps, with fine-tuning between; [`loss_gradients`], [`source_gradients`]: what the Taylor
//!   criterion needs.
//!
//! **Quantization** makes layers work in 8 bits: [`quantize`] after training, [`train_quantized`] with training that sees it;
//! [`QuantizationPlan`] says which layers, [`QuantizationConfig`] how.
//!
//! [`Distillation`](crate::train::Distillation) teaches the smaller network what the original answers.

mod config;
mod criterion;
mod cut;
mod gradual;
mod groups;
mod plan;
mod quantize;
mod ranking;
mod trace;

pub use config::{PruningConfig, PruningTarget, Ranking};
pub use criterion::Criterion;
pub use gradual::{
    GradualConfig, PruningEvent, PruningStep, loss_gradients, prune_gradually, source_gradients,
    upcoming_batches,
};
pub use groups::{ChannelGroup, ChannelGroups, HeadPruning, Member};
pub use plan::{NetworkSize, PlannedLayer, PrunedGroup, PruningPlan};

pub use quantize::{
    FloatLayer, LearnedScales, Observer, QuantizationConfig, QuantizationPlan, Quantized,
    QuantizedTraining, WeightScale, fold_batch_norms, quantize, train_quantized,
};

/// In messages.
const OPERATION: &str = "prune";
