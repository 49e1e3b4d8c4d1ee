//! The model zoo: networks made of burn modules and [`crate::ops`].
//!
//! - [`ConvBlock`]: convolution, batch norm, ReLU and pooling, few-shot learning's workhorse.
//! - [`Conv4`]: four such blocks, the field's standard encoder for small images.
//! - [`Conv4Classifier`]: a `Conv4` with a linear head.
//! - [`LayerNorm`]: rows normalised.
//! - [`VitBlock`]: attention and a perceptron.
//! - [`Vit`]: patches and such blocks, a small Vision Transformer.
//! - [`BatchNorm`]: batch norm with a residual and an activation.
//! - [`ResNet18`]: the standard residual network, for images of 32×32.
//! - [`Linear`]: a layer of neurons.
//! - [`Mlp`]: the multilayer perceptron.
//! - [`Lora`]: a change of a weight by two small factors; [`LoraConv4`]: a frozen `Conv4` with such changes.
//! - [`Pass`]: what goes through a forward pass: checkpointing, precision, statistics.
//! - [`MemoryPlan`]: how much memory training takes, told before any is allocated.
//! - `init`: seeded initial weights, the same on every platform.

mod batch_norm;
mod conv4;
mod conv4_classifier;
mod conv_block;
mod init;
mod layer_norm;
mod linear;
mod lora;
mod mlp;
mod pass;
mod plan;
mod resnet;
mod vit;
mod vit_block;

pub use batch_norm::BatchNorm;
pub use conv_block::{BatchStatistics, ConvBlock, Normalization};
pub use conv4::{Conv4, Conv4Config};
pub use conv4_classifier::Conv4Classifier;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub(crate) use lora::check as check_lora;
pub use lora::{Lora, LoraBlock, LoraConv4};
pub use mlp::{Mlp, MlpConfig};
pub use pass::Pass;
pub(crate) use pass::worth_cutting;
pub(crate) use plan::readable;
pub use plan::{Contributor, MemoryPlan, PlanConfig, Planned, PlannedClassifier, PlannedEpisodes};
pub use resnet::{BasicBlock, ConvNorm, ResNet18, ResNet18Config};
pub use vit::{Vit, VitConfig};
pub use vit_block::VitBlock;
