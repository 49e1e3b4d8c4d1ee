//! From a file's bytes to upright pixels, few enough to work with.

use std::io::Cursor;
use std::sync::Mutex;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::raster::Raster;
use super::whole_file;
use crate::data::limits::Limits;
use crate::error::{Error, Result};

/// The formats that are read, as people call them.
pub(super) const FORMATS: &str = "PNG, JPEG, WebP, BMP, GIF or TIFF";
/// Their files' usual endings.
pub(in crate::data) const ENDINGS: [&str; 9] = [
    "png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff",
];
/// Images from this number of pixels on are decoded one at a time, however many threads there are.
const LARGE: u64 = 1 << 24;
/// A side that is longer than this many times the other one loses detail.
const LONGEST: usize = 8;

/// Decodes an image, the first one where there are several, turns it as its EXIF orientation says, and averages it down
/// until its short side has `side` pixels; smaller ones stay as they are.
pub(super) fn decode(
    operation: &'static str,
    bytes: &[u8],
    side: usize,
    limits: &Limits,
) -> Result<Raster> {
    let damaged = |cause: image::ImageError| {
        Error::bad_data(operation, format!("cannot be decoded: {cause}"))
    };
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|cause| damaged(cause.into()))?;
    let Some(format) = reader.format() else {
        return Err(not_read(operation, bytes));
    };
    // What these decoders miss they make up, or make room for.
    match format {
        ImageFormat::Jpeg => whole_file::jpeg(operation, bytes)?,
        ImageFormat::WebP => whole_file::webp(operation, bytes)?,
        ImageFormat::Tiff => whole_file::tiff(operation, bytes)?,
        _ => {}
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
    // An orientation that cannot be read is none.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let one_at_a_time = (pixels >= LARGE).then(|| {
        static LARGE_ONES: Mutex<()> = Mutex::new(());
        LARGE_ONES.lock()
    });
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let raster = shrink(raster(image), side);
    drop(one_at_a_time);
    Ok(turn(raster, orientation))
}

fn not_read(operation: &'static str, bytes: &[u8]) -> Error {
    // ISO base media files: `ftyp` and a brand.
    let heif = bytes.get(4..8) == Some(b"ftyp".as_slice());
    let message = if heif {
        "HEIC, HEIF and AVIF images are not read"
    } else {
        "not an image"
    };
    let error = Error::bad_data(operation, message).expected(format!("the bytes of a {FORMATS}"));
    if heif { error.got(CONVERT) } else { error }
}

/// How to convert what telephones write.
pub(in crate::data) const CONVERT: &str = "HEIC, which `sips -s format jpeg *.heic --out jpegs` (macOS) or `magick mogrify -format jpg *.heic` converts";

fn raster(image: DynamicImage) -> Raster {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, pixels) = match image.color() {
        ColorType::L8 | ColorType::L16 => (1, image.into_luma8().into_raw()),
        ColorType::Rgb8 | ColorType::Rgb16 | ColorType::Rgb32F => (3, image.into_rgb8().into_raw()),
        _ => (4, image.into_rgba8().into_raw()),
    };
    Raster {
        width,
        height,
        channels,
        pixels,
    }
}

fn shrink(raster: Raster, side: usize) -> Raster {
    let (width, height) = (raster.width, raster.height);
    let (short, long) = (width.min(height), width.max(height));
    if short <= side && long <= side * LONGEST {
        return raster;
    }
    let scale = (side as f64 / short as f64).min((side * LONGEST) as f64 / long as f64);
    let scaled = |length: usize| ((length as f64 * scale).round() as usize).max(1);
    raster.shrink(scaled(width), scaled(height))
}

fn turn(raster: Raster, orientation: Orientation) -> Raster {
    let (width, height) = (raster.width, raster.height);
    // Where the pixel that goes to a column and row comes from.
    let source: fn(usize, usize, usize, usize) -> (usize, usize) = match orientation {
        Orientation::NoTransforms => return raster,
        Orientation::FlipHorizontal => |x, y, w, _| (w - 1 - x, y),
        Orientation::Rotate180 => |x, y, w, h| (w - 1 - x, h - 1 - y),
        Orientation::FlipVertical => |x, y, _, h| (x, h - 1 - y),
        Orientation::Rotate90FlipH => |x, y, _, _| (y, x),
        Orientation::Rotate90 => |x, y, _, h| (y, h - 1 - x),
        Orientation::Rotate270FlipH => |x, y, w, h| (w - 1 - y, h - 1 - x),
        Orientation::Rotate270 => |x, y, w, _| (w - 1 - y, x),
    };
    let sideways = matches!(
        orientation,
        Orientation::Rotate90FlipH
            | Orientation::Rotate90
            | Orientation::Rotate270FlipH
            | Orientation::Rotate270
    );
    let (wide, tall) = if sideways {
        (height, width)
    } else {
        (width, height)
    };
    let channels = raster.channels;
    let mut pixels = Vec::with_capacity(raster.pixels.len());
    for y in 0..tall {
        for x in 0..wide {
            let (column, row) = source(x, y, width, height);
            let start = (row * width + column) * channels;
            pixels.extend_from_slice(&raster.pixels[start..start + channels]);
        }
    }
    Raster {
        width: wide,
        height: tall,
        channels,
        pixels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The crate's own turns of a small image are the reference.
    #[test]
    fn every_orientation_turns_as_it_should() {
        let raster = Raster {
            width: 3,
            height: 2,
            channels: 1,
            pixels: vec![1, 2, 3, 4, 5, 6],
        };
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let image = image::GrayImage::from_raw(3, 2, raster.pixels.clone()).unwrap();
            let mut expected = DynamicImage::from(image);
            expected.apply_orientation(orientation);
            let turned = turn(raster.clone(), orientation);
            let sides = (expected.width() as usize, expected.height() as usize);
            assert_eq!((turned.width, turned.height), sides, "{exif}");
            assert_eq!(turned.pixels, expected.into_luma8().into_raw(), "{exif}");
        }
    }
}
