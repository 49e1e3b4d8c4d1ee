//! The model zoo: networks made of burn modules and [`crate::ops`].
//!
//! - [`ConvBlock`]: convolution, batch norm, ReLU and pooling, few-shot learning's workhorse.
//! - [`Conv4`]: four such blocks, the field's standard encoder for small images.
//! - [`BatchNorm`]: batch norm with a residual and an activation.
//! - [`ResNet18`]: the standard residual network, for images of 32×32.
//! - `init`: seeded initial weights, the same on every platform.

mod batch_norm;
mod conv4;
mod conv_block;
mod init;
mod resnet;

pub use batch_norm::BatchNorm;
pub use conv_block::{BatchStatistics, ConvBlock, Normalization};
pub use conv4::{Conv4, Conv4Config};
pub use resnet::{BasicBlock, ConvNorm, ResNet18, ResNet18Config};
