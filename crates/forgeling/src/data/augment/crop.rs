//! Images mirrored and moved by whole pixels.

use serde::{Deserialize, Serialize};

use super::{share, too_large};
use crate::error::Result;
use crate::image_shape::ImageShape;
use crate::rng::Rng;

/// Exchanges left and right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flip {
    /// How likely. Default 0.5.
    pub probability: f32,
}

impl Default for Flip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl Flip {
    /// # Errors
    /// When the probability is not within 0 and 1.
    pub fn validate(&self) -> Result<()> {
        share("the probability of a flip", self.probability)
    }

    /// Changes an image, `[channel, row, column]`, or leaves it.
    pub fn apply(&self, shape: ImageShape, image: &mut [f32], rng: &mut Rng) {
        if rng.unit_f32() < self.probability {
            image
                .chunks_exact_mut(shape.width)
                .for_each(<[f32]>::reverse);
        }
    }
}

/// What is beyond the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// 0.
    #[default]
    Zeros,
    /// The image, mirrored at its outermost pixels, which are not repeated.
    Reflect,
}

/// Pads an image on all sides and cuts out a window of its size, whose place is uniform among the `(2 padding + 1)²`
/// places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Crop {
    /// Pixels on each side, fewer than the image has rows and columns. Default 4.
    pub padding: usize,
    /// What they are. Default zeros.
    pub fill: Fill,
}

impl Default for Crop {
    fn default() -> Self {
        Self {
            padding: 4,
            fill: Fill::Zeros,
        }
    }
}

impl Crop {
    /// # Errors
    /// When the padding is as wide as the image, which could be lost.
    pub fn validate(&self, shape: ImageShape) -> Result<()> {
        let most = shape.height.min(shape.width).saturating_sub(1);
        if self.padding > most {
            return Err(too_large("the padding", self.padding, most, shape));
        }
        Ok(())
    }

    /// Changes an image, `[channel, row, column]`, for which the step is [valid](Self::validate).
    pub fn apply(&self, shape: ImageShape, image: &mut [f32], rng: &mut Rng) {
        let places = 2 * self.padding + 1;
        let (down, right) = (rng.below(places), rng.below(places));
        self.cut(shape, image, [down, right]);
    }

    /// Moves the window so far down and right in the padded image.
    pub(crate) fn cut(&self, shape: ImageShape, image: &mut [f32], [down, right]: [usize; 2]) {
        let whole = image.to_vec();
        let planes = whole.chunks_exact(shape.height * shape.width);
        let lines = image.chunks_exact_mut(shape.width);
        let sources = planes.flat_map(|plane| (0..shape.height).map(move |row| (plane, row)));
        for (line, (plane, row)) in lines.zip(sources) {
            let from = self.source(row + down, shape.height);
            let from = from.map(|row| &plane[row * shape.width..][..shape.width]);
            for (column, value) in line.iter_mut().enumerate() {
                let column = self.source(column + right, shape.width);
                *value = from.zip(column).map_or(0.0, |(line, column)| line[column]);
            }
        }
    }

    /// The pixel of `length` that is at a place of the padded row or column.
    fn source(&self, place: usize, length: usize) -> Option<usize> {
        let last = length - 1;
        match (place.checked_sub(self.padding), self.fill) {
            (Some(inside), _) if inside < length => Some(inside),
            (_, Fill::Zeros) => None,
            (Some(beyond), Fill::Reflect) => Some(2 * last - beyond),
            (None, Fill::Reflect) => Some(self.padding - place),
        }
    }
}
