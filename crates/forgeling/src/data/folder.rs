//! One's own images: a folder with one folder per class.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::glyphs::Split;
use super::image_set::ImageSet;
use super::limits::Limits;
use super::picture::{self, CONVERT, ENDINGS, PictureOptions, Survey};
use super::preparation::Preparation;
use super::walk::children;
use crate::error::{Error, Result};

const LOAD: &str = "load_folder";
const LIST: &str = "list_images";
/// Folders that hold the examples to train on, and those to validate or test with, the best first.
const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 5] = ["test", "testing", "val", "valid", "validation"];
const VALIDATION: [&str; 5] = ["val", "valid", "validation", "test", "testing"];
const IMAGES: FileKind = FileKind {
    one: "image",
    several: "images",
    endings: &ENDINGS,
};
/// What telephones write and is not read.
const HEIF: [&str; 3] = ["heic", "heif", "avif"];

/// What is looked for in folders.
pub(super) struct FileKind {
    pub one: &'static str,
    pub several: &'static str,
    /// How the names end, in lower case.
    pub endings: &'static [&'static str],
}

/// The images of a folder, and how they came about.
#[derive(Debug)]
pub struct Folder {
    /// The images of each class.
    pub set: ImageSet,
    /// How they were prepared.
    pub preparation: Preparation,
    /// What was seen in them.
    pub survey: Survey,
    /// What was not read.
    pub left_out: LeftOut,
}

/// Files that were not read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// How many there are of each ending.
    pub endings: BTreeMap<String, usize>,
    /// Files that are damaged or cannot be read, with what is wrong.
    pub broken: Vec<String>,
}

impl LeftOut {
    fn add(&mut self, other: Self) {
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
        self.broken.extend(other.broken);
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.endings.is_empty() && self.broken.is_empty()
    }
}

/// For example `50 files left out: 48 heic, 2 txt`.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endings: usize = self.endings.values().sum();
        if endings > 0 {
            let word = if endings == 1 { "file" } else { "files" };
            let kinds: Vec<String> = match self.endings.len() {
                1 => self.endings.keys().cloned().collect(),
                _ => self
                    .endings
                    .iter()
                    .map(|(ending, count)| format!("{count} {ending}"))
                    .collect(),
            };
            write!(f, "{endings} {word} left out: {}", kinds.join(", "))?;
            if HEIF.iter().any(|heif| self.endings.contains_key(*heif)) {
                write!(f, " (to read {CONVERT})")?;
            }
        }
        if let Some(first) = self.broken.first() {
            let between = if endings > 0 { "; " } else { "" };
            let count = self.broken.len();
            let word = if count == 1 { "file" } else { "files" };
            write!(
                f,
                "{between}{count} broken {word} left out, the first: {first}"
            )?;
        }
        Ok(())
    }
}

/// Files by class, unread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// Each class with its files, both sorted by name.
    pub classes: Vec<(String, Vec<PathBuf>)>,
    /// What is none.
    pub left_out: LeftOut,
}

/// Loads the images of [`list_classes`] as [`PictureOptions`] say.
///
/// # Errors
///
/// As [`list_classes`]; if an image cannot be read and broken ones are not to be skipped; if no image of a class can be
/// read.
pub fn load(dir: impl AsRef<Path>, options: &PictureOptions) -> Result<Folder> {
    let dir = dir.as_ref();
    let Listed {
        classes,
        mut left_out,
    } = classes_in(LOAD, dir, &IMAGES, &options.limits)?;
    let paths: Vec<&PathBuf> = classes.iter().flat_map(|(_, paths)| paths).collect();
    let pictures = picture::read(&paths, options).map_err(|error| error.path(dir))?;
    let mut set = ImageSet::new(pictures.shape)?;
    let mut images = pictures.images.into_iter();
    for (name, paths) in &classes {
        let class = set.add_class(name, None)?;
        let mut read = 0;
        for image in images.by_ref().take(paths.len()) {
            match image {
                Ok(pixels) => {
                    set.push(class, &pixels)?;
                    read += 1;
                }
                Err(error) if options.skip_broken => left_out.broken.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        if read == 0 {
            let error = Error::bad_data(LOAD, "no image of the class can be read");
            return Err(error.path(dir.join(name)));
        }
    }
    Ok(Folder {
        set,
        preparation: pictures.preparation,
        survey: pictures.survey,
        left_out,
    })
}

/// The part of a folder that holds the images of a split: of one with `train` (or `training`) and `test`, `val` or
/// `validation` beside each other, the one that is meant; any other folder itself.
///
/// # Errors
///
/// If the folder cannot be listed.
pub fn part(dir: impl AsRef<Path>, split: Split) -> Result<PathBuf> {
    let dir = dir.as_ref();
    let found = parts(dir)?;
    Ok(match (found, split) {
        (Some((train, _)), Split::Train) => train,
        (Some((_, held_out)), Split::Test) => held_out,
        (None, _) => dir.to_owned(),
    })
}

/// The parts of a folder that are to be trained on and to be tested with, if it has such; of several for tests, `test`.
///
/// # Errors
///
/// If the folder cannot be listed.
pub fn parts(dir: impl AsRef<Path>) -> Result<Option<(PathBuf, PathBuf)>> {
    parts_named(dir.as_ref(), &TEST)
}

/// As [`parts`]; of several beside the one to train on, `val` (or `validation`).
///
/// # Errors
///
/// If the folder cannot be listed.
pub fn validation_parts(dir: impl AsRef<Path>) -> Result<Option<(PathBuf, PathBuf)>> {
    parts_named(dir.as_ref(), &VALIDATION)
}

fn parts_named(dir: &Path, held_out: &[&str]) -> Result<Option<(PathBuf, PathBuf)>> {
    let folders = children(LIST, dir, &Limits::default())?;
    let find = |names: &[&str]| {
        names.iter().find_map(|name| {
            let named = |child: &&super::walk::Child| {
                child.is_folder && child.name.eq_ignore_ascii_case(name)
            };
            folders.iter().find(named).map(|child| child.path.clone())
        })
    };
    Ok(find(&TRAIN).zip(find(held_out)))
}

/// The classes of `dir/CLASS/*.png` (also jpg, webp, bmp, gif and tiff), unread. Files of other kinds are counted; hidden
/// ones and what systems leave behind (`__MACOSX`, `@eaDir`, `Thumbs.db`, …) are not.
///
/// # Errors
///
/// If something cannot be listed, a class holds a folder or no image, or there is no class.
pub fn list_classes(dir: impl AsRef<Path>) -> Result<Listed> {
    classes_in(LIST, dir.as_ref(), &IMAGES, &Limits::default())
}

/// The classes of `dir/CLASS/*` with files of a kind.
pub(super) fn classes_in(
    operation: &'static str,
    dir: &Path,
    kind: &FileKind,
    limits: &Limits,
) -> Result<Listed> {
    let mut listed = Listed::default();
    for child in children(operation, dir, limits)? {
        if child.is_folder {
            let (files, left_out) = files_in(operation, &child.path, kind, limits)?;
            listed.classes.push((child.name, files));
            listed.left_out.add(left_out);
        }
    }
    if listed.classes.is_empty() {
        return Err(Error::bad_data(operation, "there is no class")
            .expected(format!("one folder of {} per class", kind.several))
            .path(dir));
    }
    Ok(listed)
}

/// The images directly in `path`, sorted by name, and what else lies there; `path` itself where it is a file.
///
/// # Errors
///
/// If `path` cannot be read, or is a folder with an inner folder or without images.
pub fn list_images(path: impl AsRef<Path>) -> Result<(Vec<PathBuf>, LeftOut)> {
    files_at(LIST, path.as_ref(), &IMAGES)
}

/// The files of a kind directly in `path`, or `path` itself where it is a file.
pub(super) fn files_at(
    operation: &'static str,
    path: &Path,
    kind: &FileKind,
) -> Result<(Vec<PathBuf>, LeftOut)> {
    let metadata = std::fs::metadata(path).map_err(|cause| Error::io(operation, path, &cause))?;
    if metadata.is_dir() {
        files_in(operation, path, kind, &Limits::default())
    } else {
        Ok((vec![path.to_owned()], LeftOut::default()))
    }
}

fn files_in(
    operation: &'static str,
    folder: &Path,
    kind: &FileKind,
    limits: &Limits,
) -> Result<(Vec<PathBuf>, LeftOut)> {
    let (mut files, mut left_out) = (Vec::new(), LeftOut::default());
    for child in children(operation, folder, limits)? {
        if child.is_folder {
            let message = format!("a folder lies where only {} are expected", kind.several);
            return Err(Error::bad_data(operation, message).path(child.path));
        }
        let ending = Path::new(&child.name).extension();
        let ending = ending.map_or_else(
            || "without an ending".to_owned(),
            |ending| ending.to_string_lossy().to_ascii_lowercase(),
        );
        if kind.endings.contains(&ending.as_str()) {
            files.push(child.path);
        } else {
            *left_out.endings.entry(ending).or_default() += 1;
        }
    }
    if files.is_empty() {
        let error = Error::bad_data(operation, format!("there is no {}", kind.one))
            .expected(format!("files that end in {}", kind.endings.join(", ")))
            .path(folder);
        return Err(if left_out.is_empty() {
            error
        } else {
            error.got(left_out)
        });
    }
    Ok((files, left_out))
}
