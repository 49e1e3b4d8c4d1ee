//! What the loaders' tests share.

use std::fs;
use std::path::{Path, PathBuf};

use forgeling::{Error, Result};

/// Writes `root/name` and the folders it needs.
pub fn put(root: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// The error must be about input, name `file` and say `reason`.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T>, file: &str, reason: &str) -> Error {
    let error = result.expect_err("must be refused");
    let text = error.to_string();
    assert!(error.is_bad_input(), "{text}");
    assert!(text.contains(file), "{file:?} is not named: {text}");
    assert!(text.contains(reason), "{reason:?} is not said: {text}");
    error
}
