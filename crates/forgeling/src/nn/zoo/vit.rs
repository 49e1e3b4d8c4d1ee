//! Vision Transformers.

use serde::{Deserialize, Serialize};

use super::check_ranges;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::{Attention, Builder, Graph, Layer, Linear, Norm, Patches, Shape};

/// A Vision Transformer: patches with learned positions, [`depth`](Self::depth) blocks of attention and a perceptron, each
/// after a norm and added to what it was given, a last norm, the mean over the patches or the class token, and a linear head:
///
/// `x = x + attention(norm(x))`, `x = x + contract(gelu(expand(norm(x))))`
///
/// `[channels, size, size]` to `[classes]`; features are what the head takes. Dosovitskiy et al., *An Image is Worth 16x16 Words*,
/// 2021 (arXiv 2010.11929), equations 2 and 3; Hendrycks and Gimpel, *Gaussian Error Linear Units*, 2016 (arXiv
/// 1606.08415). By default there is no class token: the mean over the patches stands for the image, which does as well
/// (Beyer, Zhai and Kolesnikov, *Better plain ViT baselines for ImageNet-1k*, 2022, arXiv 2205.01580).
///
/// Weights start uniform in `±sqrt(6 / (in + out))` (Glorot and Bengio, 2010), biases at 0, positions uniform with the
/// standard deviation 0.02, as is the class token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Whether a learned token beside the patches stands for the image, and not their mean. Default no.
    pub class_token: bool,
    /// Whether queries, keys and values come of one layer of neurons, which is named `qkv`. Default no.
    pub fused: bool,
    /// What the norms add to variances. Default 1e-5.
    pub epsilon: f64,
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
            class_token: false,
            fused: false,
            epsilon: Norm::default().epsilon,
        }
    }
}

/// More than any model this library is made for.
const MAX_WIDTH: usize = 4096;
const MAX_DEPTH: usize = 64;
const MAX_TOKENS: usize = 4096;
const MAX_CLASSES: usize = 1 << 16;

impl VitConfig {
    /// ViT-Ti/16 for colour images of 224×224, as published weights have it: 192 numbers a patch, 3 heads, a class token,
    /// fused queries, keys and values, and 1e-6 in the norms. With 1,000 classes 5,717,416 trained values. Touvron et al.,
    /// *Training data-efficient image transformers & distillation through attention*, 2021 (arXiv 2012.12877).
    pub fn tiny(classes: usize) -> Self {
        Self::published(192, classes)
    }

    /// As [`tiny`](Self::tiny), ViT-S/16: 384 numbers a patch and 6 heads. With 1,000 classes 22,050,664 trained values.
    pub fn small(classes: usize) -> Self {
        Self::published(384, classes)
    }

    /// Twelve blocks whose heads have 64 numbers each.
    pub(crate) fn published(width: usize, classes: usize) -> Self {
        Self {
            channels: 3,
            size: 224,
            patch: 16,
            width,
            depth: 12,
            heads: (width / 64).max(1),
            hidden: 4 * width,
            classes,
            class_token: true,
            fused: true,
            epsilon: 1e-6,
        }
    }

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
        let patches = Patches {
            int8: false,
            size: self.patch,
            width: self.width,
            class_token: self.class_token,
        };
        let attention = Attention {
            fused: self.fused,
            ..Attention::new(self.heads)
        };
        let norm = Layer::LayerNorm(Norm {
            epsilon: self.epsilon,
        });
        let mut hidden = graph.then("embed", Layer::Patches(patches))?;
        for index in 0..self.depth {
            let name = |part: &str| format!("blocks.{index}.{part}");
            graph.then(name("attention_norm"), norm)?;
            let seen = graph.then(name("attention"), Layer::Attention(attention))?;
            hidden = graph.node(name("attention_sum"), Layer::Add, [hidden, seen])?;
            graph.then(name("mlp_norm"), norm)?;
            graph.then(name("expand"), Layer::Linear(Linear::glorot(self.hidden)))?;
            graph.then(name("gelu"), Layer::Gelu)?;
            let contract = Layer::Linear(Linear::glorot(self.width));
            let contracted = graph.then(name("contract"), contract)?;
            hidden = graph.node(name("mlp_sum"), Layer::Add, [hidden, contracted])?;
        }
        graph.then("norm", norm)?;
        match self.class_token {
            true => graph.then("class", Layer::FirstToken)?,
            false => graph.then("mean", Layer::GlobalMeanPool)?,
        };
        graph.then("head", Layer::Linear(Linear::glorot(self.classes)))?;
        graph.finish()
    }
}
