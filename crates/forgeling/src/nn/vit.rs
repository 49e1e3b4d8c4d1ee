//! A small Vision Transformer.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::init::uniform;
use super::{LayerNorm, Linear, Normalization, Pass, VitBlock};
use crate::data::{ImageShape, Rng};
use crate::device::profile::span;
use crate::error::{Error, Result};
use crate::ops::Activation;
use crate::ops::plan::{Shaped, Simulation};

/// The shape of a [`Vit`] and the seed of its initial weights.
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
    /// Seed of the initial weights. Default 0.
    pub seed: u64,
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
            seed: 0,
        }
    }
}

/// More than any model this library is made for; a file that claims more is not one of ours.
const MAX_WIDTH: usize = 4096;
const MAX_DEPTH: usize = 64;
const MAX_TOKENS: usize = 4096;
const MAX_CLASSES: usize = 1 << 16;

/// Standard deviation of the first positions.
const POSITIONS: f32 = 0.02;

impl VitConfig {
    /// The shape of the images the network takes.
    pub fn image_shape(&self) -> ImageShape {
        ImageShape::new(self.channels, self.size, self.size)
    }

    /// Number of patches of an image: `(size / patch)^2`.
    pub fn tokens(&self) -> usize {
        (self.size / self.patch).pow(2)
    }

    /// Checks every size.
    ///
    /// # Errors
    /// When a size is zero or beyond reason, when the patch does not divide the size, or the heads the width.
    pub fn validate(&self) -> Result<()> {
        const OPERATION: &str = "vit_config";
        let ranges = [
            ("channels", self.channels, MAX_WIDTH),
            ("size", self.size, MAX_WIDTH),
            ("patch", self.patch, self.size),
            ("width", self.width, MAX_WIDTH),
            ("depth", self.depth, MAX_DEPTH),
            ("heads", self.heads, self.width),
            ("hidden", self.hidden, 4 * MAX_WIDTH),
            ("classes", self.classes, MAX_CLASSES),
        ];
        for (name, value, high) in ranges {
            if !(1..=high).contains(&value) {
                return Err(Error::invalid(OPERATION, format!("{name} is out of range"))
                    .expected(format!("1 to {high}"))
                    .got(value));
            }
        }
        let divisors = [
            ("patch", self.patch, "size", self.size),
            ("heads", self.heads, "width", self.width),
        ];
        for (part, divisor, whole, value) in divisors {
            if !value.is_multiple_of(divisor) {
                return Err(
                    Error::invalid(OPERATION, format!("{part} does not divide {whole}"))
                        .expected(format!("a divisor of {value}"))
                        .got(divisor),
                );
            }
        }
        if self.tokens() > MAX_TOKENS {
            return Err(Error::invalid(OPERATION, "too many patches")
                .expected(format!("at most {MAX_TOKENS}"))
                .got(self.tokens()));
        }
        Ok(())
    }
}

/// A Vision Transformer for small images: patches, a linear layer, learned positions, [`VitConfig::depth`] blocks of
/// attention, a last norm, the mean over the patches, and a linear head.
///
/// Shapes: `[batch, channels, size, size]` to `[batch, classes]`. Dosovitskiy et al., *An Image is Worth 16x16 Words*,
/// 2021 (arXiv 2010.11929). There is no class token: the mean over the patches stands for the image, which does as
/// well (Beyer, Zhai and Kolesnikov, *Better plain ViT baselines for ImageNet-1k*, 2022, arXiv 2205.01580).
///
/// Weights start uniform in `±sqrt(6 / (in + out))` (Glorot and Bengio, 2010), biases at 0, positions uniform with the
/// standard deviation 0.02.
#[derive(Module, Debug)]
pub struct Vit {
    /// From the pixels of a patch to its description.
    pub embed: Linear,
    /// Added to each patch's description, `[patches, width]`.
    pub positions: Param<Tensor<2>>,
    /// The blocks from first to last.
    pub blocks: Vec<VitBlock>,
    /// The norm before the mean.
    pub norm: LayerNorm,
    /// From the image's description to the classes.
    pub head: Linear,
    channels: usize,
    size: usize,
    patch: usize,
}

impl Vit {
    /// A network with weights drawn from the configuration's seed.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn new(config: &VitConfig, device: &Device) -> Result<Self> {
        config.validate()?;
        let mut rng = Rng::new(config.seed);
        let pixels = config.channels * config.patch * config.patch;
        let positions = [config.tokens(), config.width];
        Ok(Self {
            embed: Linear::glorot(pixels, config.width, &mut rng, device),
            positions: uniform(&mut rng, positions, POSITIONS * 3f32.sqrt(), device),
            blocks: (0..config.depth)
                .map(|_| VitBlock::new(config.width, config.heads, config.hidden, &mut rng, device))
                .collect(),
            norm: LayerNorm::new(config.width, device),
            head: Linear::glorot(config.width, config.classes, &mut rng, device),
            channels: config.channels,
            size: config.size,
            patch: config.patch,
        })
    }

    /// The description of each image: `[batch, channels, size, size]` to `[batch, width]`.
    ///
    /// # Errors
    /// When the images do not have the configured shape, or there are none.
    pub fn features(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        let mut pass = Pass::new(Normalization::Running, &images.device());
        self.features_with(images, &mut pass)
    }

    /// The description of each image, in a pass of the caller's.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub fn features_with<'a>(
        &'a self,
        images: Tensor<4>,
        pass: &mut Pass<'a>,
    ) -> Result<Tensor<2>> {
        let [batch, channels, height, width] = images.dims();
        if [channels, height, width] != [self.channels, self.size, self.size] || batch == 0 {
            return Err(Error::invalid("vit", "the images do not fit the network")
                .expected(format!(
                    "[batch, {}, {}, {}]",
                    self.channels, self.size, self.size
                ))
                .got(format!("{:?}", images.dims())));
        }
        let embed = span("embed");
        let side = self.size / self.patch;
        let (tokens, pixels) = (side * side, channels * self.patch * self.patch);
        let patches = images
            .reshape([batch, channels, side, self.patch, side, self.patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * tokens, pixels]);
        let embedded = self.embed.forward(patches, Activation::None)?;
        let described = embedded.dims()[1];
        let positions = pass.input(self.positions.val()).unsqueeze::<3>();
        let placed = embedded.reshape([batch, tokens, described]) + positions;
        let mut hidden = placed.reshape([batch * tokens, described]);
        drop(embed);
        for (index, block) in self.blocks.iter().enumerate() {
            let name = format_args!("blocks.{index}");
            hidden = pass.block(name, block, hidden, move |block, input, _| {
                block.forward(input, batch)
            })?;
        }
        let _norm = span("norm");
        let last = pass.output(self.norm.forward(hidden)?);
        Ok(last
            .reshape([batch, tokens, described])
            .mean_dim(1)
            .reshape([batch, described]))
    }

    /// The logits of each image: `[batch, channels, size, size]` to `[batch, classes]`.
    ///
    /// # Errors
    /// As [`Self::features`].
    pub fn forward(&self, images: Tensor<4>) -> Result<Tensor<2>> {
        let mut pass = Pass::new(Normalization::Running, &images.device());
        self.forward_with(images, &mut pass)
    }

    /// The logits of each image, in a pass of the caller's.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub fn forward_with<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        let features = self.features_with(images, pass)?;
        let _head = span("head");
        self.head.forward(features, Activation::None)
    }
}

/// What [`Vit::forward_with`] does, for a plan.
pub(super) fn describe(config: &VitConfig, sim: &Simulation, images: Shaped) -> Result<Shaped> {
    let (batch, tokens, width) = (images.shape()[0], config.tokens(), config.width);
    let pixels = config.channels * config.patch * config.patch;
    let patches = sim.permuted_copy(images, &[batch * tokens, pixels]);
    let embedded = sim.part("embed", || sim.linear(patches, width, Activation::None))?;
    let positions = sim.input(sim.parameter("positions", &[tokens, width]));
    let placed = sim.add_repeated(embedded, positions);
    let mut hidden = placed;
    for index in 0..config.depth {
        let (heads, inner) = (config.heads, config.hidden);
        hidden = sim.block(format_args!("blocks.{index}"), hidden, move |sim, input| {
            super::vit_block::describe(sim, input, [batch, heads, inner])
        })?;
    }
    let last = sim.part("norm", || sim.layer_norm(hidden))?;
    let features = sim.mean(sim.output(last), &[batch, width]);
    sim.part("head", || {
        sim.linear(features, config.classes, Activation::None)
    })
}
