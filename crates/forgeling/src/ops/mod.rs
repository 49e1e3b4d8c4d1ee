//! Our own differentiable operations.
//!
//! Each operation has a WGSL kernel for wgpu devices, a CPU implementation, a backward pass of its own, and a
//! composite [`mod@reference`] made of stock tensor operations. The reference is what tests compare with,
//! and what runs, with the cargo feature `composite`, where no implementation of ours can: a dtype other than f32
//! (and f16 on GPUs), or a device whose compiler does not take WGSL.
//!
//! Activations may be of half precision on GPUs whose shaders have it ([`DeviceInfo::f16`](crate::device::DeviceInfo)):
//! they are stored so, and parameters, sums and statistics stay f32.

mod attention;
mod batch_norm;
mod check;
mod conv2d;
mod conv_block;
mod cpu_tensors;
mod episode_logits;
mod fake_quantize;
mod heuristics;
mod implementation;
mod int8;
mod launch;
mod layer_norm;
mod matmul;
mod norm_pool;
mod optimizer;
mod pairwise;
pub mod plan;
pub mod reference;
mod running_statistics;
mod seed;
mod self_test;
mod soft_cross_entropy;
mod softmax_cross_entropy;
mod spd_inverse;
mod storage;
mod tape;

use forgeling_cpu as cpu;

pub use attention::{AttentionOptions, attention};
pub use batch_norm::{AfterNorm, batch_norm, batch_norm_running};
pub use conv_block::{ConvBlockOutput, RunningNorm, conv_block, conv_block_running};
pub use conv2d::{
    Conv2dOptions, FixedNorm, conv2d, conv2d_grad_input, conv2d_grad_weight, conv2d_norm_running,
};
pub(crate) use cpu::pairwise::squared_distance;
pub use episode_logits::{EpisodeCounts, episode_logits};
pub(crate) use fake_quantize::weight_bytes;
pub use fake_quantize::{Levels, fake_quantize};
pub use heuristics::{Heuristics, set_heuristics};
pub use implementation::{Implementation, implementation, set_implementation};
pub(crate) use int8::{Int8Layer, Int8Values, takes_bytes};
pub(crate) use launch::is_cpu;
pub use layer_norm::layer_norm;
pub use matmul::{Activation, linear, matmul};
pub use norm_pool::{
    NormPoolGrad, affine_relu_pool, channel_moments, norm_pool, norm_pool_grad, norm_pool_with,
};
pub(crate) use optimizer::{
    AdamRule, Cohort, OptimizerState, Rule, Scaling, SgdRule, Snapshot, counting_on, step,
};
pub use pairwise::{pairwise_sq_distance, prototype_logits};
pub use running_statistics::{Blend, Statistics, running_statistics};
pub(crate) use seed::seed;
pub(crate) use self_test::disagreement;
pub use soft_cross_entropy::soft_cross_entropy;
pub use softmax_cross_entropy::softmax_cross_entropy;
pub use spd_inverse::spd_inverse;
pub use storage::{Storage, store_as};
