//! CIFAR-10 and CIFAR-100 in their binary version.
//!
//! | set | files | a record |
//! |---|---|---|
//! | CIFAR-10 | `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`, `batches.meta.txt` | label, pixels |
//! | CIFAR-100 | `train.bin`, `test.bin`, `coarse_label_names.txt`, `fine_label_names.txt` | coarse and fine label, pixels |
//!
//! A label is one byte, pixels are 3,072: red, green and blue of 32 rows of 32. A file is records one after the other. The
//! files lie in the folder that is named, or in `cifar-10-batches-bin` or `cifar-100-binary` in it, as they unpack.
//!
//! Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.

use std::path::{Path, PathBuf};

use super::glyphs::Split;
use super::image_set::ImageSet;
use super::limits::{Budget, Limits, open as open_file, read_capped, read_file};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const OPERATION: &str = "read_cifar";
const SHAPE: ImageShape = ImageShape::new(3, 32, 32);
/// A hundred names have about a thousand bytes.
const MOST_NAMES: u64 = 1 << 16;

/// The two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ten,
    Hundred,
}

/// What one of the bytes before the pixels means.
struct Labels {
    /// The file with the names.
    names: &'static str,
    count: usize,
    what: &'static str,
}

impl Kind {
    /// The folder that the files unpack to.
    const fn folder(self) -> &'static str {
        match self {
            Self::Ten => "cifar-10-batches-bin",
            Self::Hundred => "cifar-100-binary",
        }
    }

    const fn files(self, split: Split) -> &'static [&'static str] {
        match (self, split) {
            (Self::Ten, Split::Train) => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            (Self::Ten, Split::Test) => &["test_batch.bin"],
            (Self::Hundred, Split::Train) => &["train.bin"],
            (Self::Hundred, Split::Test) => &["test.bin"],
        }
    }

    /// Of each byte before the pixels, the class last.
    const fn labels(self) -> &'static [Labels] {
        match self {
            Self::Ten => &[Labels {
                names: "batches.meta.txt",
                count: 10,
                what: "label",
            }],
            Self::Hundred => &[
                Labels {
                    names: "coarse_label_names.txt",
                    count: 20,
                    what: "coarse label",
                },
                Labels {
                    names: "fine_label_names.txt",
                    count: 100,
                    what: "fine label",
                },
            ],
        }
    }

    /// Whether a folder has any file whose name tells this set: `train.bin` might be anything.
    fn is_in(self, dir: &Path) -> bool {
        let batches = match self {
            Self::Ten => [Split::Train, Split::Test].map(|split| self.files(split)),
            Self::Hundred => [&[][..]; 2],
        };
        let names = self.labels().iter().map(|labels| labels.names);
        names
            .chain(batches.concat())
            .any(|file| dir.join(file).exists())
    }
}

/// Loads the images of one split from a folder, or from its usual subfolder; with the default [`Limits`].
///
/// All classes are there, in the order of their labels, whether they have images or not. Those of CIFAR-100 are the fine
/// ones, and their groups the coarse ones.
///
/// # Errors
/// When the folder has neither set or both, a file is missing, not a whole number of records or beyond the limits, there
/// are not as many names as labels, a label is out of range, or a fine class is of two coarse ones. The message says which
/// file, and where in it.
pub fn load(dir: impl AsRef<Path>, split: Split) -> Result<ImageSet> {
    load_with(dir, split, &Limits::default())
}

/// As [`load`], with limits of one's own.
///
/// # Errors
/// As [`load`].
pub fn load_with(dir: impl AsRef<Path>, split: Split, limits: &Limits) -> Result<ImageSet> {
    let (kind, dir) = find(dir.as_ref())?;
    let labels = kind.labels();
    let names: Vec<Vec<String>> = labels
        .iter()
        .map(|labels| read_names(&part(&dir, labels.names)?, labels.count))
        .collect::<Result<_>>()?;
    let record = labels.len() + SHAPE.len();
    let mut budget = Budget::new(OPERATION, limits);
    let mut files = Vec::new();
    // The coarse label of each class, once an image tells.
    let mut groups: Vec<Option<u8>> = vec![None; labels[labels.len() - 1].count];
    for file in kind.files(split) {
        let path = part(&dir, file)?;
        let bytes = read_file(OPERATION, &path, limits)?;
        let checked = budget
            .take(bytes.len())
            .and_then(|()| check_length(&bytes, record))
            .and_then(|()| check_labels(&bytes, labels, &mut groups));
        checked.map_err(|error| error.path(path))?;
        files.push(bytes);
    }
    let mut set = ImageSet::new(SHAPE)?;
    for (name, group) in names[names.len() - 1].iter().zip(&groups) {
        let group = group.map(|group| names[0][usize::from(group)].as_str());
        let added = set.add_class(name, group);
        added.map_err(|error| error.path(dir.join(labels[labels.len() - 1].names)))?;
    }
    for bytes in files {
        for record in bytes.chunks_exact(record) {
            let (labels, pixels) = record.split_at(labels.len());
            set.push(usize::from(labels[labels.len() - 1]), pixels)?;
        }
    }
    Ok(set)
}

/// Whether the labels of whole records are those of classes, and each class is of one group.
fn check_labels(bytes: &[u8], labels: &[Labels], groups: &mut [Option<u8>]) -> Result<()> {
    let record = labels.len() + SHAPE.len();
    for (number, found) in bytes.chunks_exact(record).enumerate() {
        let start = number * record;
        for (place, (label, labels)) in found.iter().zip(labels).enumerate() {
            if usize::from(*label) >= labels.count {
                let (what, at) = (labels.what, start + place);
                let message = format!("a {what} is out of range at byte {at}");
                return Err(Error::bad_data(OPERATION, message)
                    .expected(format!("below {}", labels.count))
                    .got(label));
            }
        }
        if let [coarse, fine] = found[..labels.len()] {
            let known = *groups[usize::from(fine)].get_or_insert(coarse);
            if known != coarse {
                let message = format!("class {fine} has another coarse label at byte {start}");
                return Err(Error::bad_data(OPERATION, message)
                    .expected(format!("{known}, as before"))
                    .got(coarse));
            }
        }
    }
    Ok(())
}

/// A file of the set.
fn part(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::bad_data(OPERATION, "a file is missing")
        .expected(name)
        .path(path))
}

/// Which set is there, and in which folder.
fn find(dir: &Path) -> Result<(Kind, PathBuf)> {
    let metadata = std::fs::metadata(dir).map_err(|cause| Error::io(OPERATION, dir, &cause))?;
    if !metadata.is_dir() {
        return Err(Error::bad_data(OPERATION, "not a folder")
            .expected("the folder that the files are in")
            .path(dir));
    }
    let kinds = [Kind::Ten, Kind::Hundred];
    let here = kinds.map(|kind| (kind, dir.to_owned()));
    let below = kinds.map(|kind| (kind, dir.join(kind.folder())));
    for places in [here, below] {
        let mut found = places.into_iter().filter(|(kind, dir)| kind.is_in(dir));
        match (found.next(), found.next()) {
            (Some(one), None) => return Ok(one),
            (Some((_, one)), Some((_, other))) => {
                return Err(
                    Error::bad_data(OPERATION, "both CIFAR-10 and CIFAR-100 are there")
                        .expected(format!("one of them, such as {}", one.display()))
                        .got(match one == other {
                            true => "files of both".to_owned(),
                            false => other.display().to_string(),
                        })
                        .path(dir),
                );
            }
            (None, _) => {}
        }
    }
    let [ten, hundred] = kinds.map(|kind| {
        let files = kind.files(Split::Test);
        format!("{} and {}", files[0], kind.labels()[0].names)
    });
    Err(
        Error::bad_data(OPERATION, "there is no CIFAR in its binary version")
            .expected(format!(
                "{ten}, or {hundred}, here or in {} or {}",
                Kind::Ten.folder(),
                Kind::Hundred.folder()
            ))
            .path(dir),
    )
}

/// Names, one a line; empty lines are none.
fn read_names(path: &Path, count: usize) -> Result<Vec<String>> {
    let bytes = open_file(OPERATION, path)
        .and_then(|file| read_capped(OPERATION, file, MOST_NAMES))
        .map_err(|error| error.path(path))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::bad_data(OPERATION, "not a text in UTF-8").path(path))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(str::to_owned).collect();
    if names.len() != count {
        return Err(Error::bad_data(OPERATION, "not one name for each label")
            .expected(format!("{count} lines"))
            .got(names.len())
            .path(path));
    }
    Ok(names)
}

/// Whether these are records, one or more.
fn check_length(bytes: &[u8], record: usize) -> Result<()> {
    if bytes.is_empty() {
        let error = Error::bad_data(OPERATION, "the file is empty");
        return Err(error.expected(format!("records of {record} bytes")));
    }
    let whole = bytes.len() / record * record;
    if whole != bytes.len() {
        let message = format!("the record at byte {whole} is cut off");
        return Err(Error::bad_data(OPERATION, message)
            .expected(format!("{record} bytes"))
            .got(bytes.len() - whole));
    }
    Ok(())
}
