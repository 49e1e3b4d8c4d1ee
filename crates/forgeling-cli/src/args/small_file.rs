//! Files that are typed as the value of an option.

use std::fs;
use std::path::Path;

use forgeling::{Error, Result};

/// The bytes of a file. One that is much larger than any such thing is not read.
pub fn read_small(
    operation: &'static str,
    path: &Path,
    what: &str,
    largest: u64,
) -> Result<Vec<u8>> {
    let failed = |error: &std::io::Error| Error::io(operation, path, error);
    let length = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if length > largest {
        return Err(Error::bad_data(operation, format!("too large for {what}"))
            .expected(format!("at most {largest} bytes"))
            .got(length)
            .path(path));
    }
    fs::read(path).map_err(|error| failed(&error))
}
