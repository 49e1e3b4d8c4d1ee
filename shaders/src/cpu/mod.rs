//! CPU twins: the specification the shaders are compared with, and what the CPU back end runs.
//!
//! Every function has the name and the argument order of its shader.

mod adam;
mod attention;
pub mod batch_norm;
pub mod conv2d;
pub mod conv_block;
mod episode;
mod layer_norm;
mod loss;
mod prototype;

pub use adam::{AdamFactors, AdamShape, GATHERED, GatherShape, adam, adam_gather, adam_update};
pub use attention::{AttentionShape, attention, attention_grad_key_value, attention_grad_query};
pub use episode::{EpisodeShape, episode_logits, episode_logits_grad, episode_prototypes};
pub use layer_norm::{LayerNormShape, layer_norm, layer_norm_backward};
pub use loss::{running_statistics, softmax_cross_entropy};
pub use prototype::{
    PrototypeShape, prototype_logits, prototype_logits_grad_prototypes, prototype_logits_grad_query,
};
