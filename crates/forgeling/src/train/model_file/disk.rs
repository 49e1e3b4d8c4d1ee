//! Model files on disk, written so that nothing is lost half-way.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

const WRITE: &str = "write_file";
/// Far above any model this library is made for; a larger file is refused before it is read.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Reads a whole model file.
///
/// # Errors
/// When it cannot be read or is larger than 1 GiB.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    const OPERATION: &str = "load_model";
    let metadata = fs::metadata(path).map_err(|error| Error::io(OPERATION, path, &error))?;
    // A device or a pipe has no end.
    if !metadata.is_file() {
        return Err(Error::bad_data(OPERATION, "not a regular file").path(path));
    }
    let length = metadata.len();
    if length > MAX_FILE_BYTES {
        return Err(
            Error::bad_data(OPERATION, "the file is too large for a model")
                .expected(format!("at most {MAX_FILE_BYTES} bytes"))
                .got(length)
                .path(path),
        );
    }
    fs::read(path).map_err(|error| Error::io(OPERATION, path, &error))
}

/// Writes `bytes` to `path` so that a reader sees the old file or the whole new one, never a part: to a
/// temporary file beside it, synchronised, then renamed. Folders that are missing are made.
///
/// # Errors
/// When the folder or file cannot be written, or something other than a file is at `path`, which is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let place = Place::of(path)?;
    let temporary = place.write(|file| file.write_all(bytes))?;
    if let Err(error) = fs::rename(&temporary, path) {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        return Err(place.failed(&error));
    }
    // The rename itself must reach the disk. Folders cannot be opened on Windows.
    if let Ok(folder) = File::open(place.folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Finds out before long work whether [`write_atomically`] could write so many bytes to `path` after it: writes as many
/// zeros beside it, synchronises and removes them. Folders that are missing are made, and what is at `path` is untouched.
///
/// # Errors
/// As [`write_atomically`], also where the disk is too full.
pub fn check_writable(path: &Path, bytes: u64) -> Result<()> {
    const CHUNK: usize = 1 << 16;
    let place = Place::of(path)?;
    let probe = place.write(|file| {
        let zeros = [0; CHUNK];
        let mut rest = bytes;
        while rest > 0 {
            let now = rest.min(CHUNK as u64);
            file.write_all(&zeros[..now as usize])?;
            rest -= now;
        }
        Ok(())
    })?;
    fs::remove_file(&probe).map_err(|error| place.failed(&error))
}

/// As [`write_atomically`], for what took long to make: where that fails, the bytes go to a new file in the folder
/// `elsewhere`, and the error says where that is.
///
/// # Errors
/// As [`write_atomically`], whether the bytes could be kept elsewhere or not.
pub fn write_or_rescue(path: &Path, bytes: &[u8], elsewhere: &Path) -> Result<()> {
    let Err(problem) = write_atomically(path, bytes) else {
        return Ok(());
    };
    let name = path.file_name().unwrap_or("model.safetensors".as_ref());
    let rescue = loop {
        let mut own = OsString::from(format!("forgeling-{}-", unique()));
        own.push(name);
        let rescue = elsewhere.join(own);
        // Nothing that was rescued before is lost.
        if fs::symlink_metadata(&rescue).is_err() {
            break rescue;
        }
    };
    let (message, rescue_path) = (problem.message(), rescue.display());
    let message = match write_atomically(&rescue, bytes) {
        Ok(()) => format!("{message}; it was written to {rescue_path} instead"),
        Err(other) => format!("{message}; nor could {rescue_path} be written: {other}"),
    };
    Err(Error::new(problem.kind(), problem.operation(), message).path(path))
}

/// A number that no other thread or running process has.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}", std::process::id())
}

/// Where a file is to be written.
struct Place<'a> {
    path: &'a Path,
    folder: &'a Path,
    name: &'a OsStr,
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| Error::invalid(WRITE, "the path names no file").path(path))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let taken = |what: &str, by: &Path| Err(Error::new(ErrorKind::Io, WRITE, what).path(by));
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => return taken("a folder is in the file's place", path),
            // A device or a pipe would be replaced.
            Ok(found) if !found.is_file() => return taken("not a regular file", path),
            _ => {}
        }
        if folder.exists() && !folder.is_dir() {
            return taken("not a folder", folder);
        }
        Ok(Self { path, folder, name })
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::io(WRITE, self.path, error)
    }

    /// Fills a new file beside the place, which reaches the disk; none is left where that fails.
    fn write(&self, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<PathBuf> {
        fs::create_dir_all(self.folder).map_err(|error| self.failed(&error))?;
        let (temporary, file) = self.create().map_err(|error| self.failed(&error))?;
        if let Err(error) = filled(file, fill) {
            let _ = fs::remove_file(&temporary);
            return Err(self.failed(&error));
        }
        Ok(temporary)
    }

    /// A new file. Two threads or processes may save to one path at once; each needs a temporary file of its own.
    fn create(&self) -> std::io::Result<(PathBuf, File)> {
        loop {
            let mut name = self.name.to_os_string();
            name.push(format!(".{}.partial", unique()));
            let path = self.folder.join(name);
            match File::create_new(&path) {
                Ok(file) => return Ok((path, file)),
                // Left by a process that had the same number.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Fills the file until it is on the disk, and closes it either way: Windows does not remove an open one.
fn filled(
    mut file: File,
    fill: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    fill(&mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_tried_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
        let file = folder.join("model");
        for _ in 0..2 {
            check_writable(&file, 100_000).unwrap();
            assert_eq!(names(folder), 0, "nothing is left");
        }
        fs::write(&file, b"old").unwrap();
        check_writable(&file, 10).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"old");
        check_writable(&folder.join("new/deep/model"), 10).unwrap();
        assert!(folder.join("new/deep").is_dir(), "as writing would");

        for (path, words) in [
            (folder.to_path_buf(), "a folder is in the file's place"),
            (file.join("model"), "not a folder"),
            (file.join("deep/model"), "write_file"),
            (folder.join(".."), "names no file"),
        ] {
            let error = check_writable(&path, 1).unwrap_err();
            assert!(error.is_bad_input(), "{error}");
            assert!(error.to_string().contains(words), "{error}");
            let written = write_atomically(&path, b"?").unwrap_err();
            assert_eq!(written.to_string(), error.to_string());
        }
        assert_eq!(names(folder), 2);
    }

    /// Devices are no files: as an administrator, one would be replaced. Other systems have no such thing.
    #[test]
    #[cfg(unix)]
    fn devices_and_pipes_are_left_alone() {
        for path in ["/dev/full", "/dev/null"].map(Path::new) {
            if fs::metadata(path).is_ok() {
                let error = check_writable(path, 1).unwrap_err();
                assert!(error.to_string().contains("not a regular file"), "{error}");
                assert!(write_atomically(path, b"?").is_err());
                assert!(!fs::metadata(path).unwrap().is_file());
            }
        }
    }

    #[test]
    fn what_cannot_be_saved_is_written_elsewhere_and_the_error_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let (taken, elsewhere) = (folder.path().join("taken"), folder.path().join("elsewhere"));
        fs::create_dir_all(&taken).unwrap();
        write_or_rescue(&folder.path().join("model"), b"0", &elsewhere).unwrap();
        assert!(!elsewhere.exists());
        for count in 1..=2 {
            let bytes = vec![count; 5];
            let error = write_or_rescue(&taken, &bytes, &elsewhere).unwrap_err();
            assert_eq!(error.file(), Some(&*taken));
            let files = fs::read_dir(&elsewhere).unwrap();
            let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
            assert_eq!(files.len(), usize::from(count), "each has its own");
            let named = files
                .iter()
                .find(|file| error.to_string().contains(file.to_str().unwrap()));
            assert_eq!(fs::read(named.unwrap()).unwrap(), bytes, "{error}");
        }
        // Nowhere at all.
        let file = folder.path().join("model");
        let error = write_or_rescue(&taken, b"1", &file.join("x")).unwrap_err();
        assert!(error.to_string().contains("nor could"), "{error}");
    }
}
