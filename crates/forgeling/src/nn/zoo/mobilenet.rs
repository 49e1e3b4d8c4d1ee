//! MobileNetV2.

use serde::{Deserialize, Serialize};

use super::inverted::{InvertedResiduals, Stage, check_width, multiple_of_eight};
use super::{Stem, check_images};
use crate::error::Result;
use crate::image_shape::ImageShape;
use crate::nn::graph::{Graph, Norm, Padding};

/// MobileNetV2: a stem, 17 inverted residuals, a last convolution, the mean over all pixels, and a linear layer. An
/// inverted residual is a 1×1 convolution to six times the channels, a 3×3 one of each channel by itself, and a 1×1 one
/// back; each has batch norm behind it, all but the last ReLU6. Where the shapes are equal, the input is added. Sandler et
/// al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, 2018 (arXiv 1801.04381).
///
/// `[channels, rows, columns]` to `[classes]`; features are the means. Channels and strides are those of PyTorch's
/// torchvision, without dropout before the last layer: with 1,000 classes and three channels 3,504,872 trained values.
///
/// Names are `stem`, `blocks.0` and so on with `expand`, `depthwise` and `project`, and `last`, each a convolution with
/// `.norm`, and `head`. Weights start uniform in `±sqrt(6 / outputs)`, see [`Initial::He`](crate::nn::graph::Initial::He).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MobileNetConfig {
    /// The images it takes. Default three channels of 32×32.
    pub input: ImageShape,
    /// How it begins. Default [`Stem::Small`].
    pub stem: Stem,
    /// By how much all channels but those of the classes are multiplied, then made multiples of 8; the last convolution
    /// has at least 1,280. Default 1, at most 4.
    pub width: f64,
    /// Classes to tell apart. Default 10.
    pub classes: usize,
}

impl Default for MobileNetConfig {
    fn default() -> Self {
        Self {
            input: ImageShape::new(3, 32, 32),
            stem: Stem::default(),
            width: 1.0,
            classes: 10,
        }
    }
}

/// Table 2 of the paper: expansion, channels, blocks, stride; and the kernel.
const STAGES: [Stage; 7] = [
    Stage::of([1, 16, 1, 1, 3]),
    Stage::of([6, 24, 2, 2, 3]),
    Stage::of([6, 32, 3, 2, 3]),
    Stage::of([6, 64, 4, 2, 3]),
    Stage::of([6, 96, 3, 1, 3]),
    Stage::of([6, 160, 3, 2, 3]),
    Stage::of([6, 320, 1, 1, 3]),
];
const FIRST: f64 = 32.0;
const LAST: f64 = 1280.0;

impl MobileNetConfig {
    /// The graph of such a network.
    ///
    /// # Errors
    /// When a size is zero or beyond reason.
    pub fn graph(&self) -> Result<Graph> {
        const OPERATION: &str = "mobilenet_config";
        check_images(OPERATION, self.input, self.classes)?;
        check_width(OPERATION, self.width)?;
        let network = InvertedResiduals {
            input: self.input,
            stem: self.stem,
            first: multiple_of_eight(FIRST * self.width),
            stages: &STAGES,
            width: self.width,
            last: multiple_of_eight(LAST * self.width.max(1.0)),
            padding: Padding::Same,
            norm: Norm::default(),
            classes: self.classes,
        };
        network.graph()
    }
}
