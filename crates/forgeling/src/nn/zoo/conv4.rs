//! The field's standard encoder for small images.

use serde::{Deserialize, Serialize};

use super::check_ranges;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::{Builder, Conv2d, Graph, Layer, Norm, Shape, Window};

/// Blocks of 3×3 convolution, batch norm, ReLU and 2×2 max pooling one after the other: an encoder without a head
/// ([`Graph::with_outputs`] adds one). With four blocks it is Conv4, with six Conv6.
///
/// `[channels, size, size]` to maps `[filters, size / 2^blocks, size / 2^blocks]`: with the defaults 28×28 images become
/// 64 numbers. Blocks are named `blocks.0` and so on, `blocks.0` itself being the convolution, with `blocks.0.norm`.
/// Vinyals et al., *Matching Networks for One Shot Learning*, 2016 (arXiv 1606.04080).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conv4Config {
    /// Channels of the images: 1 for grey, 3 for RGB. Default 1.
    pub channels: usize,
    /// Channels of every block. Default 64, as in the ProtoNet paper.
    pub filters: usize,
    /// Number of blocks, each halving height and width. Default 4.
    pub blocks: usize,
    /// Blocks at the end that do not pool, so that six of them fit small images. Default 0.
    pub unpooled: usize,
    /// Height and width of the images in pixels. Default 28.
    pub size: usize,
}

impl Default for Conv4Config {
    fn default() -> Self {
        Self {
            channels: 1,
            filters: 64,
            blocks: 4,
            unpooled: 0,
            size: 28,
        }
    }
}

/// More than any model this library is made for.
const MAX_FILTERS: usize = 4096;
const MAX_SIZE: usize = 4096;
const MAX_BLOCKS: usize = 12;

impl Conv4Config {
    /// The shape of the images the network takes.
    pub fn image_shape(&self) -> ImageShape {
        ImageShape::new(self.channels, self.size, self.size)
    }

    /// The graph of such a network.
    ///
    /// # Errors
    /// When a size is zero or beyond reason, or when the blocks shrink the image to nothing.
    pub fn graph(&self) -> Result<Graph> {
        self.graph_for(self.image_shape())
    }

    /// The same blocks for images of another shape, which need not be square.
    ///
    /// # Errors
    /// As [`graph`](Self::graph).
    pub fn graph_for(&self, images: ImageShape) -> Result<Graph> {
        const OPERATION: &str = "conv4_config";
        let ImageShape {
            channels,
            height,
            width,
        } = images;
        check_ranges(
            OPERATION,
            [
                ("channels", channels, MAX_FILTERS),
                ("filters", self.filters, MAX_FILTERS),
                ("blocks", self.blocks, MAX_BLOCKS),
                ("size", height, MAX_SIZE),
                ("size", width, MAX_SIZE),
            ],
        )?;
        let pooled = self.blocks.saturating_sub(self.unpooled);
        let shorter = height.min(width);
        if shorter >> pooled == 0 {
            return Err(
                Error::invalid(OPERATION, "the blocks shrink the image to nothing")
                    .expected(format!(
                        "a size of at least {} for {pooled} blocks that pool",
                        1 << pooled
                    ))
                    .got(shorter),
            );
        }
        let mut graph = Builder::new(Shape::Maps([channels, height, width]))?;
        for index in 0..self.blocks {
            let name = |part: &str| format!("blocks.{index}{part}");
            graph.then(name(""), Layer::Conv2d(Conv2d::new(self.filters, 3).same()))?;
            graph.then(name(".norm"), Layer::BatchNorm(Norm::default()))?;
            graph.then(name(".relu"), Layer::Relu)?;
            if index < pooled {
                graph.then(name(".pool"), Layer::MaxPool(Window::default()))?;
            }
        }
        graph.finish()
    }
}
