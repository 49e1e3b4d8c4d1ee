//! From an image file's bytes to grey or colour bytes of a wanted size.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader};
use serde::{Deserialize, Serialize};

use super::dataset::ImageShape;
use super::limits::Limits;
use crate::error::{Error, Result};

/// Which side of an image is ink, the value 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Ink {
    /// Dark ink on light paper, as in a scan: values are inverted.
    #[default]
    Dark,
    /// Light on dark, or a photograph: values stay.
    Light,
    /// Inverted where the outermost pixels are light on average.
    Auto,
}

/// What is kept of an image's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Colour {
    /// One channel, the luma of ITU-R BT.709.
    #[default]
    Grey,
    /// Red, green and blue.
    Rgb,
}

impl Colour {
    /// How many channels an image has.
    pub const fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// Decodes a PNG, JPEG or WebP image and resizes it to `shape` by averaging areas, without keeping its
/// proportions. What is transparent becomes paper.
pub(super) fn decode(
    operation: &'static str,
    bytes: &[u8],
    shape: ImageShape,
    ink: Ink,
    limits: &Limits,
) -> Result<Vec<u8>> {
    let image = decode_pixels(operation, bytes, limits)?;
    let paper = match ink {
        Ink::Dark | Ink::Auto => 255,
        Ink::Light => 0,
    };
    let source = Source::new(image, paper);
    let mut values = source.resize(shape);
    let invert = match ink {
        Ink::Dark => true,
        Ink::Light => false,
        Ink::Auto => source.border_is_light(),
    };
    if invert {
        for value in &mut values {
            *value = 255.0 - *value;
        }
    }
    Ok(values
        .into_iter()
        .map(|value| value.round().clamp(0.0, 255.0) as u8)
        .collect())
}

fn decode_pixels(operation: &'static str, bytes: &[u8], limits: &Limits) -> Result<DynamicImage> {
    let damaged = |cause: image::ImageError| {
        Error::bad_data(operation, format!("cannot be decoded: {cause}"))
    };
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|cause| damaged(cause.into()))?;
    if reader.format().is_none() {
        return Err(
            Error::bad_data(operation, "not an image").expected("the bytes of a PNG, JPEG or WebP")
        );
    }
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > limits.pixels {
        return Err(
            Error::bad_data(operation, "the image's size is out of range")
                .expected(format!("1 to {} pixels", limits.pixels))
                .got(format!("{width} × {height}")),
        );
    }
    let mut allowed = image::Limits::no_limits();
    allowed.max_alloc = Some(pixels.saturating_mul(12).saturating_add(1 << 20));
    decoder.set_limits(allowed).map_err(damaged)?;
    DynamicImage::from_decoder(decoder).map_err(damaged)
}

/// Decoded pixels with 1, 3 or 4 bytes each.
struct Source {
    width: usize,
    height: usize,
    channels: usize,
    paper: u32,
    pixels: Vec<u8>,
}

impl Source {
    fn new(image: DynamicImage, paper: u32) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (channels, pixels) = match image.color() {
            ColorType::L8 | ColorType::L16 => (1, image.into_luma8().into_raw()),
            ColorType::Rgb8 | ColorType::Rgb16 | ColorType::Rgb32F => {
                (3, image.into_rgb8().into_raw())
            }
            _ => (4, image.into_rgba8().into_raw()),
        };
        Self {
            width,
            height,
            channels,
            paper,
            pixels,
        }
    }

    fn rgb(&self, index: usize) -> [f32; 3] {
        let pixel = &self.pixels[index * self.channels..(index + 1) * self.channels];
        match *pixel {
            [grey] => [f32::from(grey); 3],
            [red, green, blue] => [red, green, blue].map(f32::from),
            [red, green, blue, alpha] => [red, green, blue].map(|value| {
                let alpha = u32::from(alpha);
                let mixed = u32::from(value) * alpha + self.paper * (255 - alpha);
                mixed as f32 / 255.0
            }),
            _ => [0.0; 3],
        }
    }

    fn luma(&self, index: usize) -> f32 {
        let [red, green, blue] = self.rgb(index);
        if red == green && green == blue {
            red
        } else {
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        }
    }

    fn border_is_light(&self) -> bool {
        let (width, height) = (self.width, self.height);
        let top_and_bottom = (0..width).flat_map(|x| [x, (height - 1) * width + x]);
        let left_and_right = (0..height).flat_map(|y| [y * width, y * width + width - 1]);
        let count = 2 * (width + height);
        let sum: f64 = top_and_bottom
            .chain(left_and_right)
            .map(|index| f64::from(self.luma(index)))
            .sum();
        sum > 127.5 * count as f64
    }

    /// Area averages in `0..=255`, row by row, so that the memory beyond the source is that of the result.
    fn resize(&self, shape: ImageShape) -> Vec<f32> {
        let plane = shape.height * shape.width;
        let mut out = vec![0.0; shape.len()];
        let columns: Vec<Vec<(usize, f32)>> = (0..shape.width)
            .map(|target| overlaps(target, shape.width, self.width).collect())
            .collect();
        let mut row_sums = vec![0.0f32; shape.channels * shape.width];
        for target in 0..shape.height {
            for (row, weight) in overlaps(target, shape.height, self.height) {
                self.average_row(row, &columns, &mut row_sums);
                for (index, sum) in row_sums.iter().enumerate() {
                    let (channel, column) = (index / shape.width, index % shape.width);
                    out[channel * plane + target * shape.width + column] += weight * sum;
                }
            }
        }
        out
    }

    fn average_row(&self, row: usize, columns: &[Vec<(usize, f32)>], sums: &mut [f32]) {
        let width = columns.len();
        sums.fill(0.0);
        for (target, parts) in columns.iter().enumerate() {
            for &(column, weight) in parts {
                let index = row * self.width + column;
                if sums.len() == width {
                    sums[target] += weight * self.luma(index);
                } else {
                    for (channel, value) in self.rgb(index).into_iter().enumerate() {
                        sums[channel * width + target] += weight * value;
                    }
                }
            }
        }
    }
}

/// The source cells that cell `target` of `targets` lies over, with the share of each.
fn overlaps(target: usize, targets: usize, sources: usize) -> impl Iterator<Item = (usize, f32)> {
    // In units of 1 / (targets * sources) all borders are whole numbers.
    let (low, high) = (
        target as u64 * sources as u64,
        (target as u64 + 1) * sources as u64,
    );
    let side = targets as u64;
    (low / side..=(high - 1) / side).map(move |cell| {
        let from = low.max(cell * side);
        let to = high.min((cell + 1) * side);
        (cell as usize, (to - from) as f32 / sources as f32)
    })
}
