//! ResNet-18 for small images.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::init::uniform;
use super::{BatchNorm, BatchStatistics, Normalization, Pass};
use crate::data::Rng;
use crate::device::profile::span;
use crate::error::{Error, Result};
use crate::ops::plan::{ConvSizes, NormSizes, Shaped, Simulation};
use crate::ops::{Activation, AfterNorm, Conv2dOptions, conv2d, linear};

/// The shape of a [`ResNet18`] and the seed of its initial weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResNet18Config {
    /// Channels of the images: 1 for grey, 3 for RGB. Default 3.
    pub channels: usize,
    /// Classes to tell apart. Default 10.
    pub classes: usize,
    /// Channels of the first stage, each of the three others having twice those of the one before. Default 64, as in
    /// the paper.
    pub width: usize,
    /// Seed of the initial weights. Default 0.
    pub seed: u64,
}

impl Default for ResNet18Config {
    fn default() -> Self {
        Self {
            channels: 3,
            classes: 10,
            width: 64,
            seed: 0,
        }
    }
}

/// More than any model this library is made for.
const MAX_CHANNELS: usize = 4096;
const STAGES: usize = 4;
const BLOCKS: usize = 2;

impl ResNet18Config {
    /// Checks every size.
    ///
    /// # Errors
    /// When one is zero or beyond reason.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("channels", self.channels, MAX_CHANNELS),
            ("classes", self.classes, 1 << 20),
            ("width", self.width, MAX_CHANNELS >> (STAGES - 1)),
        ];
        for (name, value, high) in ranges {
            if !(1..=high).contains(&value) {
                let problem = Error::invalid("resnet18_config", format!("{name} is out of range"));
                return Err(problem.expected(format!("1 to {high}")).got(value));
            }
        }
        Ok(())
    }
}

/// A convolution without bias and the norm behind it, which would take a bias away again.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// `[out, in, rows, columns]`
    pub weight: Param<Tensor<4>>,
    /// Of the convolution's output.
    pub norm: BatchNorm,
    stride: usize,
}

impl ConvNorm {
    /// Weights uniform in `±sqrt(6 / (out k k))`: He initialization by outputs, as in the paper's networks.
    fn new(
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let [input, output] = channels;
        let bound = (6.0 / (output * kernel * kernel) as f32).sqrt();
        Self {
            weight: uniform(rng, [output, input, kernel, kernel], bound, device),
            norm: BatchNorm::new(output, device),
            stride,
        }
    }

    fn forward(
        &self,
        input: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: AfterNorm,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor<4>> {
        let weight = self.weight.val();
        let padding = weight.dims()[2] / 2;
        let options = Conv2dOptions {
            stride: [self.stride; 2],
            padding: [padding; 2],
            groups: 1,
        };
        let convolved = conv2d(input, weight, None, options)?;
        let (output, batch) =
            self.norm
                .forward(convolved, residual, activation, pass.normalization())?;
        pass.collect(batch);
        Ok(output)
    }

    fn absorb(mut self, statistics: &mut impl Iterator<Item = BatchStatistics>) -> Self {
        if let Some(batch) = statistics.next() {
            self.norm = self.norm.absorb(batch);
        }
        self
    }
}

/// Two 3×3 convolutions and a way around them:
///
/// `y = relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))`
///
/// The shortcut is the input itself, or where channels or size change a 1×1 convolution with a norm.
#[derive(Module, Debug)]
pub struct BasicBlock {
    /// Of the block's stride.
    pub first: ConvNorm,
    /// Of stride 1.
    pub second: ConvNorm,
    /// Where channels or size change.
    pub shortcut: Option<ConvNorm>,
}

impl BasicBlock {
    fn new(channels: [usize; 2], stride: usize, rng: &mut Rng, device: &Device) -> Self {
        let [input, output] = channels;
        let first = ConvNorm::new(channels, 3, stride, rng, device);
        let second = ConvNorm::new([output, output], 3, 1, rng, device);
        let shortcut = (stride != 1 || input != output)
            .then(|| ConvNorm::new(channels, 1, stride, rng, device));
        Self {
            first,
            second,
            shortcut,
        }
    }

    fn forward(&self, input: Tensor<4>, pass: &mut Pass<'_>) -> Result<Tensor<4>> {
        let hidden = self
            .first
            .forward(input.clone(), None, AfterNorm::Relu, pass)?;
        let around = match &self.shortcut {
            Some(shortcut) => shortcut.forward(input, None, AfterNorm::Nothing, pass)?,
            None => input,
        };
        self.second
            .forward(hidden, Some(around), AfterNorm::Relu, pass)
    }

    fn absorb(self, statistics: &mut impl Iterator<Item = BatchStatistics>) -> Self {
        // In the order of the forward pass.
        let first = self.first.absorb(statistics);
        let shortcut = self.shortcut.map(|shortcut| shortcut.absorb(statistics));
        let second = self.second.absorb(statistics);
        Self {
            first,
            second,
            shortcut,
        }
    }
}

/// ResNet-18 as it is used on images of 32×32: a 3×3 stem without pooling, four stages of two [`BasicBlock`]s, each stage
/// but the first halving height and width and doubling the channels, the mean over all pixels, and a linear layer.
///
/// Shapes: `[batch, channels, height, width]` to logits `[batch, classes]`; any height and width. With the defaults it
/// has 11.17 million parameters. He et al., *Deep Residual Learning for Image Recognition*, 2015 (arXiv 1512.03385),
/// whose networks for 32×32 images are thinner than this usual one.
#[derive(Module, Debug)]
pub struct ResNet18 {
    /// From the image to the first stage.
    pub stem: ConvNorm,
    /// All blocks, stage by stage.
    pub blocks: Vec<BasicBlock>,
    /// Weights of the last layer, `[features, classes]`.
    pub head: Param<Tensor<2>>,
    /// Bias of the last layer, `[classes]`.
    pub head_bias: Param<Tensor<1>>,
}

impl ResNet18 {
    /// A network with weights drawn from the configuration's seed.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn new(config: &ResNet18Config, device: &Device) -> Result<Self> {
        config.validate()?;
        let mut rng = Rng::new(config.seed);
        let stem = ConvNorm::new([config.channels, config.width], 3, 1, &mut rng, device);
        let mut blocks = Vec::with_capacity(STAGES * BLOCKS);
        let mut channels = config.width;
        for stage in 0..STAGES {
            let output = config.width << stage;
            for block in 0..BLOCKS {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(BasicBlock::new(
                    [channels, output],
                    stride,
                    &mut rng,
                    device,
                ));
                channels = output;
            }
        }
        let bound = 1.0 / (channels as f32).sqrt();
        Ok(Self {
            stem,
            blocks,
            head: uniform(&mut rng, [channels, config.classes], bound, device),
            head_bias: uniform(&mut rng, [config.classes], bound, device),
        })
    }

    /// The logits, and with [`Normalization::Batch`] every norm's batch statistics.
    ///
    /// # Errors
    /// When the images do not have the configured channels.
    pub fn forward(
        &self,
        images: Tensor<4>,
        normalization: Normalization,
    ) -> Result<(Tensor<2>, Vec<BatchStatistics>)> {
        let mut pass = Pass::new(normalization, &images.device());
        let logits = self.forward_with(images, &mut pass)?;
        Ok((logits, pass.take_statistics()))
    }

    /// The logits, in a pass of the caller's.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>> {
        let features = self.features_with(images, pass)?;
        let _head = span("head");
        let (weight, bias) = (self.head.val(), self.head_bias.val());
        linear(features, weight, Some(bias), Activation::None)
    }

    /// What the last layer takes, `[batch, 8 width]`: the mean over all pixels of the last block's output.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn features_with<'a>(
        &'a self,
        images: Tensor<4>,
        pass: &mut Pass<'a>,
    ) -> Result<Tensor<2>> {
        let mut hidden = pass.block("stem", &self.stem, images, |stem, input, pass| {
            stem.forward(input, None, AfterNorm::Relu, pass)
        })?;
        for (index, block) in self.blocks.iter().enumerate() {
            let name = format_args!("blocks.{index}");
            hidden = pass.block(name, block, hidden, BasicBlock::forward)?;
        }
        let _head = span("head");
        let hidden = pass.output(hidden);
        Ok(hidden.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2))
    }

    /// Takes the statistics of a batch into the running ones.
    #[must_use]
    pub fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        let mut statistics = statistics.into_iter();
        let stem = self.stem.absorb(&mut statistics);
        let blocks = self.blocks.into_iter();
        let blocks = blocks.map(|block| block.absorb(&mut statistics)).collect();
        Self {
            stem,
            blocks,
            head: self.head,
            head_bias: self.head_bias,
        }
    }
}

/// What [`ResNet18::forward_with`] does, for a plan.
pub(super) fn describe(
    config: &ResNet18Config,
    sim: &Simulation,
    images: Shaped,
) -> Result<Shaped> {
    let conv_norm = |sim: &Simulation, input, sizes: [usize; 3], residual, relu| {
        let [outputs, kernel, stride] = sizes;
        let sizes = ConvSizes {
            outputs,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [kernel / 2; 2],
            groups: 1,
        };
        let convolved = sim.conv2d(input, sizes)?;
        sim.part("norm", || {
            sim.batch_norm(convolved, residual, NormSizes { relu })
        })
    };
    let width = config.width;
    let mut hidden = sim.block("stem", images, move |sim, input| {
        conv_norm(sim, input, [width, 3, 1], None, true)
    })?;
    let mut channels = width;
    for index in 0..STAGES * BLOCKS {
        let (stage, block) = (index / BLOCKS, index % BLOCKS);
        let output = width << stage;
        let stride = if stage > 0 && block == 0 { 2 } else { 1 };
        let other = stride != 1 || channels != output;
        channels = output;
        hidden = sim.block(format_args!("blocks.{index}"), hidden, move |sim, input| {
            let hidden = sim.part("first", || {
                conv_norm(sim, input.clone(), [output, 3, stride], None, true)
            })?;
            let around = if other {
                let sizes = [output, 1, stride];
                sim.part("shortcut", || conv_norm(sim, input, sizes, None, false))?
            } else {
                input
            };
            sim.part("second", || {
                conv_norm(sim, hidden, [output, 3, 1], Some(around), true)
            })
        })?;
    }
    let hidden = sim.output(hidden);
    let [batch, channels] = [hidden.shape()[0], hidden.shape()[1]];
    let pixels = hidden.len() / (batch * channels);
    let flat = sim.reshape(hidden, &[batch, channels, pixels]);
    let features = sim.mean(flat, &[batch, channels]);
    sim.part("head", || {
        sim.linear(features, config.classes, Activation::None)
    })
}
