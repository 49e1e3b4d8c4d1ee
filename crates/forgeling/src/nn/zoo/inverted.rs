//! Inverted residuals, which MobileNetV2 and EfficientNet-Lite are made of.

use super::Stem;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::{
    Builder, Conv2d, Graph, Initial, Layer, Linear, Norm, Padding, Shape, Wire,
};

/// Blocks one after the other, of which the first has the stride.
pub(super) struct Stage {
    /// How many times more channels the depthwise convolution has than the block's input.
    pub expansion: usize,
    /// Channels of the output.
    pub channels: usize,
    pub blocks: usize,
    pub stride: usize,
    /// Rows and columns of the depthwise convolution's kernel.
    pub kernel: usize,
}

impl Stage {
    /// From the columns of a paper's table.
    pub const fn of([expansion, channels, blocks, stride, kernel]: [usize; 5]) -> Self {
        Self {
            expansion,
            channels,
            blocks,
            stride,
            kernel,
        }
    }
}

/// A network of such stages.
pub(super) struct InvertedResiduals<'a> {
    pub input: ImageShape,
    pub stem: Stem,
    /// Channels of the stem.
    pub first: usize,
    pub stages: &'a [Stage],
    /// By how much the channels of the stages are multiplied.
    pub width: f64,
    /// Channels of the last convolution.
    pub last: usize,
    pub padding: Padding,
    pub norm: Norm,
    pub classes: usize,
}

/// The multiple of 8 that is nearest to so many channels, at least 8, and not more than a tenth below them.
pub(super) fn multiple_of_eight(channels: f64) -> usize {
    let nearest = ((channels + 4.0) as usize / 8 * 8).max(8);
    match (nearest as f64) < 0.9 * channels {
        true => nearest + 8,
        false => nearest,
    }
}

/// The largest multiple of a family's channels.
const MAX_WIDTH: f64 = 4.0;

/// Whether channels may be multiplied by so much.
pub(super) fn check_width(operation: &'static str, width: f64) -> Result<()> {
    if width > 0.0 && width <= MAX_WIDTH {
        return Ok(());
    }
    Err(Error::invalid(operation, "width is out of range")
        .expected(format!("above 0, at most {MAX_WIDTH}"))
        .got(width))
}

impl InvertedResiduals<'_> {
    pub fn graph(&self) -> Result<Graph> {
        let ImageShape {
            channels,
            height,
            width,
        } = self.input;
        let mut graph = Builder::new(Shape::Maps([channels, height, width]))?;
        // Two of five strides are left out for small images.
        let keeps_size = self.stem == Stem::Small;
        let stride = if keeps_size { 1 } else { 2 };
        let mut hidden = self.dense(&mut graph, "stem", Wire::Input, [self.first, 3, stride])?;
        hidden = graph.node("stem.relu6", Layer::Relu6, [hidden])?;
        let (mut index, mut strides) = (0, 0);
        for stage in self.stages {
            strides += usize::from(stage.stride > 1);
            let left_out = keeps_size && strides == 1;
            for block in 0..stage.blocks {
                let stride = if block > 0 || left_out {
                    1
                } else {
                    stage.stride
                };
                let name = format!("blocks.{index}");
                hidden = self.block(&mut graph, &name, hidden, stage, stride)?;
                index += 1;
            }
        }
        self.dense(&mut graph, "last", hidden, [self.last, 1, 1])?;
        graph.then("last.relu6", Layer::Relu6)?;
        graph.then("mean", Layer::GlobalMeanPool)?;
        graph.then("head", Layer::Linear(Linear::new(self.classes)))?;
        graph.finish()
    }

    /// `y = norm(project(relu6(norm(depthwise(relu6(norm(expand(x))))))))`, and `x` added where the shapes are equal. There
    /// is no `expand` with an expansion of 1.
    fn block(
        &self,
        graph: &mut Builder,
        name: &str,
        input: Wire,
        stage: &Stage,
        stride: usize,
    ) -> Result<Wire> {
        let part = |part: &str| format!("{name}.{part}");
        let inputs = match graph.shape(input) {
            Some(Shape::Maps([channels, ..])) => channels,
            _ => 0,
        };
        let outputs = multiple_of_eight(stage.channels as f64 * self.width);
        let inner = stage.expansion * inputs;
        let mut hidden = input;
        if stage.expansion > 1 {
            self.dense(graph, &part("expand"), hidden, [inner, 1, 1])?;
            hidden = graph.then(part("expand.relu6"), Layer::Relu6)?;
        }
        let depthwise = Conv2d {
            groups: inner,
            ..self.conv([inner, stage.kernel, stride])
        };
        self.normed(graph, &part("depthwise"), hidden, depthwise)?;
        hidden = graph.then(part("depthwise.relu6"), Layer::Relu6)?;
        hidden = self.dense(graph, &part("project"), hidden, [outputs, 1, 1])?;
        if graph.shape(hidden) == graph.shape(input) {
            hidden = graph.node(part("sum"), Layer::Add, [hidden, input])?;
        }
        Ok(hidden)
    }

    /// A convolution of filters, kernel and stride.
    fn conv(&self, [filters, kernel, stride]: [usize; 3]) -> Conv2d {
        Conv2d {
            stride: [stride; 2],
            padding: self.padding,
            bias: false,
            initial: Initial::He,
            ..Conv2d::new(filters, kernel)
        }
    }

    fn dense(
        &self,
        graph: &mut Builder,
        name: &str,
        input: Wire,
        sizes: [usize; 3],
    ) -> Result<Wire> {
        self.normed(graph, name, input, self.conv(sizes))
    }

    fn normed(&self, graph: &mut Builder, name: &str, input: Wire, conv: Conv2d) -> Result<Wire> {
        graph.node(name, Layer::Conv2d(conv), [input])?;
        graph.then(format!("{name}.norm"), Layer::BatchNorm(self.norm))
    }
}
