//! Networks whose two towers, one for colour and one for luminance, only meet before the classifier.

use serde::{Deserialize, Serialize};

use super::{ResNetConfig, check_images, check_ranges};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::{
    Builder, Channels, Graph, Layer, Linear, Luminance, LuminanceStandard, Shape, Wire,
};

/// Two perceptrons, one for the image and one for its luminance, side by side before a shared layer of neurons: hidden
/// layers of `width`, a half, a quarter and an eighth of it, each with ReLU.
///
/// `[channels, rows, columns]` to `[classes]`. Images have one channel, which is then its own luminance, three of red, green
/// and blue, or four, the last of which is their luminance. With 3×32×32, a width of 1024 and 100 classes there are
/// 5,600,100 trained values. Layers are named `rgb.0`, `luminance.0` and so on, and `head`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DualMlpConfig {
    /// The images it takes. Default three channels of 32×32.
    pub input: ImageShape,
    /// Neurons of the first hidden layers, at least 8. Default 1024.
    pub width: usize,
    /// What luminance is. Default BT.709.
    pub luminance: LuminanceStandard,
    /// Classes to tell apart. Default 10.
    pub classes: usize,
}

/// Hidden layers of each perceptron.
const LAYERS: usize = 4;

impl Default for DualMlpConfig {
    fn default() -> Self {
        Self {
            input: ImageShape::new(3, 32, 32),
            width: 1024,
            luminance: LuminanceStandard::default(),
            classes: 10,
        }
    }
}

impl DualMlpConfig {
    /// The graph of such a network.
    ///
    /// # Errors
    /// When a size is zero or beyond reason, or the images have other channels.
    pub fn graph(&self) -> Result<Graph> {
        const OPERATION: &str = "dual_mlp_config";
        check_images(OPERATION, self.input, self.classes)?;
        check_ranges(OPERATION, [("width", self.width, 1 << 16)])?;
        let tower = |graph: &mut Builder, name: &str, input| {
            graph.node(format!("{name}.flatten"), Layer::Flatten, [input])?;
            for index in 0..LAYERS {
                let name = format!("{name}.{index}");
                let neurons = (self.width >> index).max(1);
                graph.then(name.clone(), Layer::Linear(Linear::new(neurons)))?;
                graph.then(format!("{name}.relu"), Layer::Relu)?;
            }
            Ok(graph.last())
        };
        apart(OPERATION, self.input, self.luminance, self.classes, tower)
    }
}

/// Two residual networks of one configuration, one for the image and one for its luminance, whose means stand side by side
/// before a shared layer of neurons.
///
/// Images and names are as with [`DualMlpConfig`], the blocks' being those of [`ResNetConfig`]. Of depth 50 with
/// [`Stem::Small`](super::Stem::Small) and 100 classes it has 47,409,252 trained values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultiChannelResNetConfig {
    /// What both are, with the images and the classes. Default [`ResNetConfig::default`].
    pub tower: ResNetConfig,
    /// What luminance is. Default BT.709.
    pub luminance: LuminanceStandard,
}

impl MultiChannelResNetConfig {
    /// The graph of such a network.
    ///
    /// # Errors
    /// As [`ResNetConfig::graph`], and when the images have other channels.
    pub fn graph(&self) -> Result<Graph> {
        const OPERATION: &str = "multi_channel_resnet_config";
        let config = &self.tower;
        config.check(OPERATION)?;
        let tower = |graph: &mut Builder, name: &str, input| {
            config.tower(graph, [&format!("{name}.stem"), name], input)?;
            graph.then(format!("{name}.mean"), Layer::GlobalMeanPool)
        };
        apart(
            OPERATION,
            config.input,
            self.luminance,
            config.classes,
            tower,
        )
    }
}

/// A network of two towers and a classifier.
fn apart(
    operation: &'static str,
    input: ImageShape,
    standard: LuminanceStandard,
    classes: usize,
    tower: impl Fn(&mut Builder, &str, Wire) -> Result<Wire>,
) -> Result<Graph> {
    let mut graph = Builder::new(Shape::from(input))?;
    let wires = [
        colours(operation, &mut graph, input)?,
        luminance(&mut graph, input, standard)?,
    ];
    let mut ends = Vec::with_capacity(2);
    for (name, wire) in NAMES.into_iter().zip(wires) {
        ends.push(tower(&mut graph, name, wire)?);
    }
    graph.node("concat", Layer::Concat, ends)?;
    graph.then("head", Layer::Linear(Linear::new(classes)))?;
    graph.finish()
}

/// Of the two pathways.
pub(super) const NAMES: [&str; 2] = ["rgb", "luminance"];

/// What the colours' pathway takes: images of four channels without the last one, others as they are.
pub(super) fn colours(
    operation: &'static str,
    graph: &mut Builder,
    input: ImageShape,
) -> Result<Wire> {
    match input.channels {
        1 | 3 => Ok(Wire::Input),
        4 => graph.node(
            NAMES[0],
            Layer::Channels(Channels { from: 0, count: 3 }),
            [Wire::Input],
        ),
        other => Err(
            Error::invalid(operation, "the channels are no colours and luminance")
                .expected("1, 3 of red, green and blue, or 4 with their luminance")
                .got(other),
        ),
    }
}

/// What the other pathway takes: the fourth channel, or the luminance of the three; one channel is its own.
pub(super) fn luminance(
    graph: &mut Builder,
    input: ImageShape,
    standard: LuminanceStandard,
) -> Result<Wire> {
    let layer = match input.channels {
        1 => return Ok(Wire::Input),
        4 => Layer::Channels(Channels { from: 3, count: 1 }),
        _ => Layer::Luminance(Luminance {
            standard,
            ..Default::default()
        }),
    };
    graph.node(NAMES[1], layer, [Wire::Input])
}
