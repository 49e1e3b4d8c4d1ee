//! A small Vision Transformer.

use serde::{Deserialize, Serialize};

use super::check_ranges;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::{Attention, Builder, Graph, Layer, Linear, Norm, Patches, Shape};

/// A Vision Transformer for small images: patches with learned positions, [`depth`](Self::depth) blocks of attention and
/// a perceptron, each after a norm and added to what it was given, a last norm, the mean over the patches, and a linear
/// head:
///
/// `x = x + attention(norm(x))`, `x = x + contract(gelu(expand(norm(x))))`
///
/// `[channels, size, size]` to `[classes]`; features are the means. Dosovitskiy et al., *An Image is Worth 16x16 Words*,
/// 2021 (arXiv 2010.11929), equations 2 and 3; Hendrycks and Gimpel, *Gaussian Error Linear Units*, 2016 (arXiv
/// 1606.08415). There is no class token: the mean over the patches stands for the image, which does as well (Beyer, Zhai
/// and Kolesnikov, *Better plain ViT baselines for ImageNet-1k*, 2022, arXiv 2205.01580).
///
/// Weights start uniform in `±sqrt(6 / (in + out))` (Glorot and Bengio, 2010), biases at 0, positions uniform with the
/// standard deviation 0.02.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VitConfig {
    /// Channels of the images: 1 for grey, 3 for RGB. Default 1.
    pub channels: usize,
    /// Height and width of the images in pixels. Default 28.
    pub size: usize,
    /// Height and width of a patch in pixels, which divides the size. Default 4, for 49 patches.
    pub patch: usize,
    /// Numbers that describe a patch throughout the network. Default 64.
    pub width: usize,
    /// Number of blocks. Default 4.
    pub depth: usize,
    /// Heads of every attention, which divide the width. Default 4.
    pub heads: usize,
    /// Width of the hidden layer of every block. Default 256, four times the default width.
    pub hidden: usize,
    /// Classes that the head tells apart. Default 10.
    pub classes: usize,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            size: 28,
            patch: 4,
            width: 64,
            depth: 4,
            heads: 4,
            hidden: 256,
            classes: 10,
        }
    }
}

/// More than any model this library is made for.
const MAX_WIDTH: usize = 4096;
const MAX_DEPTH: usize = 64;
const MAX_TOKENS: usize = 4096;
const MAX_CLASSES: usize = 1 << 16;

impl VitConfig {
    /// The shape of the images the network takes.
    pub fn image_shape(&self) -> ImageShape {
        ImageShape::new(self.channels, self.size, self.size)
    }

    /// The graph of such a network.
    ///
    /// # Errors
    /// When a size is zero or beyond reason, when the patch does not divide the size, or the heads the width.
    pub fn graph(&self) -> Result<Graph> {
        const OPERATION: &str = "vit_config";
        check_ranges(
            OPERATION,
            [
                ("channels", self.channels, MAX_WIDTH),
                ("size", self.size, MAX_WIDTH),
                ("patch", self.patch, self.size),
                ("width", self.width, MAX_WIDTH),
                ("depth", self.depth, MAX_DEPTH),
                ("heads", self.heads, self.width),
                ("hidden", self.hidden, 4 * MAX_WIDTH),
                ("classes", self.classes, MAX_CLASSES),
            ],
        )?;
        let tokens = (self.size / self.patch).pow(2);
        if tokens > MAX_TOKENS {
            return Err(Error::invalid(OPERATION, "too many patches")
                .expected(format!("at most {MAX_TOKENS}"))
                .got(tokens));
        }
        let mut graph = Builder::new(Shape::Maps([self.channels, self.size, self.size]))?;
        let (size, width) = (self.patch, self.width);
        let patches = Patches {
            size,
            width,
            class_token: false,
        };
        let mut hidden = graph.then("embed", Layer::Patches(patches))?;
        for index in 0..self.depth {
            let name = |part: &str| format!("blocks.{index}.{part}");
            let attention = Attention {
                heads: self.heads,
                fused: false,
            };
            graph.then(name("attention_norm"), Layer::LayerNorm(Norm::default()))?;
            let seen = graph.then(name("attention"), Layer::Attention(attention))?;
            hidden = graph.node(name("attention_sum"), Layer::Add, [hidden, seen])?;
            graph.then(name("mlp_norm"), Layer::LayerNorm(Norm::default()))?;
            graph.then(name("expand"), Layer::Linear(Linear::glorot(self.hidden)))?;
            graph.then(name("gelu"), Layer::Gelu)?;
            let contract = Layer::Linear(Linear::glorot(self.width));
            let contracted = graph.then(name("contract"), contract)?;
            hidden = graph.node(name("mlp_sum"), Layer::Add, [hidden, contracted])?;
        }
        graph.then("norm", Layer::LayerNorm(Norm::default()))?;
        graph.then("mean", Layer::GlobalMeanPool)?;
        graph.then("head", Layer::Linear(Linear::glorot(self.classes)))?;
        graph.finish()
    }
}
