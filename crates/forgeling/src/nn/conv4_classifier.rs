//! Conv4 with a linear head.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{BatchStatistics, Conv4, Conv4Config, Linear, Pass};
use crate::data::Rng;
use crate::error::{Error, Result};
use crate::ops::Activation;

/// The head's weights do not depend on how many numbers the encoder's took.
const HEAD_STREAM: u64 = 1;
const MAX_CLASSES: usize = 1 << 16;

/// A [`Conv4`] and a linear layer on its features, for classes that are known in training.
///
/// Shapes: `[batch, channels, size, size]` to logits `[batch, classes]`.
#[derive(Module, Debug)]
pub struct Conv4Classifier {
    /// From images to features.
    pub encoder: Conv4,
    /// From features to logits.
    pub head: Linear,
}

impl Conv4Classifier {
    /// A network with weights drawn from the configuration's seed.
    ///
    /// # Errors
    /// When the configuration is not valid, or the classes are none or beyond reason.
    pub fn new(config: &Conv4Config, classes: usize, device: &Device) -> Result<Self> {
        if !(1..=MAX_CLASSES).contains(&classes) {
            return Err(
                Error::invalid("conv4_classifier", "classes is out of range")
                    .expected(format!("1 to {MAX_CLASSES}"))
                    .got(classes),
            );
        }
        let encoder = Conv4::new(config, device)?;
        let mut rng = Rng::new(config.seed).fork(HEAD_STREAM);
        let head = Linear::new(config.features(), classes, &mut rng, device);
        Ok(Self { encoder, head })
    }

    /// The logits.
    ///
    /// # Errors
    /// When the images do not have the configured channels, or become too small on the way.
    pub fn forward_with<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        let features = self.encoder.forward_with(images, pass)?;
        self.head.forward(features, Activation::None)
    }

    /// Takes the statistics of a batch into the running ones.
    #[must_use]
    pub fn absorb(mut self, statistics: Vec<BatchStatistics>) -> Self {
        self.encoder = self.encoder.absorb(statistics);
        self
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let [features, classes] = self.head.weight.val().dims();
        self.encoder.parameter_count() + (features + 1) * classes
    }
}
