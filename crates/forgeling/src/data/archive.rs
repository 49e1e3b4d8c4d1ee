//! Lists and reads the entries of a zip archive, trusting none of its headers.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use super::limits::{Limits, open, read_capped};
use super::walk::{is_clutter, too_many};
use crate::error::{Error, Result};

/// An open archive.
pub(super) struct Archive {
    operation: &'static str,
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    /// Opens the archive at `path`; its directory takes memory in proportion to the file.
    pub fn open(operation: &'static str, path: &Path, limits: &Limits) -> Result<Self> {
        let file = open(operation, path)?;
        let size = file
            .metadata()
            .map_err(|cause| Error::io(operation, path, &cause))?
            .len();
        if size > limits.total_bytes {
            return Err(Error::bad_data(operation, "the archive is too large")
                .expected(format!("at most {} bytes", limits.total_bytes))
                .got(size)
                .path(path));
        }
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|cause| {
            Error::bad_data(operation, format!("not a readable zip archive: {cause}")).path(path)
        })?;
        if zip.len() > limits.entries {
            return Err(too_many(operation, limits).got(zip.len()).path(path));
        }
        Ok(Self {
            operation,
            path: path.to_owned(),
            zip,
        })
    }

    /// The files in the archive: the parts of each one's name, and its index. Clutter is left out.
    pub fn files(&mut self) -> Result<Vec<(Vec<String>, usize)>> {
        let mut files = Vec::new();
        for index in 0..self.zip.len() {
            let entry = self.zip.by_index_raw(index);
            let entry = entry.map_err(|cause| unreadable(self.operation, &self.path, &cause))?;
            let name = entry.name();
            let name = name.map_err(|cause| unreadable(self.operation, &self.path, &cause))?;
            let refuse = |reason: &str| {
                let message = format!("entry {name:?} {reason}");
                Error::bad_data(self.operation, message).path(&self.path)
            };
            if !stays_inside(&name) {
                return Err(refuse("leads out of the archive"));
            }
            if entry.is_symlink() {
                return Err(refuse("is a link"));
            }
            if entry.is_dir() {
                continue;
            }
            let parts: Vec<String> = name.split('/').map(str::to_owned).collect();
            if parts.iter().any(|part| is_clutter(part)) {
                continue;
            }
            if entry.encrypted() {
                return Err(refuse("is encrypted"));
            }
            files.push((parts, index));
        }
        Ok(files)
    }

    /// Unpacks entry `index`, whatever size it claims, up to the limit.
    pub fn read(&mut self, index: usize, limits: &Limits) -> Result<Vec<u8>> {
        let entry = self.zip.by_index(index);
        let entry = entry.map_err(|cause| unreadable(self.operation, &self.path, &cause))?;
        read_capped(self.operation, entry, limits.entry_bytes)
    }
}

fn unreadable(operation: &'static str, path: &Path, cause: &ZipError) -> Error {
    Error::bad_data(operation, format!("an entry cannot be read: {cause}")).path(path)
}

/// Whether a name is a plain relative path under every system's rules.
fn stays_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['/', '\\'])
        && !name.contains([':', '\0', '\\'])
        && name.split('/').all(|part| part != "..")
}
