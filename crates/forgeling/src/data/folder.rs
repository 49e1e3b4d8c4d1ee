//! One's own images: a folder with one folder per class.

use std::path::{Path, PathBuf};

use super::dataset::ImageShape;
use super::image_set::ImageSet;
use super::limits::{Budget, Limits, read_file};
use super::picture::{self, Colour, Ink};
use super::walk::children;
use crate::error::{Error, Result};

const LOAD: &str = "load_folder";
const LIST: &str = "list_images";
const IMAGE: &str = "load_image";

/// How [`load`] reads images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderOptions {
    /// Rows and columns of each image after resizing. Default: 28.
    pub size: usize,
    /// What is kept of the colours. Default: [`Colour::Grey`].
    pub colour: Colour,
    /// What becomes 1. Default: [`Ink::Dark`].
    pub ink: Ink,
    /// How much may be read.
    pub limits: Limits,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self {
            size: 28,
            colour: Colour::default(),
            ink: Ink::default(),
            limits: Limits::default(),
        }
    }
}

/// Loads `dir/CLASS/*.png` (also jpg, jpeg, webp). Each folder in `dir` is a class, sorted by name, and so are
/// the images inside. Images are stretched to `size` × `size`; files of other kinds and hidden ones are left
/// out.
///
/// # Errors
///
/// If something cannot be read, an image is damaged or exceeds the limits, a class holds a folder or no image,
/// or there is no class.
pub fn load(dir: impl AsRef<Path>, options: &FolderOptions) -> Result<ImageSet> {
    let (dir, limits) = (dir.as_ref(), &options.limits);
    let shape = ImageShape::new(options.colour.channels(), options.size, options.size);
    let mut set = ImageSet::new(shape)?;
    let mut budget = Budget::new(LOAD, limits);
    for (name, paths) in classes_in(LOAD, dir, limits)? {
        let class = set.add_class(name, None)?;
        for path in paths {
            let pixels = read_image(LOAD, &path, shape, options.ink, limits)?;
            budget
                .take(pixels.len())
                .map_err(|error| error.path(&path))?;
            set.push(class, &pixels)?;
        }
    }
    Ok(set)
}

/// The classes of `dir/CLASS/*.png` (also jpg, jpeg, webp) with their images, both sorted by name, unread.
///
/// # Errors
///
/// If something cannot be listed, a class holds a folder or no image, or there is no class.
pub fn list_classes(dir: impl AsRef<Path>) -> Result<Vec<(String, Vec<PathBuf>)>> {
    classes_in(LIST, dir.as_ref(), &Limits::default())
}

fn classes_in(
    operation: &'static str,
    dir: &Path,
    limits: &Limits,
) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut classes = Vec::new();
    for child in children(operation, dir, limits)? {
        if child.is_folder {
            classes.push((child.name, images_in(operation, &child.path, limits)?));
        }
    }
    if classes.is_empty() {
        return Err(Error::bad_data(operation, "there is no class")
            .expected("one folder of images per class")
            .path(dir));
    }
    Ok(classes)
}

/// The images directly in `path`, sorted by name; `path` itself where it is a file.
///
/// # Errors
///
/// If `path` cannot be read, or is a folder with an inner folder or without images.
pub fn list_images(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).map_err(|cause| Error::io(LIST, path, &cause))?;
    if metadata.is_dir() {
        images_in(LIST, path, &Limits::default())
    } else {
        Ok(vec![path.to_owned()])
    }
}

/// Reads one image as `shape`, `[channels, height, width]`, with values in `0..=1`, prepared as [`load`] does.
///
/// # Errors
///
/// If it cannot be read, is damaged or exceeds the default [`Limits`], or `shape` has other than 1 or 3
/// channels.
pub fn load_image(path: impl AsRef<Path>, shape: ImageShape, ink: Ink) -> Result<Vec<f32>> {
    let pixels = read_image(IMAGE, path.as_ref(), shape, ink, &Limits::default())?;
    Ok(pixels
        .into_iter()
        .map(|byte| f32::from(byte) / 255.0)
        .collect())
}

fn images_in(operation: &'static str, folder: &Path, limits: &Limits) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for child in children(operation, folder, limits)? {
        if child.is_folder {
            let message = "a folder lies where only images are expected";
            return Err(Error::bad_data(operation, message).path(child.path));
        }
        let name = child.name.to_ascii_lowercase();
        if [".png", ".jpg", ".jpeg", ".webp"]
            .iter()
            .any(|ending| name.ends_with(ending))
        {
            images.push(child.path);
        }
    }
    if images.is_empty() {
        return Err(Error::bad_data(operation, "there is no image")
            .expected("files that end in png, jpg, jpeg or webp")
            .path(folder));
    }
    Ok(images)
}

fn read_image(
    operation: &'static str,
    path: &Path,
    shape: ImageShape,
    ink: Ink,
    limits: &Limits,
) -> Result<Vec<u8>> {
    let in_range = shape.len() as u64 <= limits.pixels && !shape.is_empty();
    if !in_range || !matches!(shape.channels, 1 | 3) {
        return Err(Error::invalid(operation, "images cannot have this shape")
            .expected(format!(
                "1 or 3 channels and at most {} values",
                limits.pixels
            ))
            .got(shape));
    }
    let bytes = read_file(operation, path, limits)?;
    picture::decode(operation, &bytes, shape, ink, limits).map_err(|error| error.path(path))
}
