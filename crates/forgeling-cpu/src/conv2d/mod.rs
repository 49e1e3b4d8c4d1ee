//! General convolution: any kernel, stride, padding and groups.
//!
//! - [`depthwise`]: where each channel is a group.
//! - [`Finish`]: what becomes of sums on their way to memory.
//! - `frame`: images with a border, and where the pixels below each tap lie in them.
//! - `plan`: forward and input gradient as the same gathering of pixels.
//! - `gather`: that gathering, as a product of weights with packed pixels or directly.
//! - [`ConvShape`]: its sizes.
//! - `tiles`: the register tiles.
//! - `weight`: gradients of weights and bias.

pub mod depthwise;
mod finish;
mod frame;
mod gather;
mod plan;
mod shape;
mod tiles;
mod weight;

pub use finish::Finish;
pub use gather::{finished, forward, input_gradient};
pub use shape::ConvShape;
pub use weight::{bias_gradient, weight_gradient};
