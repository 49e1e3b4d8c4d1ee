//! The model zoo: networks made of burn modules and [`crate::ops`].
//!
//! - [`ConvBlock`]: convolution, batch norm, ReLU and pooling, few-shot learning's workhorse.
//! - [`Conv4`]: four such blocks, the field's standard encoder for small images.
//! - [`Linear`]: a layer of neurons.
//! - [`Mlp`]: the multilayer perceptron.
//! - `init`: seeded initial weights, the same on every platform.

mod conv4;
mod conv_block;
mod init;
mod linear;
mod mlp;

pub use conv_block::{BatchStatistics, ConvBlock, Normalization};
pub use conv4::{Conv4, Conv4Config};
pub use linear::Linear;
pub use mlp::{Mlp, MlpConfig};
