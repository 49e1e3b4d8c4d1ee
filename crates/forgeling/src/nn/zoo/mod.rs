//! Families of networks, each a configuration that gives a [`Graph`](super::graph::Graph).

mod conv4;
mod efficientnet;
mod integration;
mod inverted;
mod mlp;
mod mobilenet;
mod pathways;
mod resnet;
mod sequence;
mod vit;

pub use conv4::Conv4Config;
pub use efficientnet::EfficientNetConfig;
pub use integration::{IntegrationConfig, Pathways};
pub use mlp::MlpConfig;
pub use mobilenet::MobileNetConfig;
pub use pathways::{DualMlpConfig, MultiChannelResNetConfig};
pub use resnet::{Depth, ResNetConfig};
pub use sequence::SequenceConfig;
use serde::{Deserialize, Serialize};
pub use vit::VitConfig;

use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

/// How a network for images begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// For images of about 32×32: a 3×3 convolution of stride 1. The first stage of MobileNetV2 and of EfficientNet that
    /// would have a stride keeps the size, too. The default.
    #[default]
    Small,
    /// For images of 224×224, of whose rows and columns a quarter are left: in residual networks a 7×7 convolution of
    /// stride 2 and 3×3 max pooling of stride 2, in the others a 3×3 convolution of stride 2 and a stage with a stride.
    ImageNet,
}

/// More than any model this library is made for.
const MAX_SIDE: usize = 4096;
const MAX_CLASSES: usize = 1 << 20;

/// Whether a network can take such images and tell so many classes apart.
fn check_images(operation: &'static str, input: ImageShape, classes: usize) -> Result<()> {
    check_ranges(
        operation,
        [
            ("channels", input.channels, MAX_SIDE),
            ("height", input.height, MAX_SIDE),
            ("width of the images", input.width, MAX_SIDE),
            ("classes", classes, MAX_CLASSES),
        ],
    )
}

/// Whether each of these is at least 1 and at most its limit.
fn check_ranges(
    operation: &'static str,
    ranges: impl IntoIterator<Item = (&'static str, usize, usize)>,
) -> Result<()> {
    for (name, value, high) in ranges {
        if !(1..=high).contains(&value) {
            return Err(Error::invalid(operation, format!("{name} is out of range"))
                .expected(format!("1 to {high}"))
                .got(value));
        }
    }
    Ok(())
}
