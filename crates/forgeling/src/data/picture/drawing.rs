//! Drawings: from ink on a page to an input of a network.

use super::ink::{Ink, ink};
use super::raster::{Area, Plane, Raster, to_byte};

/// Free space on each side of a drawing, as a part of the result's side: about that of Glyphs.
const MARGIN: f32 = 0.18;
/// A drawing smaller than this part of the picture's longer side is not blown up further, so that a dot stays a dot.
const SMALLEST: f32 = 0.15;
/// The part of a result's pixels whose mean counts as its full ink.
const FULL: f32 = 0.02;
/// Ink is strengthened so many times at most.
const STRONGEST: f32 = 4.0;

/// What of a page is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// All of it, on paper enough to make it square.
    Whole,
    /// The square around its ink.
    Ink,
}

/// A drawing as `size` × `size` bytes, where ink is 255; zeros where there is no ink.
pub(super) fn draw(raster: &Raster, light_ink: bool, frame: Frame, size: usize) -> Vec<u8> {
    let ink = ink(raster, light_ink);
    let found = match frame {
        Frame::Whole if ink.clean => square(&ink.plane).resample(size),
        _ => match framed(&ink) {
            Some(square) => strengthened(square.resample(size)),
            None => vec![0.0; size * size],
        },
    };
    let bytes = found.into_iter().map(|value| to_byte(255.0 * value));
    bytes.collect()
}

struct Square<'a> {
    plane: &'a Plane,
    area: Area,
}

impl Square<'_> {
    fn resample(&self, size: usize) -> Vec<f32> {
        self.plane.resample(self.area, size, size).values
    }
}

/// A plane and the paper beside it.
fn square(plane: &Plane) -> Square<'_> {
    let (width, height) = (plane.width as f32, plane.height as f32);
    let side = width.max(height);
    let area = Area {
        left: (width - side) / 2.0,
        top: (height - side) / 2.0,
        width: side,
        height: side,
    };
    Square { plane, area }
}

/// The square around the ink, with its margin.
fn framed(ink: &Ink) -> Option<Square<'_>> {
    let plane = &ink.plane;
    let bounds = ink.bounds?;
    let longer = plane.width.max(plane.height) as f32;
    let extent = bounds.width.max(bounds.height).max(SMALLEST * longer);
    let side = extent / (1.0 - 2.0 * MARGIN);
    let area = Area {
        left: bounds.left + (bounds.width - side) / 2.0,
        top: bounds.top + (bounds.height - side) / 2.0,
        width: side,
        height: side,
    };
    Some(Square { plane, area })
}

/// Thin strokes cover only a part of a pixel: their ink is strengthened until the strongest is full.
fn strengthened(mut values: Vec<f32>) -> Vec<f32> {
    let mut sorted = values.clone();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let count = ((values.len() as f32 * FULL).ceil() as usize).clamp(1, values.len());
    let full = sorted[..count].iter().sum::<f32>() / count as f32;
    if full > 0.0 {
        let by = (1.0 / full).clamp(1.0, STRONGEST);
        for value in &mut values {
            *value = (*value * by).min(1.0);
        }
    }
    values
}
