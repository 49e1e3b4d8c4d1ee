//! IDX files, the format of MNIST and Fashion-MNIST, plain or gzipped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::dataset::ImageShape;
use super::image_set::ImageSet;
use super::limits::{Limits, open};
use crate::error::{Error, Result};

const OPERATION: &str = "read_idx";
const IMAGES: [u8; 4] = [0, 0, 8, 3];
const LABELS: [u8; 4] = [0, 0, 8, 1];

/// Which of the two pairs of files to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IdxSplit {
    /// Files that begin with `train`.
    Train,
    /// Files that begin with `t10k`.
    Test,
}

/// The contents of an image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdxImages {
    /// How many images.
    pub count: usize,
    /// Rows of each.
    pub height: usize,
    /// Columns of each.
    pub width: usize,
    /// One byte per pixel, `[count, height, width]`.
    pub pixels: Vec<u8>,
}

/// Loads `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` (or `t10k-…`) from `dir`, with or without
/// `.gz`, also spelt `train-images.idx3-ubyte`. Classes are the labels that occur, in order, named by number.
///
/// # Errors
///
/// If a file is missing, is not what its name says, or exceeds the default [`Limits`], or the two do not match.
pub fn load(dir: impl AsRef<Path>, split: IdxSplit) -> Result<ImageSet> {
    load_with(dir, split, &Limits::default())
}

/// As [`load`], with limits of one's own.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(dir: impl AsRef<Path>, split: IdxSplit, limits: &Limits) -> Result<ImageSet> {
    let dir = dir.as_ref();
    let prefix = match split {
        IdxSplit::Train => "train",
        IdxSplit::Test => "t10k",
    };
    let images_path = find(dir, &format!("{prefix}-images"), "idx3-ubyte")?;
    let labels_path = find(dir, &format!("{prefix}-labels"), "idx1-ubyte")?;
    let images = read_images(&images_path, limits)?;
    let labels = read_labels(&labels_path, limits)?;
    if labels.len() != images.count {
        return Err(
            Error::bad_data(OPERATION, "there is not one label for each image")
                .expected(format!("{} labels", images.count))
                .got(labels.len())
                .path(labels_path),
        );
    }
    let mut set = ImageSet::new(ImageShape::new(1, images.height, images.width))?;
    let mut classes = BTreeMap::new();
    let mut occurring = labels.clone();
    occurring.sort_unstable();
    occurring.dedup();
    for label in occurring {
        classes.insert(label, set.add_class(label.to_string(), None)?);
    }
    let images = images.pixels.chunks(images.height * images.width);
    for (label, image) in labels.iter().zip(images) {
        set.push(classes[label], image)?;
    }
    Ok(set)
}

fn find(dir: &Path, stem: &str, kind: &str) -> Result<PathBuf> {
    for join in ["-", "."] {
        for ending in ["", ".gz"] {
            let path = dir.join(format!("{stem}{join}{kind}{ending}"));
            if path.is_file() {
                return Ok(path);
            }
        }
    }
    Err(Error::bad_data(OPERATION, "a file is missing")
        .expected(format!("{stem}-{kind} or {stem}-{kind}.gz"))
        .path(dir))
}

/// Reads an image file (magic number 0x00000803).
///
/// # Errors
///
/// If it cannot be read, has another magic number, holds no image, or is shorter or longer than its header says.
pub fn read_images(path: impl AsRef<Path>, limits: &Limits) -> Result<IdxImages> {
    let path = path.as_ref();
    let (sides, pixels) = read::<3>(path, IMAGES, limits).map_err(|error| error.path(path))?;
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
    let (_, labels) = read::<1>(path, LABELS, limits).map_err(|error| error.path(path))?;
    Ok(labels)
}

/// The sides that the header gives and exactly as many bytes as their product.
fn read<const SIDES: usize>(
    path: &Path,
    magic: [u8; 4],
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
    if found != magic {
        return Err(Error::bad_data(OPERATION, "wrong magic number")
            .expected(hex(magic))
            .got(hex(found)));
    }
    let mut sides = [0; SIDES];
    let mut total = 1u64;
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
