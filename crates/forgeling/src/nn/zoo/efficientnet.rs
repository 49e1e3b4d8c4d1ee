//! EfficientNet-Lite.

use serde::{Deserialize, Serialize};

use super::inverted::{InvertedResiduals, Stage, check_width};
use super::{Stem, check_images};
use crate::error::Result;
use crate::image_shape::ImageShape;
use crate::nn::graph::{Graph, Norm, Padding};

/// EfficientNet-Lite0: inverted residuals as in [MobileNetV2](super::MobileNetConfig), some with kernels of 5×5, in the
/// numbers of EfficientNet-B0, but with ReLU6 and without squeeze-and-excitation, which small devices are slow at. Tan and
/// Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, 2019 (arXiv 1905.11946); the variant is
/// TensorFlow's.
///
/// `[channels, rows, columns]` to `[classes]`; features are the means. With 1,000 classes and three channels it has
/// 4,652,008 trained values; there is no dropout before the last layer. Convolutions are padded as in TensorFlow
/// ([`Padding::SameUpper`]), and batch norm adds 1e-3 to variances.
///
/// Names and first weights are those of [`MobileNetConfig`](super::MobileNetConfig).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EfficientNetConfig {
    /// The images it takes. Default three channels of 224×224.
    pub input: ImageShape,
    /// How it begins. Default [`Stem::ImageNet`].
    pub stem: Stem,
    /// By how much the channels of the blocks are multiplied, then made multiples of 8; those of the first and of the last
    /// convolution stay 32 and 1,280, as in all of EfficientNet-Lite. Default 1, at most 4.
    pub width: f64,
    /// Classes to tell apart. Default 10.
    pub classes: usize,
}

impl Default for EfficientNetConfig {
    fn default() -> Self {
        Self {
            input: ImageShape::new(3, 224, 224),
            stem: Stem::ImageNet,
            width: 1.0,
            classes: 10,
        }
    }
}

/// Table 1 of the paper: expansion, channels, blocks, stride, kernel.
const STAGES: [Stage; 7] = [
    Stage::of([1, 16, 1, 1, 3]),
    Stage::of([6, 24, 2, 2, 3]),
    Stage::of([6, 40, 2, 2, 5]),
    Stage::of([6, 80, 3, 2, 3]),
    Stage::of([6, 112, 3, 1, 5]),
    Stage::of([6, 192, 4, 2, 5]),
    Stage::of([6, 320, 1, 1, 3]),
];

impl EfficientNetConfig {
    /// The graph of such a network.
    ///
    /// # Errors
    /// When a size is zero or beyond reason.
    pub fn graph(&self) -> Result<Graph> {
        const OPERATION: &str = "efficientnet_config";
        check_images(OPERATION, self.input, self.classes)?;
        check_width(OPERATION, self.width)?;
        let network = InvertedResiduals {
            input: self.input,
            stem: self.stem,
            first: 32,
            stages: &STAGES,
            width: self.width,
            last: 1280,
            padding: Padding::SameUpper,
            norm: Norm { epsilon: 1e-3 },
            classes: self.classes,
        };
        network.graph()
    }
}
