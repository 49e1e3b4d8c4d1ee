//! Model files: safetensors whose header says what the model is and how it was trained.
//!
//! Any reader of safetensors can open them. The metadata key `forgeling` holds one JSON object with
//! `format` (1), `architecture`, `config` and `summary`, and for models that were trained on pictures `pictures`, on sounds
//! `sounds`: how these became inputs, and others are to.
//!
//! Values lie there as `F32`, or in fewer bits ([`Packing`]). For a weight in int4, NAME of the shape
//! `[inputs, outputs]` or `[outputs, ...]`, the file has `NAME`, `U8 [outputs, ceil(inputs / 2)]`, and `NAME.scales`,
//! `BF16 [outputs, ceil(inputs / 32)]`, and the header `packed: {NAME: shape}`.

mod disk;
mod int4;
mod packing;

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) use disk::MAX_FILE_BYTES;
pub use disk::{check_writable, read, write_atomically, write_or_rescue};
pub(super) use int4::has_whole_groups;
use packing::{Entry, Shapes};
pub use packing::{Int8Scales, Packing};

use super::weights::NamedTensor;
use crate::data::{Preparation, SoundPreparation};
use crate::error::{Error, Result};

const KEY: &str = "forgeling";
const FORMAT: u32 = 1;
const LOAD: &str = "load_model";
const SAVE: &str = "save_model";

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
    /// How sounds become its inputs, if it was trained on sounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sounds: Option<SoundPreparation>,
    /// The shapes of what is in int4; empty but in files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    packed: Shapes,
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
            sounds: None,
            packed: Shapes::new(),
        }
    }

    /// The same with how pictures become inputs.
    #[must_use]
    pub fn with_pictures(self, pictures: Option<Preparation>) -> Self {
        Self { pictures, ..self }
    }

    /// The same with how sounds become inputs.
    #[must_use]
    pub fn with_sounds(self, sounds: Option<SoundPreparation>) -> Self {
        Self { sounds, ..self }
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

/// The bytes of a model file, in f32.
///
/// # Errors
/// When a value is not finite: a diverged model must not look whole.
pub fn encode<C: Serialize, S: Serialize>(
    header: &Header<C, S>,
    tensors: &[NamedTensor],
) -> Result<Vec<u8>> {
    let (entries, _) = packing::entries(tensors, &|_| Packing::F32)?;
    whole(serde_json::to_string(header), entries)
}

/// The bytes of a model file, with each tensor stored as `packing` says.
///
/// # Errors
/// As [`encode`], and as [`Packing::rounded`].
pub fn encode_packed<C: Serialize, S: Serialize>(
    mut header: Header<C, S>,
    tensors: &[NamedTensor],
    packing: &dyn Fn(&NamedTensor) -> Packing,
) -> Result<Vec<u8>> {
    let (entries, packed) = packing::entries(tensors, packing)?;
    header.packed = packed;
    whole(serde_json::to_string(&header), entries)
}

fn whole(header: serde_json::Result<String>, entries: Vec<(String, Entry<'_>)>) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| Error::bad_data(SAVE, error.to_string());
    let header = header.map_err(|error| failed(&error))?;
    let metadata = [(KEY.to_string(), header)].into_iter().collect();
    safetensors::serialize(entries, Some(metadata)).map_err(|error| failed(&error))
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

/// The header of a model file's bytes.
///
/// # Errors
/// As [`decode`], but for the tensors.
pub fn header<C, S>(bytes: &[u8], architecture: &str) -> Result<Header<C, S>>
where
    C: DeserializeOwned,
    S: DeserializeOwned,
{
    Ok(header_and_shapes(bytes, architecture)?.0)
}

fn header_and_shapes<C, S>(bytes: &[u8], architecture: &str) -> Result<(Header<C, S>, Shapes)>
where
    C: DeserializeOwned,
    S: DeserializeOwned,
{
    let own = self::architecture(bytes)?;
    if own != architecture {
        return Err(bad("another architecture".into())
            .expected(architecture)
            .got(format!("'{own}'")));
    }
    let mut header: Header<C, S> =
        serde_json::from_str(&header_text(bytes)?).map_err(unreadable)?;
    let packed = std::mem::take(&mut header.packed);
    Ok((header, packed))
}

/// Header and tensors of a model file's bytes; the values are f32, however they are stored.
///
/// # Errors
/// When the bytes are not safetensors, are cut off, have no header of ours, another format or architecture, a tensor
/// that is neither F32, F16 nor BF16, or one in int4 that does not fit its shape and scales.
pub fn decode<C, S>(bytes: &[u8], architecture: &str) -> Result<(Header<C, S>, Vec<NamedTensor>)>
where
    C: DeserializeOwned,
    S: DeserializeOwned,
{
    let (header, packed) = header_and_shapes(bytes, architecture)?;
    let tensors = packing::tensors(bytes, &packed, &Int8Scales::new())?;
    Ok((header, tensors))
}

/// As [`decode`], where tensors may be in int8: the configuration says which others hold their scales.
///
/// # Errors
/// As there, and when the scales of a tensor in int8 are missing, do not fit it, or are not positive and finite.
pub fn decode_scaled<C, S>(
    bytes: &[u8],
    architecture: &str,
    scales: impl FnOnce(&C) -> Int8Scales,
) -> Result<(Header<C, S>, Vec<NamedTensor>)>
where
    C: DeserializeOwned,
    S: DeserializeOwned,
{
    let (header, packed) = header_and_shapes(bytes, architecture)?;
    let tensors = packing::tensors(bytes, &packed, &scales(&header.config))?;
    Ok((header, tensors))
}

/// Numbers from their bytes in a file.
pub(super) fn f32s(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    let value = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    values.iter().map(value).collect()
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
