//! IDX files, the format of MNIST and its relatives, plain or gzipped.
//!
//! Files are found by the names that they come with: `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, `t10k-…` or
//! `test-…` for testing, with or without `.gz`, with `.` or `_` in the place of a `-`, in any case. Before that may stand
//! the name of a set: `emnist-letters-train-images-idx3-ubyte.gz`. [`open`] takes MNIST, Fashion-MNIST, KMNIST, EMNIST
//! and QMNIST as they unpack, and as torchvision keeps them (`MNIST/raw`).
//!
//! - `bytes`: the format.
//! - `find`: the files of a set by their names.
//! - `mapping`: the characters that EMNIST's labels stand for.

mod bytes;
mod find;
mod mapping;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::bytes::{read_images, read_labels};
use super::image_set::ImageSet;
use super::limits::Limits;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const OPERATION: &str = "read_idx";

/// Which of the two pairs of files to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IdxSplit {
    /// Files with `train` in their names.
    Train,
    /// Files with `t10k` or `test` in their names.
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

/// What [`open`] gives.
#[derive(Debug, Clone)]
pub struct IdxSet {
    /// The images.
    pub set: ImageSet,
    /// What a person should know: where the files were, and what was put right.
    pub notes: Vec<String>,
}

/// The images of [`open`] with the default [`Limits`], without its notes.
///
/// # Errors
///
/// As [`open`].
pub fn load(dir: impl AsRef<Path>, split: IdxSplit) -> Result<ImageSet> {
    load_with(dir, split, &Limits::default())
}

/// As [`load`], with limits of one's own.
///
/// # Errors
///
/// As [`open`].
pub fn load_with(dir: impl AsRef<Path>, split: IdxSplit, limits: &Limits) -> Result<ImageSet> {
    Ok(open(dir, split, limits)?.set)
}

/// Loads the images and labels of one split from `dir`, or from one or two folders further down. Classes are the labels
/// that occur, in order, named by number.
///
/// Where a folder holds several sets, `dir` ends with the name of one, which is then no folder: `DIR/emnist-letters`.
/// EMNIST's images, which are stored transposed, are put right; with its mapping file beside them, classes are named by
/// their characters, `A` for both `A` and `a` where it tells no case.
///
/// # Errors
///
/// If a file is missing, is not what its name says, or exceeds the limits; if images and labels do not match; and if
/// there are several sets and none was named.
pub fn open(dir: impl AsRef<Path>, split: IdxSplit, limits: &Limits) -> Result<IdxSet> {
    let found = find::files(dir.as_ref(), split, limits)?;
    let mut notes = found.notes;
    let mut images = read_images(&found.images, limits)?;
    let labels = if found.label_rows {
        bytes::read_label_rows(&found.labels, limits)?
    } else {
        read_labels(&found.labels, limits)?
    };
    if labels.len() != images.count {
        return Err(
            Error::bad_data(OPERATION, "there is not one label for each image")
                .expected(format!("{} labels", images.count))
                .got(labels.len())
                .path(found.labels),
        );
    }
    if found.transposed {
        images = transposed(images);
        notes.push("EMNIST's images are stored transposed: rows and columns were exchanged".into());
    }
    let mut occurring = labels.clone();
    occurring.sort_unstable();
    occurring.dedup();
    if let [1, .., last] = occurring[..] {
        notes.push(format!(
            "labels run from 1 to {last}: the first class is label 1"
        ));
    }
    let characters = match &found.mapping {
        Some(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            notes.push(format!("classes are named by {name}"));
            Some((mapping::read(path)?, path))
        }
        None => None,
    };
    let mut set = ImageSet::new(ImageShape::new(1, images.height, images.width))?;
    let mut classes = BTreeMap::new();
    for label in occurring {
        let name = match &characters {
            None => label.to_string(),
            Some((characters, path)) => match characters.get(&label) {
                Some(character) => character.to_string(),
                None => {
                    let message = format!("label {label} is not mapped to a character");
                    return Err(Error::bad_data(OPERATION, message).path(*path));
                }
            },
        };
        classes.insert(label, set.add_class(name, None)?);
    }
    let images = images.pixels.chunks(images.height * images.width);
    for (label, image) in labels.iter().zip(images) {
        set.push(classes[label], image)?;
    }
    Ok(IdxSet { set, notes })
}

/// Every image with its rows as columns.
fn transposed(mut images: IdxImages) -> IdxImages {
    let (rows, columns) = (images.height, images.width);
    let mut stored = vec![0; rows * columns];
    for image in images.pixels.chunks_exact_mut(rows * columns) {
        stored.copy_from_slice(image);
        for (index, value) in image.iter_mut().enumerate() {
            *value = stored[index % rows * columns + index / rows];
        }
    }
    (images.height, images.width) = (columns, rows);
    images
}
