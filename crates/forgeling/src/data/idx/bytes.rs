//! The format itself: a magic number, the sides, the values.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::{IdxImages, OPERATION};
use crate::data::limits::{Limits, open};
use crate::error::{Error, Result};

/// How the first bytes of a file say what it holds.
struct Kind {
    magic: [u8; 4],
    bytes_per_value: u64,
}

const IMAGES: Kind = Kind {
    magic: [0, 0, 8, 3],
    bytes_per_value: 1,
};
const LABELS: Kind = Kind {
    magic: [0, 0, 8, 1],
    bytes_per_value: 1,
};
const LABEL_ROWS: Kind = Kind {
    magic: [0, 0, 12, 2],
    bytes_per_value: 4,
};

/// Reads an image file (magic number 0x00000803).
///
/// # Errors
///
/// If it cannot be read, has another magic number, holds no image, or is shorter or longer than its header says.
pub fn read_images(path: impl AsRef<Path>, limits: &Limits) -> Result<IdxImages> {
    let path = path.as_ref();
    let (sides, pixels) = read::<3>(path, &IMAGES, limits).map_err(|error| error.path(path))?;
    let [count, height, width] = sides;
    Ok(IdxImages {
        count,
        height,
        width,
        pixels,
    })
}

/// Reads a label file (magic number 0x00000801).
///
/// # Errors
///
/// If it cannot be read, has another magic number, holds no label, or is shorter or longer than its header says.
pub fn read_labels(path: impl AsRef<Path>, limits: &Limits) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let (_, labels) = read::<1>(path, &LABELS, limits).map_err(|error| error.path(path))?;
    Ok(labels)
}

/// Reads QMNIST's labels (magic number 0x00000c02): rows of integers, of which the first is the class.
pub(super) fn read_label_rows(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let (sides, bytes) = read::<2>(path, &LABEL_ROWS, limits).map_err(|error| error.path(path))?;
    let rows = bytes.chunks_exact(4 * sides[1]);
    rows.map(|row| match *row {
        [0, 0, 0, label, ..] => Ok(label),
        _ => Err(Error::bad_data(OPERATION, "a label is out of range")
            .expected("0 to 255")
            .path(path)),
    })
    .collect()
}

/// The sides that the header gives and exactly as many values as their product.
fn read<const SIDES: usize>(
    path: &Path,
    kind: &Kind,
    limits: &Limits,
) -> Result<([usize; SIDES], Vec<u8>)> {
    let mut file = BufReader::new(open(OPERATION, path)?);
    let start = file.fill_buf().map_err(damaged)?;
    let mut reader: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let found = word(&mut reader)?;
    if found != kind.magic {
        return Err(Error::bad_data(OPERATION, "wrong magic number")
            .expected(hex(kind.magic))
            .got(hex(found)));
    }
    let mut sides = [0; SIDES];
    let mut total = kind.bytes_per_value;
    for side in &mut sides {
        let value = u32::from_be_bytes(word(&mut reader)?);
        total = total.saturating_mul(u64::from(value));
        *side = value as usize;
    }
    let per_image = sides[1..]
        .iter()
        .fold(1u64, |product, &side| product.saturating_mul(side as u64));
    if total == 0 || total > limits.total_bytes || per_image > limits.pixels {
        return Err(
            Error::bad_data(OPERATION, "the header's sizes are out of range")
                .expected(format!(
                    "1 to {} bytes, at most {} per image",
                    limits.total_bytes, limits.pixels
                ))
                .got(format!("{sides:?}")),
        );
    }
    // Memory grows with what comes, not with what the header promised; one byte more shows a surplus.
    let mut bytes = Vec::new();
    reader
        .take(total + 1)
        .read_to_end(&mut bytes)
        .map_err(damaged)?;
    if bytes.len() as u64 != total {
        let more = bytes.len() as u64 > total;
        return Err(
            Error::bad_data(OPERATION, "the header's sizes do not match the file")
                .expected(format!("{total} bytes after the header"))
                .got(if more {
                    "more".to_owned()
                } else {
                    bytes.len().to_string()
                }),
        );
    }
    Ok((sides, bytes))
}

fn word(reader: &mut impl Read) -> Result<[u8; 4]> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).map_err(damaged)?;
    Ok(bytes)
}

fn hex(bytes: [u8; 4]) -> String {
    format!("0x{:08x}", u32::from_be_bytes(bytes))
}

fn damaged(cause: std::io::Error) -> Error {
    Error::bad_data(OPERATION, format!("cannot be read: {cause}"))
}
