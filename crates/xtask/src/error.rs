//! Failures are one line that says what to do or which command failed.

use std::fmt;
use std::path::Path;

/// Shorthand for a result whose error is [`Failure`].
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command stopped.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with a message of one line.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A file or folder that could not be read or written.
    pub fn file(action: &str, path: &Path, cause: &std::io::Error) -> Self {
        Self(format!("cannot {action} {}: {cause}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
