//! What a command writes at its end: tried before the work, and kept elsewhere where that fails after all.

use std::path::Path;

use forgeling::Result;
use forgeling::train::model_file::{check_writable, write_or_rescue};

/// Bytes of a report or a list, about.
const SMALL: u64 = 1 << 20;
/// Bytes of a model file beside its values, about.
const HEADER: u64 = 1 << 16;

/// Whether a report or a list can be written there.
pub fn try_file(path: &Path) -> Result<()> {
    check_writable(path, SMALL)
}

/// Whether a model of so many values can be written there.
pub fn try_model(path: &Path, values: u64) -> Result<()> {
    check_writable(path, 4 * values + HEADER)
}

/// Writes the bytes of a model, to the system's folder for temporary files where it has to be.
pub fn save_model(path: &Path, bytes: &[u8]) -> Result<()> {
    write_or_rescue(path, bytes, &std::env::temp_dir())
}
