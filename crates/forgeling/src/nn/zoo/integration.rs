//! Residual pathways of colour and luminance that are integrated along the way.

use serde::{Deserialize, Serialize};

use super::pathways::{NAMES, colours, luminance};
use super::resnet::{Conv, conv_norm};
use super::{ResNetConfig, Stem, check_ranges};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::{
    Builder, Graph, Layer, Linear, LuminanceStandard, Mix, Shape, Window, Wire,
};

/// Two residual pathways, one for the image and one for its luminance, with integration nodes after some of their stages.
///
/// A pathway is a stem and stages of blocks as in [`ResNetConfig`], each stage but the first halving height and width and
/// doubling the channels. With the colours `c`, the luminance `l` and the integrated representation `p` of the node before,
/// `p` being pooled and projected (1×1 convolution and norm) to the shape of `c`, an integration node gives
///
/// `relu(mix(c, l, p) + norm(conv(relu(norm(conv([c, l, p]))))))`
///
/// where [`mix`](Layer::Mix) weights its inputs by the softmax of learned logits, the share of `p` starting at 0.01, and the
/// convolutions are 1×1. The first node has no `p`. The mean over all pixels of the last node's maps goes to a layer of
/// neurons. [`Network::mix_weights`](crate::nn::Network::mix_weights) tells the shares.
///
/// `[channels, rows, columns]` to `[classes]`. Images have one channel, which is then its own luminance, three of red, green
/// and blue, or four, the last of which is their luminance. Names are `rgb.stem`, `rgb.0` and so on, the same of
/// `luminance`, `integrate.0` with `mix`, `first`, `second` and `previous`, and `head`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntegrationConfig {
    /// The images it takes. Default three channels of 32×32.
    pub input: ImageShape,
    /// How both pathways begin. Default [`Stem::Small`].
    pub stem: Stem,
    /// Channels of the first stage. Default 32.
    pub width: usize,
    /// Blocks of each of 2 to 4 stages. Default one each of two stages.
    pub blocks: Vec<usize>,
    /// The stages, counted from 1, that integration nodes follow: at least two, ascending, the last of which is the last of
    /// all, as what follows would learn nothing. Default both.
    pub integrate_after: Vec<usize>,
    /// What the image goes through. Default both pathways.
    pub pathways: Pathways,
    /// What luminance is. Default BT.709.
    pub luminance: LuminanceStandard,
    /// Classes to tell apart. Default 10.
    pub classes: usize,
}

/// Through what an image goes. The networks of one pathway are for comparison: a plain residual network with the same
/// stages, as wide as makes as many trained values, as nearly as whole channels allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pathways {
    /// One for colours and one for luminance, integrated. The default.
    #[default]
    Two,
    /// One for colours alone.
    Rgb,
    /// One for colours with luminance as another channel. An image of one channel stays as it is.
    RgbLuminance,
}

/// What the previous representation starts with.
const PREVIOUS_SHARE: f64 = 0.01;
const MOST_BLOCKS: usize = 64;

impl Default for IntegrationConfig {
    fn default() -> Self {
        Self {
            input: ImageShape::new(3, 32, 32),
            stem: Stem::default(),
            width: 32,
            blocks: vec![1; 2],
            integrate_after: vec![1, 2],
            pathways: Pathways::default(),
            luminance: LuminanceStandard::default(),
            classes: 10,
        }
    }
}

impl IntegrationConfig {
    /// Two stages of a block: 176,527 trained values for ten classes.
    pub fn shallow() -> Self {
        Self::default()
    }

    /// Three stages of two blocks: 1,487,890 trained values for ten classes.
    pub fn base() -> Self {
        Self {
            blocks: vec![2; 3],
            integrate_after: vec![1, 2, 3],
            ..Self::default()
        }
    }

    /// Four stages of two blocks from 64 channels on, two networks of 18 layers, integrated after the first, the second and
    /// the last: 23,545,874 trained values for ten classes.
    pub fn large() -> Self {
        Self {
            width: 64,
            blocks: vec![2; 4],
            integrate_after: vec![1, 2, 4],
            ..Self::default()
        }
    }

    /// The graph of such a network.
    ///
    /// # Errors
    /// When a size is zero or beyond reason, when the images have other channels, and when the stages to integrate after are
    /// not distinct, ascending, or do not end with the last one.
    pub fn graph(&self) -> Result<Graph> {
        self.residual(self.width).check(OPERATION)?;
        self.check_stages()?;
        if self.pathways == Pathways::Two {
            return self.two();
        }
        let wanted = self.two()?.trained_values();
        // More channels make more values; the first width that has as many lies between these.
        let (mut less, mut enough) = (self.width, 2 * self.width);
        while less + 1 < enough {
            let middle = usize::midpoint(less, enough);
            match self.one(middle)?.trained_values() < wanted {
                true => less = middle,
                false => enough = middle,
            }
        }
        let [less, enough] = [self.one(less)?, self.one(enough)?];
        let off = |graph: &Graph| graph.trained_values().abs_diff(wanted);
        Ok(if off(&less) < off(&enough) {
            less
        } else {
            enough
        })
    }

    fn check_stages(&self) -> Result<()> {
        let stages = self.blocks.len();
        let wrong = |what: &str| Error::invalid(OPERATION, what);
        if !(2..=4).contains(&stages) {
            return Err(wrong("stages are out of range")
                .expected("2 to 4")
                .got(stages));
        }
        let blocks = self.blocks.iter();
        check_ranges(
            OPERATION,
            blocks.map(|&blocks| ("blocks of a stage", blocks, MOST_BLOCKS)),
        )?;
        let after = &self.integrate_after;
        let ascending = after.windows(2).all(|pair| pair[0] < pair[1]);
        if after.len() < 2 || !ascending || after[0] == 0 || after.last() != Some(&stages) {
            return Err(wrong("the stages to integrate after do not fit")
                .expected(format!(
                    "two or more from 1 to {stages}, ascending, the last of which is {stages}"
                ))
                .got(format!("{after:?}")));
        }
        Ok(())
    }

    /// What makes the stem and the blocks.
    fn residual(&self, width: usize) -> ResNetConfig {
        ResNetConfig {
            input: self.input,
            stem: self.stem,
            width,
            classes: self.classes,
            ..Default::default()
        }
    }

    fn two(&self) -> Result<Graph> {
        let residual = self.residual(self.width);
        let mut graph = Builder::new(Shape::from(self.input))?;
        let mut paths = [
            colours(OPERATION, &mut graph, self.input)?,
            luminance(&mut graph, self.input, self.luminance)?,
        ];
        for (name, path) in NAMES.into_iter().zip(&mut paths) {
            *path = residual.begin(&mut graph, &format!("{name}.stem"), *path)?;
        }
        let (mut nodes, mut index) = (0, 0);
        let mut previous: Option<(Wire, usize)> = None;
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            for (name, path) in NAMES.into_iter().zip(&mut paths) {
                *path = residual.stage(&mut graph, (name, index), *path, (stage, blocks))?;
            }
            index += blocks;
            if self.integrate_after.contains(&(stage + 1)) {
                let previous_of = previous.map(|(wire, before)| (wire, stage - before));
                let name = format!("integrate.{nodes}");
                let node = integrate(&mut graph, &name, paths, previous_of, self.width << stage)?;
                previous = Some((node, stage));
                nodes += 1;
            }
        }
        self.end(graph)
    }

    fn one(&self, width: usize) -> Result<Graph> {
        let residual = self.residual(width);
        let mut graph = Builder::new(Shape::from(self.input))?;
        let input = match (self.pathways, self.input.channels) {
            (Pathways::RgbLuminance, 3) => {
                let grey = luminance(&mut graph, self.input, self.luminance)?;
                graph.node("joined", Layer::Concat, [Wire::Input, grey])?
            }
            (Pathways::RgbLuminance, _) => Wire::Input,
            _ => colours(OPERATION, &mut graph, self.input)?,
        };
        let mut hidden = residual.begin(&mut graph, "stem", input)?;
        let mut index = 0;
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            hidden = residual.stage(&mut graph, ("blocks", index), hidden, (stage, blocks))?;
            index += blocks;
        }
        self.end(graph)
    }

    /// From the last maps to the classes.
    fn end(&self, mut graph: Builder) -> Result<Graph> {
        graph.then("mean", Layer::GlobalMeanPool)?;
        graph.then("head", Layer::Linear(Linear::new(self.classes)))?;
        graph.finish()
    }
}

const OPERATION: &str = "integration_config";

/// An integration node of two pathways, and of the one before with the number of times that the maps were halved since.
fn integrate(
    graph: &mut Builder,
    name: &str,
    paths: [Wire; 2],
    previous: Option<(Wire, usize)>,
    channels: usize,
) -> Result<Wire> {
    let part = |part: &str| format!("{name}.{part}");
    let conv = || Conv {
        filters: channels,
        kernel: 1,
        stride: 1,
    };
    let mut inputs = paths.to_vec();
    if let Some((mut hidden, halvings)) = previous {
        // Of odd maps, too, as many rows and columns are left as the stages' convolutions leave.
        let window = Window {
            size: [3; 2],
            stride: [2; 2],
            padding: [1; 2],
        };
        for halving in 0..halvings {
            let pool = part(&format!("pool{halving}"));
            hidden = graph.node(pool, Layer::MeanPool(window), [hidden])?;
        }
        inputs.push(conv_norm(graph, &part("previous"), hidden, conv())?);
    }
    let mix = Mix {
        last_share: previous.map(|_| PREVIOUS_SHARE),
    };
    let mixed = graph.node(part("mix"), Layer::Mix(mix), inputs.iter().copied())?;
    let joined = graph.node(part("joined"), Layer::Concat, inputs)?;
    conv_norm(graph, &part("first"), joined, conv())?;
    let hidden = graph.then(part("first.relu"), Layer::Relu)?;
    let hidden = conv_norm(graph, &part("second"), hidden, conv())?;
    graph.node(part("sum"), Layer::Add, [hidden, mixed])?;
    graph.then(part("relu"), Layer::Relu)
}
