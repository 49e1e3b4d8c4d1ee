//! Rectangles of a random area and shape within an image.

use super::{OPERATION, within};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::rng::Rng;

/// Tries to find one that fits.
const TRIES: usize = 10;
/// The most that one side is of the other.
const MOST_RATIO: f32 = 100.0;

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Rectangle {
    /// One within an image, of an area that is uniform in `area`, as shares of the image's, of a width that is log-uniform
    /// in `ratio` of its height, and at a place that is uniform too; none where ten of them do not fit. Szegedy et al.,
    /// *Going Deeper with Convolutions*, 2015.
    pub fn draw(shape: ImageShape, area: [f32; 2], ratio: [f32; 2], rng: &mut Rng) -> Option<Self> {
        let pixels = (shape.height * shape.width) as f64;
        let [low, high] = ratio.map(|ratio| libm::log(f64::from(ratio)));
        for _ in 0..TRIES {
            let [least, most] = area.map(f64::from);
            let area = pixels * (least + (most - least) * rng.unit_f64());
            let ratio = libm::exp(low + (high - low) * rng.unit_f64());
            let height = (area / ratio).sqrt().round() as usize;
            let width = (area * ratio).sqrt().round() as usize;
            let fits = (1..=shape.height).contains(&height) && (1..=shape.width).contains(&width);
            if fits {
                return Some(Self {
                    top: rng.below(shape.height - height + 1),
                    left: rng.below(shape.width - width + 1),
                    height,
                    width,
                });
            }
        }
        None
    }

    /// The part that lies within an image of a rectangle of this height and width about one of its pixels.
    pub fn about(
        [row, column]: [usize; 2],
        [height, width]: [usize; 2],
        shape: ImageShape,
    ) -> Self {
        let span = |centre: usize, size: usize, length: usize| {
            let start = centre.saturating_sub(size / 2);
            let end = (centre + size - size / 2).min(length);
            (start, end - start)
        };
        let ((top, height), (left, width)) = (
            span(row, height, shape.height),
            span(column, width, shape.width),
        );
        Self {
            top,
            left,
            height,
            width,
        }
    }

    /// How many pixels it has.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Where its lines lie in an image, of all channels.
    pub fn lines(self, shape: ImageShape) -> impl Iterator<Item = std::ops::Range<usize>> {
        let rows = (0..shape.channels).flat_map(move |channel| {
            (self.top..self.top + self.height).map(move |row| (channel, row))
        });
        rows.map(move |(channel, row)| {
            let start = (channel * shape.height + row) * shape.width + self.left;
            start..start + self.width
        })
    }
}

/// Checks what rectangles are drawn from.
pub(super) fn check(area: [f32; 2], ratio: [f32; 2]) -> Result<()> {
    let ordered = |name: &str, [low, high]: [f32; 2]| {
        if low <= high {
            return Ok(());
        }
        Err(Error::invalid(
            OPERATION,
            format!("the range of the {name} is turned round"),
        )
        .expected("the smaller number first")
        .got(format!("{low} and {high}")))
    };
    for value in area {
        if !(value > 0.0 && value <= 1.0) {
            return Err(
                Error::invalid(OPERATION, "a share of the area is out of range")
                    .expected("above 0, at most 1")
                    .got(value),
            );
        }
    }
    for value in ratio {
        within(
            "a ratio of width to height",
            value,
            1.0 / MOST_RATIO,
            MOST_RATIO,
        )?;
    }
    ordered("area", area)?;
    ordered("ratio", ratio)
}
