//! Omniglot (Lake, Salakhutdinov and Tenenbaum, 2015) from its official files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::image_set::ImageSet;
use super::limits::{Budget, Limits, read_file};
use super::picture;
use super::walk;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const OPERATION: &str = "load_omniglot";

/// Loads the tree `Alphabet/characterNN/*.png`, which may lie below further folders, from a folder or a zip of
/// one, at `size` × `size` (28 in most papers) with ink = 1.
///
/// Classes are called `Alphabet/characterNN`, belong to the group `Alphabet` and are sorted by name, drawings
/// by file name. A drawing found twice counts once: the two small background sets share some.
///
/// # Errors
///
/// If something cannot be read, is not an image, lies elsewhere than in an alphabet's character, or exceeds
/// the default [`Limits`].
pub fn load(path: impl AsRef<Path>, size: usize) -> Result<ImageSet> {
    load_with(path, size, &Limits::default())
}

/// As [`load`], with limits of one's own.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(path: impl AsRef<Path>, size: usize, limits: &Limits) -> Result<ImageSet> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).map_err(|cause| Error::io(OPERATION, path, &cause))?;
    if metadata.is_dir() {
        let files = walk::files(OPERATION, path, limits)?;
        build(path, files, size, limits, |file: &PathBuf| {
            read_file(OPERATION, file, limits).map_err(|error| error.path(file))
        })
    } else {
        let mut archive = Archive::open(OPERATION, path, limits)?;
        let files = archive.files()?;
        build(path, files, size, limits, |&index| {
            archive.read(index, limits)
        })
    }
}

fn build<Place>(
    path: &Path,
    files: Vec<(Vec<String>, Place)>,
    size: usize,
    limits: &Limits,
    mut read: impl FnMut(&Place) -> Result<Vec<u8>>,
) -> Result<ImageSet> {
    let shape = ImageShape::new(1, size, size);
    if shape.len() as u64 > limits.pixels {
        return Err(Error::invalid(OPERATION, "the size is too large").got(size));
    }
    let mut set = ImageSet::new(shape)?;
    // Alphabet, character and drawing, in order.
    let mut drawings: BTreeMap<[String; 3], Place> = BTreeMap::new();
    for (names, place) in files {
        let full = names.join("/");
        if !full.to_ascii_lowercase().ends_with(".png") {
            continue;
        }
        let Ok::<[String; 3], _>(key) = names[names.len().saturating_sub(3)..].to_vec().try_into()
        else {
            let message = format!("{full} is not inside an alphabet's character");
            return Err(Error::bad_data(OPERATION, message)
                .expected("Alphabet/character01/drawing.png")
                .path(path));
        };
        drawings.entry(key).or_insert(place);
    }
    if drawings.is_empty() {
        return Err(Error::bad_data(OPERATION, "there is no drawing")
            .expected("Alphabet/character01/drawing.png")
            .path(path));
    }
    let mut budget = Budget::new(OPERATION, limits);
    for ([alphabet, character, drawing], place) in drawings {
        let name = format!("{alphabet}/{character}");
        let locate = |error: Error| relabel(&error, &format!("{name}/{drawing}")).path(path);
        let bytes = read(&place).map_err(locate)?;
        budget.take(bytes.len()).map_err(locate)?;
        let pixels = picture::scan(OPERATION, &bytes, size, limits).map_err(locate)?;
        budget.take(pixels.len()).map_err(locate)?;
        let class = match set.class_index(&name) {
            Some(class) => class,
            None => set.add_class(&name, Some(&alphabet))?,
        };
        set.push(class, &pixels)?;
    }
    Ok(set)
}

/// Names the drawing in an error's message; the path may be that of an archive.
fn relabel(error: &Error, drawing: &str) -> Error {
    let mut labelled = Error::new(
        error.kind(),
        error.operation(),
        format!("{drawing}: {}", error.message()),
    );
    if let Some(expected) = error.expectation() {
        labelled = labelled.expected(expected);
    }
    if let Some(got) = error.found() {
        labelled = labelled.got(got);
    }
    match error.file() {
        Some(file) => labelled.path(file),
        None => labelled,
    }
}
