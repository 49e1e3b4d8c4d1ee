//! Our own differentiable operations.
//!
//! Each operation has a WGSL kernel for wgpu devices, a CPU body, a backward pass of its own, and a
//! composite [`mod@reference`] made of stock tensor operations. The reference is what tests compare with,
//! and what runs where the kernel cannot: a dtype other than f32, or a device whose compiler does not
//! take WGSL.

mod bodies;
mod conv_block;
mod cpu;
mod episode_logits;
mod flex;
mod heuristics;
mod launch;
mod matmul;
mod optimizer;
mod pairwise;
pub mod reference;
mod running_statistics;
mod softmax_cross_entropy;

pub use bodies::{Bodies, bodies, set_bodies};
pub use conv_block::{ConvBlockOutput, RunningNorm, conv_block, conv_block_running};
pub use episode_logits::{EpisodeCounts, episode_logits};
pub use matmul::{Activation, linear, matmul};
pub(crate) use optimizer::{AdamRule, OptimizerState, Rule, Scaling, SgdRule, step};
pub use pairwise::{pairwise_sq_distance, prototype_logits};
pub use running_statistics::{Blend, Statistics, running_statistics};
pub use softmax_cross_entropy::softmax_cross_entropy;
