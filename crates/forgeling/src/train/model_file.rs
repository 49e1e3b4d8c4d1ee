//! Model files: safetensors whose header says what the model is and how it was trained.
//!
//! Any reader of safetensors can open them. The metadata key `forgeling` holds one JSON object with
//! `format` (1), `architecture`, `config` and `summary`, and for models that were trained on pictures `pictures`: how these
//! became inputs, and others are to.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use super::weights::NamedTensor;
use crate::data::Preparation;
use crate::error::{Error, Result};

const KEY: &str = "forgeling";
const FORMAT: u32 = 1;
const LOAD: &str = "load_model";
/// Far above any model this library is made for; a larger file is refused before it is read.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

/// The header: what is needed to rebuild the model, and how it came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header<Config, Summary> {
    /// Version of this layout.
    format: u32,
    /// For example `"conv4"`.
    pub architecture: String,
    /// The architecture's configuration.
    pub config: Config,
    /// How the model was trained.
    pub summary: Summary,
    /// How pictures become its inputs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Preparation>,
}

impl<Config, Summary> Header<Config, Summary> {
    /// A header of the current format.
    pub fn new(architecture: &str, config: Config, summary: Summary) -> Self {
        Self {
            format: FORMAT,
            architecture: architecture.into(),
            config,
            summary,
            pictures: None,
        }
    }

    /// The same with how pictures become inputs.
    #[must_use]
    pub fn with_pictures(self, pictures: Option<Preparation>) -> Self {
        Self { pictures, ..self }
    }
}

pub(super) struct F32View<'a>(pub &'a NamedTensor);

impl View for F32View<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0
            .values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<u8>>()
            .into()
    }

    fn data_len(&self) -> usize {
        self.0.values.len() * size_of::<f32>()
    }
}

/// The bytes of a model file.
///
/// # Errors
/// When a value is not finite: a diverged model must not look whole.
pub fn encode<C: Serialize, S: Serialize>(
    header: &Header<C, S>,
    tensors: &[NamedTensor],
) -> Result<Vec<u8>> {
    const OPERATION: &str = "save_model";
    if let Some(tensor) = tensors
        .iter()
        .find(|t| t.values.iter().any(|v| !v.is_finite()))
    {
        return Err(
            Error::bad_data(OPERATION, "the model holds a value that is not finite")
                .got(format!("in '{}'", tensor.name)),
        );
    }
    let failed = |error: &dyn std::fmt::Display| Error::bad_data(OPERATION, error.to_string());
    let header = serde_json::to_string(header).map_err(|error| failed(&error))?;
    let views = tensors.iter().map(|tensor| (&tensor.name, F32View(tensor)));
    safetensors::serialize(
        views,
        Some([(KEY.to_string(), header)].into_iter().collect()),
    )
    .map_err(|error| failed(&error))
}

/// The architecture that a model file's bytes are of, whatever it is.
///
/// # Errors
/// When the bytes are not safetensors, are cut off, or have no header of ours of this format.
pub fn architecture(bytes: &[u8]) -> Result<String> {
    let text = header_text(bytes)?;
    // Format and architecture alone, so that a newer file is refused for what it is.
    #[derive(Deserialize)]
    struct Kind {
        format: u32,
        architecture: String,
    }
    let kind: Kind = serde_json::from_str(&text).map_err(unreadable)?;
    if kind.format != FORMAT {
        return Err(bad("another format of model file".into())
            .expected(FORMAT)
            .got(kind.format));
    }
    Ok(kind.architecture)
}

fn bad(message: String) -> Error {
    Error::bad_data(LOAD, message)
}

fn unreadable(error: serde_json::Error) -> Error {
    bad(format!("the header cannot be read: {error}"))
}

fn not_whole(error: safetensors::SafeTensorError) -> Error {
    bad(format!("not a whole safetensors file: {error}"))
}

fn header_text(bytes: &[u8]) -> Result<String> {
    SafeTensors::deserialize(bytes).map_err(not_whole)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_whole)?;
    let entries = metadata.metadata().as_ref();
    let text = entries.and_then(|entries| entries.get(KEY)).cloned();
    text.ok_or_else(|| bad("a safetensors file without forgeling's header".into()))
}

/// Header and tensors of a model file's bytes.
///
/// # Errors
/// When the bytes are not safetensors, are cut off, have no header of ours, another format or
/// architecture, or tensors that are not f32.
pub fn decode<C, S>(bytes: &[u8], architecture: &str) -> Result<(Header<C, S>, Vec<NamedTensor>)>
where
    C: for<'a> Deserialize<'a>,
    S: for<'a> Deserialize<'a>,
{
    let own = self::architecture(bytes)?;
    if own != architecture {
        return Err(bad("another architecture".into())
            .expected(architecture)
            .got(format!("'{own}'")));
    }
    let file = SafeTensors::deserialize(bytes).map_err(not_whole)?;
    let text = &header_text(bytes)?;
    let header = serde_json::from_str(text).map_err(unreadable)?;

    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(bad(format!("tensor '{name}' has another dtype"))
                .expected("F32")
                .got(format!("{:?}", view.dtype())));
        }
        let (shape, values) = (view.shape().to_vec(), f32s(view.data()));
        tensors.push(NamedTensor {
            name,
            shape,
            values,
        });
    }
    Ok((header, tensors))
}

/// Numbers from their bytes in a file.
pub(super) fn f32s(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    let value = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    values.iter().map(value).collect()
}

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
/// temporary file beside it, synchronised, then renamed.
///
/// # Errors
/// When the folder or file cannot be written; what was at `path` is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    const OPERATION: &str = "write_file";
    let failed = |error: std::io::Error| Error::io(OPERATION, path, &error);
    let name = path
        .file_name()
        .ok_or_else(|| Error::invalid(OPERATION, "the path names no file").path(path))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut temporary = name.to_os_string();
    // Two threads or processes may save to one path at once; each needs a temporary file of its own.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{number}.partial", std::process::id()));
    let temporary = folder.join(temporary);
    let written = File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        return Err(failed(error));
    }
    // The rename itself must reach the disk. Folders cannot be opened on Windows.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Header<u32, String>, Vec<NamedTensor>) {
        let tensors = vec![
            NamedTensor {
                name: "a.weight".into(),
                shape: vec![2, 3],
                values: vec![1.5; 6],
            },
            NamedTensor {
                name: "b".into(),
                shape: vec![1],
                values: vec![-0.25],
            },
        ];
        (Header::new("toy", 7, "trained".into()), tensors)
    }

    #[test]
    fn what_is_encoded_comes_back() {
        let (header, tensors) = sample();
        let bytes = encode(&header, &tensors).unwrap();
        let (decoded, mut loaded) = decode::<u32, String>(&bytes, "toy").unwrap();
        loaded.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!((decoded, loaded), (header, tensors));
    }

    #[test]
    fn every_cut_and_every_wrong_header_is_an_error() {
        let (header, tensors) = sample();
        let bytes = encode(&header, &tensors).unwrap();
        for length in 0..bytes.len() {
            let error = decode::<u32, String>(&bytes[..length], "toy").unwrap_err();
            assert!(error.is_bad_input(), "cut at {length}: {error}");
        }
        assert!(decode::<u32, String>(&bytes, "other").is_err());
        assert!(decode::<String, String>(&bytes, "toy").is_err());
        let mut huge = bytes.clone();
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(decode::<u32, String>(&huge, "toy").is_err());
        let foreign = safetensors::serialize(
            tensors.iter().map(|tensor| (&tensor.name, F32View(tensor))),
            None,
        );
        assert!(decode::<u32, String>(&foreign.unwrap(), "toy").is_err());
    }

    #[test]
    fn a_diverged_model_is_not_written() {
        let (header, mut tensors) = sample();
        tensors[0].values[4] = f32::NAN;
        assert!(encode(&header, &tensors).unwrap_err().is_bad_input());
    }
}
