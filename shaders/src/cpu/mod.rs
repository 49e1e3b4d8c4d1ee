//! CPU twins: the specification the shaders are compared with, and what the CPU back end runs.
//!
//! Every function has the name and the argument order of its shader.

mod adam;
pub mod conv_block;
mod episode;
mod loss;
mod matmul;
mod pairwise;

pub use adam::{AdamFactors, AdamShape, GATHERED, GatherShape, adam, adam_gather, adam_update};
pub use episode::{EpisodeShape, episode_logits, episode_logits_grad, episode_prototypes};
pub use loss::{running_statistics, softmax_cross_entropy};
pub use matmul::{
    MatmulEnd, MatmulShape, activate, activation_grad, matmul, matmul_grad_right, matmul_reduce,
};
pub use pairwise::{
    PairwiseShape, pairwise_sq_distance, pairwise_sq_distance_grad_a, pairwise_sq_distance_grad_b,
};
