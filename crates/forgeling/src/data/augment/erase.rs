//! Parts of images, hidden.

use serde::{Deserialize, Serialize};

use super::rectangle::{Rectangle, check};
use super::{share, too_large};
use crate::error::Result;
use crate::image_shape::ImageShape;
use crate::rng::Rng;

/// Hides a square about a pixel that is uniform among all, the part of it that is within the image. DeVries and Taylor,
/// *Improved Regularization of Convolutional Neural Networks with Cutout*, 2017 (arXiv 1708.04552).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cutout {
    /// Rows and columns of the square, at most those of the image. Default 8.
    pub size: usize,
    /// How likely. Default 1.
    pub probability: f32,
    /// What is in its place, from 0 to 1. Default 0; in the paper the mean of the images.
    pub value: f32,
}

impl Default for Cutout {
    fn default() -> Self {
        Self {
            size: 8,
            probability: 1.0,
            value: 0.0,
        }
    }
}

impl Cutout {
    /// # Errors
    /// When the square is larger than the image, or a number is not within 0 and 1.
    pub fn validate(&self, shape: ImageShape) -> Result<()> {
        let most = shape.height.min(shape.width);
        if self.size > most {
            return Err(too_large("the square to cut out", self.size, most, shape));
        }
        share("the probability of a cutout", self.probability)?;
        share("the value of a cutout", self.value)
    }

    /// Changes an image, `[channel, row, column]`, or leaves it.
    pub fn apply(&self, shape: ImageShape, image: &mut [f32], rng: &mut Rng) {
        if rng.unit_f32() < self.probability {
            let centre = [rng.below(shape.height), rng.below(shape.width)];
            let square = Rectangle::about(centre, [self.size; 2], shape);
            fill(square, shape, image, self.value);
        }
    }
}

/// Hides a rectangle that lies within the image: its area is uniform in `area`, its width log-uniform in `ratio` of its
/// height. Where ten of them do not fit, the image is left. Zhong et al., *Random Erasing Data Augmentation*, 2020
/// (arXiv 1708.04896); the defaults are those of torchvision's `RandomErasing`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Erase {
    /// How likely. Default 0.5.
    pub probability: f32,
    /// The least and the most of the image's area, above 0 and at most 1. Default 0.02 and 0.33.
    pub area: [f32; 2],
    /// The least and the largest ratio of width to height. Default 0.3 and 3.3.
    pub ratio: [f32; 2],
    /// What is in its place, from 0 to 1. Default 0.
    pub value: f32,
}

impl Default for Erase {
    fn default() -> Self {
        Self {
            probability: 0.5,
            area: [0.02, 0.33],
            ratio: [0.3, 3.3],
            value: 0.0,
        }
    }
}

impl Erase {
    /// # Errors
    /// When a range is turned round, a share of the area is not above 0 and at most 1, a ratio is beyond 1:100, or another
    /// number is not within 0 and 1.
    pub fn validate(&self) -> Result<()> {
        check(self.area, self.ratio)?;
        share("the probability of erasing", self.probability)?;
        share("the value of what is erased", self.value)
    }

    /// Changes an image, `[channel, row, column]`, or leaves it.
    pub fn apply(&self, shape: ImageShape, image: &mut [f32], rng: &mut Rng) {
        if rng.unit_f32() < self.probability
            && let Some(rectangle) = Rectangle::draw(shape, self.area, self.ratio, rng)
        {
            fill(rectangle, shape, image, self.value);
        }
    }
}

fn fill(part: Rectangle, shape: ImageShape, image: &mut [f32], value: f32) {
    for line in part.lines(shape) {
        image[line].fill(value);
    }
}
