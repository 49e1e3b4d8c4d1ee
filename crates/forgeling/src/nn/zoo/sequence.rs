//! Convolutions along sequences.

use serde::{Deserialize, Serialize};

use super::check_ranges;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::{Builder, Conv2d, Graph, Layer, Linear, Norm, Shape};

/// A network for sequences, such as the rows of a sensor or the path of a pointer: three blocks of convolution along the
/// steps, batch norm and ReLU, the mean over all steps, and a linear layer. Wang, Yan and Oates, *Time Series
/// Classification from Scratch with Deep Neural Networks: A Strong Baseline*, 2017 (arXiv 1611.06455), with kernels of 7, 5
/// and 3 steps; the paper's first one has 8, and so no middle.
///
/// A sequence is maps of one row, `[channels, 1, steps]`: each channel is what one sensor gave, step after step. The
/// result is `[classes]`; features are the means. Blocks are named `blocks.0` and so on, `blocks.0` itself being the
/// convolution, with `blocks.0.norm`; convolutions are without bias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceConfig {
    /// Channels, one row, and steps. Default three channels of 128 steps.
    pub input: ImageShape,
    /// Channels of the first and of the last block; the second has twice as many. Default 128, as in the paper.
    pub filters: usize,
    /// Classes to tell apart. Default 10.
    pub classes: usize,
}

impl Default for SequenceConfig {
    fn default() -> Self {
        Self {
            input: ImageShape::new(3, 1, 128),
            filters: 128,
            classes: 10,
        }
    }
}

/// More than any model this library is made for.
const MAX_CHANNELS: usize = 4096;
const MAX_STEPS: usize = 1 << 20;
const MAX_CLASSES: usize = 1 << 16;

impl SequenceConfig {
    /// The graph of such a network.
    ///
    /// # Errors
    /// When the input has more than one row, and when a size is zero or beyond reason.
    pub fn graph(&self) -> Result<Graph> {
        const OPERATION: &str = "sequence_config";
        let ImageShape {
            channels,
            height,
            width: steps,
        } = self.input;
        check_ranges(
            OPERATION,
            [
                ("channels", channels, MAX_CHANNELS),
                ("steps", steps, MAX_STEPS),
                ("filters", self.filters, MAX_CHANNELS / 2),
                ("classes", self.classes, MAX_CLASSES),
            ],
        )?;
        if height != 1 {
            return Err(Error::invalid(OPERATION, "not a sequence")
                .expected("one row of steps")
                .got(self.input));
        }
        let mut graph = Builder::new(Shape::Maps([channels, 1, steps]))?;
        let filters = self.filters;
        for (index, (filters, kernel)) in [(filters, 7), (2 * filters, 5), (filters, 3)]
            .into_iter()
            .enumerate()
        {
            let name = |part: &str| format!("blocks.{index}{part}");
            let conv = Conv2d {
                kernel: [1, kernel],
                bias: false,
                ..Conv2d::new(filters, kernel).same()
            };
            graph.then(name(""), Layer::Conv2d(conv))?;
            graph.then(name(".norm"), Layer::BatchNorm(Norm::default()))?;
            graph.then(name(".relu"), Layer::Relu)?;
        }
        graph.then("mean", Layer::GlobalMeanPool)?;
        graph.then("head", Layer::Linear(Linear::new(self.classes)))?;
        graph.finish()
    }
}
