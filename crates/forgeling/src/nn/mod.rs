//! Networks: what they are, their weights, and what they are made of.
//!
//! - [`graph`]: a network as a value; [`zoo`]: families of them; [`catalog`]: all of them by name.
//! - [`Network`]: a graph with its weights.
//! - [`Pass`]: what goes through a forward pass: checkpointing, precision, statistics.
//! - [`BatchStatistics`], [`absorb`]: what batch norms find, and where it goes.
//! - [`Counts`]: how many values there are.
//! - [`MemoryPlan`]: how much memory training takes, known before any is allocated.
//! - [`Lora`]: a change of a weight by two small factors.
//! - [`ConvBlock`], [`BatchNorm`], [`LayerNorm`], [`LinearLayer`]: values of layers as modules.
//! - [`QuantizeValues`]: values rounded to 8 bits.
//! - `pool`: pooling of any window.
//! - `init`: seeded initial weights, the same on every platform.

mod batch_norm;
pub mod catalog;
mod conv_block;
mod counts;
pub mod graph;
mod init;
mod layer_norm;
mod linear;
mod lora;
mod network;
mod pass;
mod plan;
pub(crate) mod pool;
mod quantize;
mod statistics;
pub mod zoo;

pub use batch_norm::BatchNorm;
pub use conv_block::ConvBlock;
pub use counts::Counts;
pub use layer_norm::LayerNorm;
pub use linear::LinearLayer;
pub use lora::Lora;
pub(crate) use lora::check as check_lora;
pub use network::{
    AttentionValues, ConvValues, FusedAttentionValues, LinearValues, MixValues, Network,
    PatchValues, Values,
};
pub use pass::Pass;
pub(crate) use plan::readable;
pub use plan::{Contributor, MemoryPlan, PlanConfig, Planned, PlannedEpisodes};
pub use quantize::QuantizeValues;
pub use statistics::{BatchStatistics, Normalization, absorb, normalizing_by};
