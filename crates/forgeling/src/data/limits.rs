//! How much a loader may read. Files come from anywhere, and a few bytes can claim to be gigabytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Bounds on what a loader reads. Beyond one of them loading stops with an error that names the file.
///
/// ```
/// use forgeling::data::Limits;
/// let limits = Limits { entries: 1000, ..Limits::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file or archive entry after unpacking. Default: 256 MiB.
    pub entry_bytes: u64,
    /// Bytes of an archive or IDX file after unpacking, and of all images a loader returns. Default: 2 GiB.
    pub total_bytes: u64,
    /// Pixels of one image; decoding takes 3 or 4 bytes of memory for each, of 16-bit images twice as many, and large
    /// ones are decoded one after the other. Default: 2^27 (134 million), which admits the 108 million of telephones.
    pub pixels: u64,
    /// Files in a folder tree or archive. Default: 1,000,000.
    pub entries: usize,
    /// Folders inside folders. Default: 16.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entry_bytes: 256 << 20,
            total_bytes: 2 << 30,
            pixels: 1 << 27,
            entries: 1_000_000,
            depth: 16,
        }
    }
}

/// What is left of [`Limits::total_bytes`].
pub(super) struct Budget {
    operation: &'static str,
    total: u64,
    left: u64,
}

impl Budget {
    pub fn new(operation: &'static str, limits: &Limits) -> Self {
        Self {
            operation,
            total: limits.total_bytes,
            left: limits.total_bytes,
        }
    }

    pub fn take(&mut self, bytes: usize) -> Result<()> {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Error::bad_data(self.operation, "there is too much data")
                .expected(format!("at most {} bytes in all", self.total))),
        }
    }
}

/// Reads to the end, but not beyond `limit` bytes. Memory grows with what comes, not with what was promised.
pub(super) fn read_capped(
    operation: &'static str,
    reader: impl Read,
    limit: u64,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|cause| Error::bad_data(operation, format!("cannot be read: {cause}")))?;
    if bytes.len() as u64 > limit {
        return Err(Error::bad_data(operation, "the file is too large")
            .expected(format!("at most {limit} bytes")));
    }
    Ok(bytes)
}

/// Opens a regular file: not a folder, and not a pipe, which might never end.
pub(super) fn open(operation: &'static str, path: &Path) -> Result<File> {
    let metadata = std::fs::metadata(path).map_err(|cause| Error::io(operation, path, &cause))?;
    if !metadata.is_file() {
        return Err(Error::bad_data(operation, "not a regular file").path(path));
    }
    File::open(path).map_err(|cause| Error::io(operation, path, &cause))
}

pub(super) fn read_file(operation: &'static str, path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let file = open(operation, path)?;
    read_capped(operation, file, limits.entry_bytes).map_err(|error| error.path(path))
}

/// A path component as text.
pub(super) fn name_of(operation: &'static str, path: &Path) -> Result<String> {
    path.file_name()
        .and_then(|name| name.to_str())
        .map(str::to_owned)
        .ok_or_else(|| Error::bad_data(operation, "the name is not valid UTF-8").path(path))
}
