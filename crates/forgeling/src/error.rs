//! One error type for the whole library.

use std::fmt;
use std::path::{Path, PathBuf};

/// Shorthand for a result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in which operation, what was expected and what came.
///
/// The type is opaque: ask it with predicates such as [`Error::is_bad_input`] or
/// [`Error::is_out_of_memory`], match on [`Error::kind`], or read its parts for a message of your own.
#[derive(thiserror::Error)]
#[error("{}", .0)]
pub struct Error(Box<Parts>);

/// The family an error belongs to. Its [`code`](ErrorKind::code) is stable across releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is out of its range, or two arguments do not fit together.
    InvalidArgument,
    /// Data read from a file, a page or a tensor is not what it claims to be.
    BadData,
    /// A file could not be read or written.
    Io,
    /// A device is missing, was lost, or computes wrongly.
    Device,
    /// Memory, on the host or the device, does not suffice.
    OutOfMemory,
    /// Training produced a value that is not finite.
    Diverged,
    /// The caller asked for the work to stop.
    Cancelled,
}

impl ErrorKind {
    /// A stable, lower-case name, the same in JSON, in JavaScript and here.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::BadData => "bad_data",
            Self::Io => "io",
            Self::Device => "device",
            Self::OutOfMemory => "out_of_memory",
            Self::Diverged => "diverged",
            Self::Cancelled => "cancelled",
        }
    }
}

struct Parts {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    expected: Option<String>,
    got: Option<String>,
    path: Option<PathBuf>,
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)?;
        match (&self.expected, &self.got) {
            (Some(expected), Some(got)) => write!(f, " (expected {expected}, got {got})")?,
            (Some(expected), None) => write!(f, " (expected {expected})")?,
            (None, Some(got)) => write!(f, " (got {got})")?,
            (None, None) => {}
        }
        if let Some(path) = &self.path {
            write!(f, " [{}]", path.display())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind(), self.0)
    }
}

impl Error {
    /// An error of `kind` in `operation`. The message is one clause without a final stop.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            operation,
            message: message.into(),
            expected: None,
            got: None,
            path: None,
        }))
    }

    /// An argument that is out of range or does not fit another.
    pub fn invalid(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, operation, message)
    }

    /// Data that is not what it claims to be.
    pub fn bad_data(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, operation, message)
    }

    /// A file that could not be read or written.
    pub fn io(operation: &'static str, path: &Path, cause: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, operation, cause.to_string()).path(path)
    }

    /// Adds what was expected: a shape, a dtype, a range.
    #[must_use]
    pub fn expected(mut self, expected: impl fmt::Display) -> Self {
        self.0.expected = Some(expected.to_string());
        self
    }

    /// Adds what came instead.
    #[must_use]
    pub fn got(mut self, got: impl fmt::Display) -> Self {
        self.0.got = Some(got.to_string());
        self
    }

    /// Adds the file concerned, unless an inner call named a closer one.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path.get_or_insert_with(|| path.into());
        self
    }

    /// The family the error belongs to.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed, for example `"load_model"`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The message without operation, expectation and path.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What was expected, where that can be said.
    pub fn expectation(&self) -> Option<&str> {
        self.0.expected.as_deref()
    }

    /// What came instead, where that can be said.
    pub fn found(&self) -> Option<&str> {
        self.0.got.as_deref()
    }

    /// The file concerned.
    pub fn file(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Whether the caller's arguments, files or data are at fault.
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::InvalidArgument | ErrorKind::BadData | ErrorKind::Io
        )
    }

    /// Whether the device is at fault, its memory included.
    pub fn is_device(&self) -> bool {
        matches!(self.kind(), ErrorKind::Device | ErrorKind::OutOfMemory)
    }

    /// Whether there was too little memory.
    pub fn is_out_of_memory(&self) -> bool {
        self.kind() == ErrorKind::OutOfMemory
    }

    /// Whether training produced a value that is not finite.
    pub fn is_diverged(&self) -> bool {
        self.kind() == ErrorKind::Diverged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_carries_operation_expectation_and_path() {
        let error = Error::bad_data("read_idx", "wrong magic number")
            .expected("0x00000803")
            .got("0x504b0304")
            .path("digits.gz")
            .path("outer.gz");
        assert_eq!(
            error.to_string(),
            "read_idx: wrong magic number (expected 0x00000803, got 0x504b0304) [digits.gz]"
        );
        assert!(error.is_bad_input() && !error.is_device());
        assert_eq!(error.kind().code(), "bad_data");
    }
}
