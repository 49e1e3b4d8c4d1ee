//! Photographs as a stranger takes them: pen strokes on paper, and objects on a table. Every picture follows from
//! its numbers alone.

mod kinds;
mod light;
mod objects;
mod strokes;

use std::io::{self, Cursor};
use std::path::Path;

use forgeling::data::Rng;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};

pub use objects::OBJECTS;

/// A colour picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photograph {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row, three bytes a pixel.
    pub rgb: Vec<u8>,
}

impl Photograph {
    /// As a PNG file.
    ///
    /// # Panics
    /// When `rgb` does not fit the sizes.
    pub fn png(&self) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let (width, height) = self.sizes();
        let format = ImageFormat::Png;
        let colour = ExtendedColorType::Rgb8;
        image::write_buffer_with_format(&mut file, &self.rgb, width, height, colour, format)
            .unwrap();
        file.into_inner()
    }

    /// As a baseline JPEG file of `quality` 1 to 100.
    ///
    /// # Panics
    /// When `rgb` does not fit the sizes.
    pub fn jpeg(&self, quality: u8) -> Vec<u8> {
        let mut file = Vec::new();
        let (width, height) = self.sizes();
        JpegEncoder::new_with_quality(&mut file, quality)
            .encode(&self.rgb, width, height, ExtendedColorType::Rgb8)
            .unwrap();
        file
    }

    /// The brightness of each pixel, by the weights of Rec. 601.
    pub fn grey(&self) -> Vec<u8> {
        let brightness = |p: &[u8]| {
            let sum = 299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2]);
            ((sum + 500) / 1000) as u8
        };
        self.rgb.chunks_exact(3).map(brightness).collect()
    }

    /// The middle square averaged down to `size` × `size`, in `0..=1`: row by row, red, green and blue of each pixel.
    ///
    /// # Panics
    /// When `size` is 0 or larger than the short side.
    pub fn thumbnail(&self, size: usize) -> Vec<f32> {
        let side = self.width.min(self.height);
        assert!((1..=side).contains(&size), "{size} of {side}");
        let (left, top) = ((self.width - side) / 2, (self.height - side) / 2);
        let edge = |i: usize| i * side / size;
        let mut out = Vec::with_capacity(size * size * 3);
        for row in 0..size {
            for column in 0..size {
                let mut sum = [0u32; 3];
                for y in edge(row)..edge(row + 1) {
                    let start = (top + y) * self.width + left;
                    let (from, to) = (start + edge(column), start + edge(column + 1));
                    for pixel in self.rgb[from * 3..to * 3].chunks_exact(3) {
                        for (sum, byte) in sum.iter_mut().zip(pixel) {
                            *sum += u32::from(*byte);
                        }
                    }
                }
                let area = (edge(row + 1) - edge(row)) * (edge(column + 1) - edge(column)) * 255;
                out.extend(sum.map(|sum| sum as f32 / area as f32));
            }
        }
        out
    }

    fn sizes(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }
}

/// Drawing `example` of character `class`, in pen on paper, as a telephone sees it. Each `alphabet` has characters
/// of its own, and no model learns from any of them: they are of [`forgeling::data::Split::Test`].
pub fn stroke(alphabet: u64, class: usize, example: usize) -> Photograph {
    strokes::photograph(alphabet, class, example)
}

/// Photograph `example` of an object of the kind `class`, which [`OBJECTS`] names. Other seeds give other photographs.
///
/// # Panics
/// When there is no such class.
pub fn object(seed: u64, class: usize, example: usize) -> Photograph {
    objects::photograph(seed, class, example)
}

/// Writes each class into a folder of its name in `dir`, as `000.jpg`, `001.jpg` and so on, with qualities from 70 to 90.
///
/// # Errors
/// When a folder or file cannot be written.
pub fn write_tree<N: AsRef<str>>(dir: &Path, classes: &[(N, Vec<Photograph>)]) -> io::Result<()> {
    for (class, (name, photographs)) in classes.iter().enumerate() {
        let folder = dir.join(name.as_ref());
        std::fs::create_dir_all(&folder)?;
        let mut rng = Rng::new(class as u64);
        for (index, photograph) in photographs.iter().enumerate() {
            let quality = 70 + rng.below(21) as u8;
            std::fs::write(
                folder.join(format!("{index:03}.jpg")),
                photograph.jpeg(quality),
            )?;
        }
    }
    Ok(())
}
