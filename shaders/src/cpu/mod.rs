//! CPU twins: the specification the shaders are compared with, and what the CPU back end runs.
//!
//! Every function has the name and the argument order of its shader.

mod attention;
pub mod batch_norm;
pub mod conv2d;
pub mod conv_block;
mod episode;
pub mod half;
mod layer_norm;
mod loss;
mod matmul;
mod optimizer;
mod pairwise;
mod spd_inverse;

pub use attention::{AttentionShape, attention, attention_grad_key_value, attention_grad_query};
pub use episode::{EpisodeShape, episode_logits, episode_logits_grad, episode_prototypes};
pub use half::{pack_half, unpack_half};
pub use layer_norm::{LayerNormShape, layer_norm, layer_norm_backward};
pub use loss::{running_statistics, softmax_cross_entropy};
pub use matmul::{
    MatmulEnd, MatmulShape, activate, activation_grad, matmul, matmul_grad_right, matmul_reduce,
};
pub use optimizer::{
    AdamFactors, AdamShape, GATHERED, GatherShape, SgdFactors, SgdShape, adam, adam_update,
    optimizer_gather, sgd, sgd_update,
};
pub use pairwise::{
    PairwiseShape, pairwise_sq_distance, pairwise_sq_distance_grad_a, pairwise_sq_distance_grad_b,
};
pub use spd_inverse::{SpdInverseShape, spd_inverse};
