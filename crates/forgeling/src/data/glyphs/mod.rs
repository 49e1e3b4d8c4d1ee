//! An endless invented alphabet in varying handwriting.
//!
//! A class is a program of one to four pen strokes (bars, arcs, loops, hooks, angles, zigzags …) joined the
//! way written strokes are; a drawing is that program with every control point, every stroke and the whole
//! slightly displaced, drawn with an anti-aliased pen. Class and drawing follow from integers alone, and the
//! arithmetic is the same on every platform, and so are the bytes. The idea is that of Omniglot's generative
//! model (Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program
//! induction", 2015), much simplified.

mod program;
mod stroke;

use serde::{Deserialize, Serialize};

use self::program::{Drawing, Program};
use self::stroke::{Point, Segment};
use super::dataset::{Dataset, check_read};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::rng::{Rng, mix64};

/// Which half of all characters a set draws from. The halves have no character in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Split {
    /// To learn from.
    Train,
    /// Held out.
    Test,
}

/// Procedural handwriting, white (1) on black (0), one channel.
///
/// ```
/// use forgeling::data::{Dataset, Glyphs, Split};
/// # fn main() -> forgeling::Result<()> {
/// let glyphs = Glyphs::new(1, Split::Train, 1000)?;
/// let mut image = vec![0.0; glyphs.image_shape().len()];
/// glyphs.read(999, 123_456, &mut image)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glyphs {
    seed: u64,
    split: Split,
    classes: usize,
    size: usize,
}

impl Glyphs {
    /// Rows and columns unless [`Glyphs::with_size`] says otherwise.
    pub const DEFAULT_SIZE: usize = 28;
    /// The smallest size at which strokes can be told apart.
    pub const MIN_SIZE: usize = 8;
    /// The largest size.
    pub const MAX_SIZE: usize = 1024;
    /// Drawings per class, the same number on every platform.
    pub const DRAWINGS: usize = 1 << 30;

    /// `classes` characters of 28 × 28. Other seeds give other characters; the two splits share none, whatever
    /// their seeds.
    ///
    /// # Errors
    ///
    /// If `classes` is 0.
    pub fn new(seed: u64, split: Split, classes: usize) -> Result<Self> {
        if classes == 0 {
            return Err(Error::invalid("new_glyphs", "an alphabet needs characters")
                .expected("1 or more classes")
                .got(0));
        }
        Ok(Self {
            seed,
            split,
            classes,
            size: Self::DEFAULT_SIZE,
        })
    }

    /// The same characters with `size` rows and columns.
    ///
    /// # Errors
    ///
    /// If `size` is below [`Glyphs::MIN_SIZE`] or above [`Glyphs::MAX_SIZE`].
    pub fn with_size(self, size: usize) -> Result<Self> {
        if !(Self::MIN_SIZE..=Self::MAX_SIZE).contains(&size) {
            return Err(Error::invalid("new_glyphs", "the size is out of range")
                .expected(format!("{} to {}", Self::MIN_SIZE, Self::MAX_SIZE))
                .got(size));
        }
        Ok(Self { size, ..self })
    }

    /// The number from which everything about `class` follows. Its lowest bit tells the split, so no number
    /// belongs to both.
    pub fn class_seed(&self, class: usize) -> u64 {
        let split = match self.split {
            Split::Train => 0,
            Split::Test => 1,
        };
        mix64(self.seed).wrapping_add(class as u64) << 1 | split
    }

    /// A picture of the first `classes` characters, one row each, with their first `drawings` drawings side by
    /// side: width, height and grey pixels.
    ///
    /// # Errors
    ///
    /// If there are fewer classes, or nothing to show.
    pub fn sheet(&self, classes: usize, drawings: usize) -> Result<(usize, usize, Vec<u8>)> {
        let tile = self.size;
        let sides = classes
            .checked_mul(tile)
            .zip(drawings.checked_mul(tile))
            .and_then(|(height, width)| Some((width, height, width.checked_mul(height)?)));
        let Some((width, height, area @ 1..=0x4000_0000)) = sides else {
            return Err(
                Error::invalid("glyph_sheet", "the sheet is empty or too large")
                    .got(format!("{classes} classes of {drawings} drawings")),
            );
        };
        let mut sheet = vec![0; area];
        let mut image = vec![0.0; tile * tile];
        for class in 0..classes {
            for drawing in 0..drawings {
                self.read(class, drawing, &mut image)?;
                for (row, values) in image.chunks(tile).enumerate() {
                    let start = (class * tile + row) * width + drawing * tile;
                    for (byte, value) in sheet[start..start + tile].iter_mut().zip(values) {
                        *byte = quantize(*value);
                    }
                }
            }
        }
        Ok((width, height, sheet))
    }

    /// Bytes that must never change, on any platform: 16 characters in 4 drawings at 28 × 28, then 3 in 1 at
    /// 33 × 33, of [`Split::Train`] under seed 1. Tests compare their digest.
    ///
    /// # Errors
    ///
    /// None in practice; the sizes are valid.
    pub fn golden_bytes() -> Result<Vec<u8>> {
        let glyphs = Self::new(1, Split::Train, 16)?;
        let mut bytes = glyphs.sheet(16, 4)?.2;
        bytes.extend(glyphs.with_size(33)?.sheet(3, 1)?.2);
        Ok(bytes)
    }
}

impl Dataset for Glyphs {
    fn class_count(&self) -> usize {
        self.classes
    }

    fn class_name(&self, class: usize) -> String {
        format!("glyph {class}")
    }

    fn class_len(&self, class: usize) -> usize {
        if class < self.classes {
            Self::DRAWINGS
        } else {
            0
        }
    }

    fn image_shape(&self) -> ImageShape {
        ImageShape::new(1, self.size, self.size)
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        let mut rng = Rng::new(self.class_seed(class));
        let mut hand = rng.fork(example as u64);
        let drawing = Program::invent(&mut rng).draw(&mut hand);
        render(&drawing, self.size, out);
        Ok(())
    }
}

fn quantize(value: f32) -> u8 {
    (value * 255.0).round() as u8
}

/// Draws with a round pen whose edge fades over one pixel.
fn render(drawing: &Drawing, size: usize, out: &mut [f32]) {
    let scale = size as f32;
    let radius = (drawing.radius * scale).max(0.55);
    let reach = radius + 0.5;
    // First the squared distance from the nearest line, as far as the pen reaches …
    out.fill(f32::MAX);
    // Pixel centres lie at half-integers.
    let to_pixels = |point: Point| point.times(scale).minus(Point::new(0.5, 0.5));
    let cover = |low: f32, high: f32| {
        let from = (low - reach).max(0.0) as usize;
        let to = (high + reach + 1.0).max(0.0) as usize;
        from..to.min(size)
    };
    for line in &drawing.lines {
        for ends in line.windows(2) {
            let (from, to) = (to_pixels(ends[0]), to_pixels(ends[1]));
            let columns = cover(from.x.min(to.x), from.x.max(to.x));
            if columns.is_empty() {
                continue;
            }
            let segment = Segment::new(from, to);
            for row in cover(from.y.min(to.y), from.y.max(to.y)) {
                let pixels = &mut out[row * size..(row + 1) * size][columns.clone()];
                for (pixel, column) in pixels.iter_mut().zip(columns.clone()) {
                    let centre = Point::new(column as f32, row as f32);
                    *pixel = pixel.min(segment.squared_distance(centre));
                }
            }
        }
    }
    // … then the ink.
    for value in out {
        *value = if *value < reach * reach {
            (reach - value.sqrt()).clamp(0.0, 1.0)
        } else {
            0.0
        };
    }
}
