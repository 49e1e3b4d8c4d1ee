//! Residual networks.

use serde::{Deserialize, Serialize};

use super::{Stem, check_images, check_ranges};
use crate::error::Result;
use crate::image_shape::ImageShape;
use crate::nn::graph::{
    Builder, Conv2d, Graph, Initial, Layer, Linear, Norm, Padding, Shape, Window, Wire,
};

/// A residual network: a stem, four stages of blocks (three from depth 20 to 56 but 34 and 50), each stage but the first
/// halving height and width and doubling the channels, the mean over all pixels, and a linear layer. Every convolution is without bias, with batch norm behind it.
/// He et al., *Deep Residual Learning for Image Recognition*, 2015 (arXiv 1512.03385).
///
/// `[channels, rows, columns]` to `[classes]`; features are the means. With three channels, 1,000 classes and
/// [`Stem::ImageNet`], depths 18, 34 and 50 have 11,689,512, 21,797,672 and 25,557,032 trained values. Where a bottleneck
/// has a stride, its 3×3 convolution has it, as in PyTorch's models (and unlike the paper). Depths 20, 32, 44 and 56 are the
/// paper's networks for CIFAR, meant for a width of 16; where channels change, their shortcut is a convolution (the paper's
/// option B) instead of zeros, which makes 272,474, 466,906, 661,338 and 855,770 trained values for ten classes.
///
/// Names are `stem`, `blocks.0` and so on with `first`, `second`, `third` and `shortcut`, each a convolution with `.norm`,
/// and `head`. Weights start uniform in `±sqrt(6 / outputs)`, see [`Initial::He`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResNetConfig {
    /// How many layers. Default 18.
    pub depth: Depth,
    /// The images it takes. Default three channels of 32×32.
    pub input: ImageShape,
    /// How it begins. Default [`Stem::Small`].
    pub stem: Stem,
    /// Channels of the first stage, each of the three others having twice those of the one before. Default 64, as in
    /// the paper.
    pub width: usize,
    /// Classes to tell apart. Default 10.
    pub classes: usize,
}

/// How many layers a residual network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Depth {
    /// Four blocks of three 3×3 convolutions with pooling after each, for few-shot learning: Oreshkin, Rodríguez López and
    /// Lacoste, *TADAM*, 2018 (arXiv 1805.10123), with ReLU. It has no stem.
    #[serde(rename = "12")]
    Twelve,
    /// Three stages of 3 blocks.
    #[serde(rename = "20")]
    Twenty,
    /// Three stages of 5 blocks.
    #[serde(rename = "32")]
    ThirtyTwo,
    /// Three stages of 7 blocks.
    #[serde(rename = "44")]
    FortyFour,
    /// Three stages of 9 blocks.
    #[serde(rename = "56")]
    FiftySix,
    /// Two blocks a stage. The default.
    #[default]
    #[serde(rename = "18")]
    Eighteen,
    /// 3, 4, 6 and 3 blocks.
    #[serde(rename = "34")]
    ThirtyFour,
    /// 3, 4, 6 and 3 bottlenecks.
    #[serde(rename = "50")]
    Fifty,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self {
            depth: Depth::default(),
            input: ImageShape::new(3, 32, 32),
            stem: Stem::default(),
            width: 64,
            classes: 10,
        }
    }
}

/// More than any model this library is made for.
const MAX_CHANNELS: usize = 4096;
const STAGES: usize = 4;
/// Outputs of a bottleneck, in channels of its stage.
const EXPANSION: usize = 4;

impl Depth {
    /// Blocks of each stage.
    const fn blocks(self) -> &'static [usize] {
        match self {
            Self::Twelve => &[1; STAGES],
            Self::Twenty => &[3; 3],
            Self::ThirtyTwo => &[5; 3],
            Self::FortyFour => &[7; 3],
            Self::FiftySix => &[9; 3],
            Self::Eighteen => &[2; STAGES],
            Self::ThirtyFour | Self::Fifty => &[3, 4, 6, 3],
        }
    }
}

/// A convolution within a block.
pub(super) struct Conv {
    pub filters: usize,
    pub kernel: usize,
    pub stride: usize,
}

impl ResNetConfig {
    /// The graph of such a network.
    ///
    /// # Errors
    /// When a size is zero or beyond reason, or the images are too small.
    pub fn graph(&self) -> Result<Graph> {
        const OPERATION: &str = "resnet_config";
        self.check(OPERATION)?;
        let ImageShape {
            channels,
            height,
            width,
        } = self.input;
        let mut graph = Builder::new(Shape::Maps([channels, height, width]))?;
        let hidden = self.tower(&mut graph, ["stem", "blocks"], Wire::Input)?;
        graph.node("mean", Layer::GlobalMeanPool, [hidden])?;
        graph.then("head", Layer::Linear(Linear::new(self.classes)))?;
        graph.finish()
    }

    /// Whether every size is one that such a network may have.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        check_images(operation, self.input, self.classes)?;
        let width = ("width", self.width, MAX_CHANNELS >> (STAGES - 1));
        check_ranges(operation, [width])
    }

    /// From maps to those of the last stage, with the names of the stem and of the blocks.
    pub(super) fn tower(
        &self,
        graph: &mut Builder,
        [stem, blocks]: [&str; 2],
        input: Wire,
    ) -> Result<Wire> {
        let mut hidden = match self.depth {
            Depth::Twelve => input,
            _ => self.begin(graph, stem, input)?,
        };
        let mut index = 0;
        for (stage, &count) in self.depth.blocks().iter().enumerate() {
            hidden = self.stage(graph, (blocks, index), hidden, (stage, count))?;
            index += count;
        }
        Ok(hidden)
    }

    /// The blocks of a stage, so many, the first of which has a number.
    pub(super) fn stage(
        &self,
        graph: &mut Builder,
        (blocks, first): (&str, usize),
        input: Wire,
        (stage, count): (usize, usize),
    ) -> Result<Wire> {
        let mut hidden = input;
        for block in 0..count {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("{blocks}.{}", first + block);
            hidden = self.block(graph, &name, hidden, self.width << stage, stride)?;
        }
        Ok(hidden)
    }

    /// From the image to the first stage.
    pub(super) fn begin(&self, graph: &mut Builder, name: &str, input: Wire) -> Result<Wire> {
        let (kernel, stride) = match self.stem {
            Stem::Small => (3, 1),
            Stem::ImageNet => (7, 2),
        };
        let conv = Conv {
            filters: self.width,
            kernel,
            stride,
        };
        conv_norm(graph, name, input, conv)?;
        let relu = graph.then(format!("{name}.relu"), Layer::Relu)?;
        match self.stem {
            Stem::Small => Ok(relu),
            Stem::ImageNet => {
                let window = Window {
                    size: [3; 2],
                    stride: [2; 2],
                    padding: [1; 2],
                };
                graph.then(format!("{name}.pool"), Layer::MaxPool(window))
            }
        }
    }

    /// `y = relu(norm(conv(…)) + shortcut(x))`: the shortcut is the input itself, or where channels or size change a 1×1
    /// convolution with a norm.
    fn block(
        &self,
        graph: &mut Builder,
        name: &str,
        input: Wire,
        channels: usize,
        stride: usize,
    ) -> Result<Wire> {
        let part = |part: &str| format!("{name}.{part}");
        let (convs, stride) = match self.depth {
            // These pool at the end instead.
            Depth::Twelve => (vec![(channels, 3, 1); 3], 1),
            Depth::Fifty => {
                let outputs = EXPANSION * channels;
                let convs = vec![(channels, 1, 1), (channels, 3, stride), (outputs, 1, 1)];
                (convs, stride)
            }
            _ => (vec![(channels, 3, stride), (channels, 3, 1)], stride),
        };
        let outputs = convs.last().map_or(channels, |&(outputs, ..)| outputs);
        let mut hidden = input;
        let count = convs.len();
        for (index, (filters, kernel, stride)) in convs.into_iter().enumerate() {
            let own = part(["first", "second", "third"][index]);
            let conv = Conv {
                filters,
                kernel,
                stride,
            };
            hidden = conv_norm(graph, &own, hidden, conv)?;
            if index + 1 < count {
                hidden = graph.then(format!("{own}.relu"), Layer::Relu)?;
            }
        }
        let same =
            matches!(graph.shape(input), Some(Shape::Maps([inputs, ..])) if inputs == outputs);
        let mut around = input;
        if stride != 1 || !same {
            let conv = Conv {
                filters: outputs,
                kernel: 1,
                stride,
            };
            around = conv_norm(graph, &part("shortcut"), input, conv)?;
        }
        graph.node(part("sum"), Layer::Add, [hidden, around])?;
        let relu = graph.then(part("relu"), Layer::Relu)?;
        match self.depth {
            Depth::Twelve => graph.then(part("pool"), Layer::MaxPool(Window::default())),
            _ => Ok(relu),
        }
    }
}

/// A convolution without bias, which the norm behind it would take away again, and that norm.
pub(super) fn conv_norm(graph: &mut Builder, name: &str, input: Wire, conv: Conv) -> Result<Wire> {
    let layer = Conv2d {
        stride: [conv.stride; 2],
        padding: Padding::Same,
        bias: false,
        initial: Initial::He,
        ..Conv2d::new(conv.filters, conv.kernel)
    };
    graph.node(name, Layer::Conv2d(layer), [input])?;
    graph.then(format!("{name}.norm"), Layer::BatchNorm(Norm::default()))
}
