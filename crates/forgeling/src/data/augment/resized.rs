//! Parts of images, enlarged.

use serde::{Deserialize, Serialize};

use super::rectangle::{Rectangle, check};
use crate::error::Result;
use crate::image_shape::ImageShape;
use crate::rng::Rng;

/// Cuts out a part of an image and brings it to the image's size, bilinearly.
///
/// The part's area is uniform in `scale`, as a share of the image's, and its width is log-uniform in `ratio` of its height.
/// Where ten of them do not fit, it is the largest part about the middle whose ratio is within the range. Szegedy et al.,
/// *Going Deeper with Convolutions*, 2015; the defaults are those of torchvision's `RandomResizedCrop`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResizedCrop {
    /// The least and the most of the image's area, above 0 and at most 1. Default 0.08 and 1.
    pub scale: [f32; 2],
    /// The least and the largest ratio of width to height. Default 3/4 and 4/3.
    pub ratio: [f32; 2],
}

impl Default for ResizedCrop {
    fn default() -> Self {
        Self {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
        }
    }
}

impl ResizedCrop {
    /// # Errors
    /// When a range is turned round, a share of the area is not above 0 and at most 1, or a ratio is beyond 1:100.
    pub fn validate(&self) -> Result<()> {
        check(self.scale, self.ratio)
    }

    /// Changes an image, `[channel, row, column]`.
    pub fn apply(&self, shape: ImageShape, image: &mut [f32], rng: &mut Rng) {
        let part = self.part(shape, rng);
        let whole = image.to_vec();
        let columns: Vec<Between> = (0..shape.width)
            .map(|column| Between::new(column, shape.width, part.left, part.width))
            .collect();
        let plane = shape.height * shape.width;
        for (from, to) in whole.chunks_exact(plane).zip(image.chunks_exact_mut(plane)) {
            for (row, line) in to.chunks_exact_mut(shape.width).enumerate() {
                let rows = Between::new(row, shape.height, part.top, part.height);
                let [upper, lower] =
                    [rows.first, rows.second].map(|row| &from[row * shape.width..][..shape.width]);
                for (value, columns) in line.iter_mut().zip(&columns) {
                    *value = mixed(columns.of(upper), columns.of(lower), rows.share);
                }
            }
        }
    }

    pub(super) fn part(&self, shape: ImageShape, rng: &mut Rng) -> Rectangle {
        let drawn = Rectangle::draw(shape, self.scale, self.ratio, rng);
        drawn.unwrap_or_else(|| {
            let [rows, columns] = [shape.height, shape.width].map(|side| side as f64);
            let [least, most] = self.ratio.map(f64::from);
            let side = |length: f64| length.round().max(1.0) as usize;
            let (height, width) = match columns / rows {
                ratio if ratio < least => (side(columns / least), shape.width),
                ratio if ratio > most => (shape.height, side(rows * most)),
                _ => (shape.height, shape.width),
            };
            let (height, width) = (height.min(shape.height), width.min(shape.width));
            Rectangle {
                top: (shape.height - height) / 2,
                left: (shape.width - width) / 2,
                height,
                width,
            }
        })
    }
}

/// Two neighbours within a part of a row or column, and how much of the second one counts.
struct Between {
    first: usize,
    second: usize,
    share: f32,
}

impl Between {
    /// For a pixel of `length` onto which a part is brought. Centres of pixels lie at halves.
    fn new(pixel: usize, length: usize, start: usize, part: usize) -> Self {
        let place = (pixel as f32 + 0.5) * part as f32 / length as f32 - 0.5;
        let place = place.clamp(0.0, (part - 1) as f32);
        let first = place as usize;
        Self {
            first: start + first,
            second: start + (first + 1).min(part - 1),
            share: place - first as f32,
        }
    }

    fn of(&self, line: &[f32]) -> f32 {
        mixed(line[self.first], line[self.second], self.share)
    }
}

fn mixed(first: f32, second: f32, share: f32) -> f32 {
    first + (second - first) * share
}
