//! The field's standard encoder for small images.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{BatchStatistics, ConvBlock, Normalization, Pass};
use crate::data::{ImageShape, Rng};
use crate::error::{Error, Result};

/// The shape of a [`Conv4`] and the seed of its initial weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conv4Config {
    /// Channels of the images: 1 for grey, 3 for RGB. Default 1.
    pub channels: usize,
    /// Channels of every block. Default 64, as in the ProtoNet paper.
    pub filters: usize,
    /// Number of blocks, each halving height and width. Default 4.
    pub blocks: usize,
    /// Height and width of the images in pixels. Default 28.
    pub size: usize,
    /// Seed of the initial weights. Default 0.
    pub seed: u64,
}

impl Default for Conv4Config {
    fn default() -> Self {
        Self {
            channels: 1,
            filters: 64,
            blocks: 4,
            size: 28,
            seed: 0,
        }
    }
}

/// More than any model this library is made for; a file that claims more is not one of ours.
const MAX_FILTERS: usize = 4096;
const MAX_SIZE: usize = 4096;

impl Conv4Config {
    /// The shape of the images the network takes.
    pub fn image_shape(&self) -> ImageShape {
        ImageShape {
            channels: self.channels,
            height: self.size,
            width: self.size,
        }
    }

    /// Length of the feature vector: `filters * (size / 2^blocks)^2`.
    pub fn features(&self) -> usize {
        let side = self.size >> self.blocks;
        self.filters * side * side
    }

    /// Number of values a network of this shape holds, buffers included; `None` if it overflows.
    pub(crate) fn value_count(&self) -> Option<usize> {
        let block = |input: usize| {
            let weight = input.checked_mul(9)?.checked_mul(self.filters)?;
            weight.checked_add(self.filters.checked_mul(5)?)
        };
        let others = block(self.filters)?.checked_mul(self.blocks.checked_sub(1)?)?;
        block(self.channels)?.checked_add(others)
    }

    /// Checks every size.
    ///
    /// # Errors
    /// When a size is zero or beyond reason, or when the blocks shrink the image to nothing.
    pub fn validate(&self) -> Result<()> {
        const OPERATION: &str = "conv4_config";
        let ranges = [
            ("channels", self.channels, 1, MAX_FILTERS),
            ("filters", self.filters, 1, MAX_FILTERS),
            ("blocks", self.blocks, 1, 12),
            ("size", self.size, 1, MAX_SIZE),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(Error::invalid(OPERATION, format!("{name} is out of range"))
                    .expected(format!("{low} to {high}"))
                    .got(value));
            }
        }
        if self.size >> self.blocks == 0 {
            return Err(
                Error::invalid(OPERATION, "the blocks shrink the image to nothing")
                    .expected(format!(
                        "a size of at least {} for {} blocks",
                        1 << self.blocks,
                        self.blocks
                    ))
                    .got(self.size),
            );
        }
        Ok(())
    }
}

/// [`Conv4Config::blocks`] blocks one after the other, then flattened.
///
/// Shapes: `[batch, channels, size, size]` to `[batch, features]`. With the defaults 28×28 images become
/// 64 numbers. Vinyals et al., *Matching Networks for One Shot Learning*, 2016 (arXiv 1606.04080).
#[derive(Module, Debug)]
pub struct Conv4 {
    /// The blocks from image to features.
    pub blocks: Vec<ConvBlock>,
}

impl Conv4 {
    /// A network with weights drawn from the configuration's seed.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn new(config: &Conv4Config, device: &Device) -> Result<Self> {
        config.validate()?;
        let mut rng = Rng::new(config.seed);
        let blocks = (0..config.blocks)
            .map(|index| {
                let input = if index == 0 {
                    config.channels
                } else {
                    config.filters
                };
                ConvBlock::new(input, config.filters, &mut rng, device)
            })
            .collect();
        Ok(Self { blocks })
    }

    /// The features, and with [`Normalization::Batch`] each block's batch statistics.
    ///
    /// # Errors
    /// When the images do not have the configured channels, or become too small on the way.
    pub fn forward(
        &self,
        images: Tensor<4>,
        normalization: Normalization,
    ) -> Result<(Tensor<2>, Vec<BatchStatistics>)> {
        let mut pass = Pass::new(normalization, &images.device());
        let features = self.forward_with(images, &mut pass)?;
        Ok((features, pass.take_statistics()))
    }

    /// The features, in a pass of the caller's.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        Ok(self.maps_with(images, pass)?.flatten(1, 3))
    }

    /// The features before they are flattened, `[batch, filters, size / 2^blocks, size / 2^blocks]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn maps_with<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>> {
        let mut hidden = images;
        for (index, block) in self.blocks.iter().enumerate() {
            let name = format_args!("blocks.{index}");
            hidden = pass.block(name, block, hidden, ConvBlock::forward_with)?;
        }
        Ok(hidden)
    }

    /// Takes the statistics of one or more batches into the running ones.
    #[must_use]
    pub fn absorb(mut self, statistics: Vec<BatchStatistics>) -> Self {
        let count = self.blocks.len();
        for (index, batch) in statistics.into_iter().enumerate() {
            let block = &mut self.blocks[index % count];
            *block = block.clone().absorb(batch);
        }
        self
    }

    /// Puts the statistics of one batch in the place of the running ones, so that other images are normalized as this
    /// batch was. For networks that were trained without running statistics.
    #[must_use]
    pub fn normalizing_by(mut self, statistics: Vec<BatchStatistics>) -> Self {
        for (block, batch) in self.blocks.iter_mut().zip(statistics) {
            *block = block.clone().normalizing_by(batch);
        }
        self
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let trained = |block: &ConvBlock| {
            block.weight.val().shape().num_elements() + 3 * block.bias.val().shape().num_elements()
        };
        self.blocks.iter().map(trained).sum()
    }
}
