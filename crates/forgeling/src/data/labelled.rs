//! Images with labels.

use super::dataset::ImageShape;

/// Images and the class of each, for supervised learning.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// The shape of each image.
    pub shape: ImageShape,
    /// Images, `[example, channel, row, column]`.
    pub images: Vec<f32>,
    /// The class of each image.
    pub labels: Vec<usize>,
}
