//! A checkpoint as bytes: safetensors with a header and a checksum of ours.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checksum::crc64;
use super::{Checkpoint, NamedTensor};
use crate::error::{Error, Result};
use crate::train::model_file::{F32View, MAX_FILE_BYTES, f32s};

const KEY: &str = "forgeling_checkpoint";
const FORMAT: u32 = 1;
const CHECKSUM: &str = "checksum";
/// The group of what is bytes. It comes before the checksum in the order of names, so that this stays the last tensor.
const BYTES: &str = "bytes";
/// Bytes of a checksum.
const SUM: usize = 8;
/// What readers of safetensors take.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// What the metadata holds.
#[derive(Serialize, Deserialize)]
struct Header<'a> {
    format: u32,
    step: u64,
    metric: Option<f64>,
    /// Groups may be empty.
    groups: BTreeSet<Cow<'a, str>>,
    sections: Cow<'a, BTreeMap<String, Value>>,
}

/// A tensor of the file.
enum Entry<'a> {
    Values(F32View<'a>),
    /// With their number, as a shape.
    Bytes(&'a [u8], [usize; 1]),
    Checksum,
}

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Values(view) => view.dtype(),
            // Wider numbers come first in a file, then the order is that of names: the checksum is the last.
            Self::Bytes(..) | Self::Checksum => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Values(view) => view.shape(),
            Self::Bytes(_, shape) => shape,
            Self::Checksum => &[SUM],
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Values(view) => view.data(),
            Self::Bytes(bytes, _) => Cow::Borrowed(bytes),
            // Until all others are there.
            Self::Checksum => Cow::Borrowed(&[0; SUM]),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Self::Values(view) => view.data_len(),
            Self::Bytes(bytes, _) => bytes.len(),
            Self::Checksum => SUM,
        }
    }
}

pub(super) fn encode(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    const OPERATION: &str = "save_checkpoint";
    let bad = |message: String| Error::bad_data(OPERATION, message);
    if let Some(metric) = checkpoint.metric.filter(|metric| !metric.is_finite()) {
        return Err(bad("the metric is not finite".into()).got(metric));
    }
    let mut entries: BTreeMap<String, Entry<'_>> = BTreeMap::new();
    let mut length = 0;
    for (group, tensors) in &checkpoint.tensors {
        if !is_group(group) {
            return Err(bad("not the name of a group of tensors".into()).got(format!("'{group}'")));
        }
        for tensor in tensors {
            let name = format!("{group}/{}", tensor.name);
            check(tensor).map_err(|message| bad(format!("tensor '{name}' {message}")))?;
            length += 4 * tensor.values.len() as u64;
            if entries.contains_key(&name) {
                return Err(bad(format!("tensor '{name}' is there twice")));
            }
            entries.insert(name, Entry::Values(F32View(tensor)));
        }
    }
    for (name, bytes) in &checkpoint.bytes {
        length += bytes.len() as u64;
        let entry = Entry::Bytes(bytes, [bytes.len()]);
        entries.insert(format!("{BYTES}/{name}"), entry);
    }
    entries.insert(CHECKSUM.into(), Entry::Checksum);
    let header = Header {
        format: FORMAT,
        step: checkpoint.step,
        metric: checkpoint.metric,
        groups: checkpoint.tensors.keys().map(Cow::from).collect(),
        sections: Cow::Borrowed(&checkpoint.sections),
    };
    let header = serde_json::to_string(&header).map_err(|error| bad(error.to_string()))?;
    let too_large = |what: &str, limit: u64, length: u64| {
        Err(bad(format!("the {what} too large"))
            .expected(format!("at most {limit} bytes"))
            .got(length))
    };
    if length > MAX_FILE_BYTES {
        return too_large("tensors are", MAX_FILE_BYTES, length);
    }
    let metadata = [(KEY.to_string(), header)].into_iter().collect();
    let mut bytes =
        safetensors::serialize(entries, Some(metadata)).map_err(|error| bad(error.to_string()))?;
    let header = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
    if header > MAX_HEADER_BYTES {
        return too_large("sections are", MAX_HEADER_BYTES, header);
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return too_large("checkpoint is", MAX_FILE_BYTES, bytes.len() as u64);
    }
    if let Some((rest, sum)) = bytes.split_last_chunk_mut::<SUM>() {
        *sum = crc64(rest).to_le_bytes();
    }
    Ok(bytes)
}

/// Whether a group of tensors can have this name.
fn is_group(name: &str) -> bool {
    !(name.is_empty() || name.contains('/') || name == BYTES)
}

/// What is wrong with a tensor.
fn check(tensor: &NamedTensor) -> std::result::Result<(), &'static str> {
    let fold = |length: usize, size: &usize| length.checked_mul(*size);
    if tensor.shape.iter().try_fold(1, fold) != Some(tensor.values.len()) {
        return Err("has not as many values as its shape says");
    }
    if !tensor.values.iter().all(|value| value.is_finite()) {
        return Err("holds a value that is not finite");
    }
    Ok(())
}

pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint> {
    let bad = |message: String| Error::bad_data("load_checkpoint", message);
    let broken = |why: &dyn std::fmt::Display| bad(format!("not a whole checkpoint: {why}"));
    let Some((rest, sum)) = bytes.split_last_chunk::<SUM>() else {
        return Err(broken(&"too short"));
    };
    let (expected, got) = (u64::from_le_bytes(*sum), crc64(rest));
    if expected != got {
        return Err(broken(&"cut off or changed")
            .expected(format!("checksum {expected:016x}"))
            .got(format!("{got:016x}")));
    }
    // From here on, what is wrong was written like that.
    let file = SafeTensors::deserialize(bytes).map_err(|error| broken(&error))?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| broken(&error))?;
    let metadata = metadata.metadata().as_ref();
    let text = metadata.and_then(|entries| entries.get(KEY));
    let text = text.ok_or_else(|| broken(&"no header of a checkpoint"))?;
    // Version first, so that a newer file is refused for what it is.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let version: Version = serde_json::from_str(text).map_err(|error| broken(&error))?;
    if version.format != FORMAT {
        return Err(bad("another format of checkpoint".into())
            .expected(FORMAT)
            .got(version.format));
    }
    let header: Header<'_> = serde_json::from_str(text).map_err(|error| broken(&error))?;
    if let Some(group) = header.groups.iter().find(|group| !is_group(group)) {
        return Err(broken(&format!("a group of tensors named '{group}'")));
    }
    let groups = header.groups.into_iter().map(Cow::into_owned);
    let mut tensors: BTreeMap<String, Vec<NamedTensor>> =
        groups.map(|group| (group, Vec::new())).collect();
    let mut views = file.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let mut all_bytes = BTreeMap::new();
    for (path, view) in views {
        if path == CHECKSUM {
            continue;
        }
        if let (Some((BYTES, name)), Dtype::U8) = (path.split_once('/'), view.dtype()) {
            all_bytes.insert(name.to_string(), view.data().to_vec());
            continue;
        }
        let group = path.split_once('/').and_then(|(group, name)| {
            let tensors = tensors.get_mut(group)?;
            (view.dtype() == Dtype::F32).then_some((tensors, name))
        });
        let Some((group, name)) = group else {
            return Err(broken(&format!("a tensor '{path}' of no group")));
        };
        let tensor = NamedTensor {
            name: name.into(),
            shape: view.shape().to_vec(),
            values: f32s(view.data()),
        };
        check(&tensor).map_err(|why| broken(&format!("tensor '{path}' {why}")))?;
        group.push(tensor);
    }
    Ok(Checkpoint {
        step: header.step,
        metric: header.metric,
        sections: header.sections.into_owned(),
        bytes: all_bytes,
        tensors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rng;

    fn tensor(name: &str, shape: &[usize], values: Vec<f32>) -> NamedTensor {
        NamedTensor {
            name: name.into(),
            shape: shape.to_vec(),
            values,
        }
    }

    fn sample() -> Checkpoint {
        let mut checkpoint = Checkpoint::new(12);
        checkpoint.metric = Some(0.1 + 0.2);
        checkpoint
            .set_section("note", &"a \"quoted\" wörd")
            .unwrap();
        checkpoint.set_section("rng", &Rng::new(1).state()).unwrap();
        let extremes = vec![f32::MAX, f32::MIN_POSITIVE, -0.0, 1e-45, -1.5, 0.1];
        checkpoint.tensors.insert(
            "model".into(),
            vec![
                tensor("a/b.weight", &[2, 3], extremes),
                tensor("scalar", &[], vec![7.0]),
            ],
        );
        let none = tensor("none", &[0, 4], Vec::new());
        checkpoint.tensors.insert("average".into(), vec![none]);
        checkpoint.tensors.insert("optimizer".into(), Vec::new());
        let images = (0..=255).collect();
        checkpoint.bytes.insert("part replay/images".into(), images);
        checkpoint.bytes.insert("zero".into(), Vec::new());
        checkpoint
    }

    /// With the checksum of what it has become.
    fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some((rest, sum)) = bytes.split_last_chunk_mut::<SUM>() {
            *sum = crc64(rest).to_le_bytes();
        }
        bytes
    }

    #[test]
    fn what_is_encoded_comes_back_bit_for_bit() {
        let sample = sample();
        let bytes = sample.encode().unwrap();
        let decoded = Checkpoint::decode(&bytes).unwrap();
        assert_eq!(decoded, sample);
        let bits = |checkpoint: &Checkpoint| -> Vec<u32> {
            let values = &checkpoint.tensors["model"][0].values;
            values.iter().map(|value| value.to_bits()).collect()
        };
        assert_eq!(bits(&decoded), bits(&sample));
        assert_eq!(decoded.encode().unwrap(), bytes);
        assert_eq!(summed(bytes.clone()), bytes);
        assert!(
            SafeTensors::deserialize(&bytes).is_ok(),
            "anyone can read it"
        );
    }

    #[test]
    fn bytes_take_no_more_room_than_they_are() {
        let mut checkpoint = Checkpoint::new(1);
        let without = checkpoint.encode().unwrap().len();
        let images: Vec<u8> = (0..100_000u32)
            .map(|place| (place * 7 % 251) as u8)
            .collect();
        checkpoint.bytes.insert("zebra/images".into(), images);
        let bytes = checkpoint.encode().unwrap();
        assert!(bytes.len() - without < 100_000 + 200, "{}", bytes.len());
        assert_eq!(Checkpoint::decode(&bytes).unwrap(), checkpoint);
    }

    #[test]
    fn every_cut_every_flipped_bit_and_every_byte_more_is_found() {
        let bytes = sample().encode().unwrap();
        for length in 0..bytes.len() {
            let error = decode(&bytes[..length]).unwrap_err();
            assert!(error.is_bad_input(), "cut at {length}: {error}");
        }
        let mut changed = bytes.clone();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                changed[place] ^= 1 << bit;
                assert!(decode(&changed).is_err(), "bit {bit} of byte {place}");
                changed[place] ^= 1 << bit;
            }
        }
        for more in [0, 1, 255] {
            changed.push(more);
            assert!(decode(&changed).is_err());
        }
    }

    #[test]
    fn garbage_is_an_error_even_with_a_right_checksum() {
        let mut rng = Rng::new(3);
        let bytes = sample().encode().unwrap();
        for length in 0..2000 {
            let garbage: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
            assert!(decode(&garbage).is_err() && decode(&summed(garbage)).is_err());
        }
        let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        for _ in 0..20_000 {
            let mut changed = bytes.clone();
            for _ in 0..=rng.below(3) {
                // Most in the header, where all the reading is done.
                let end = if rng.below(4) > 0 {
                    header
                } else {
                    bytes.len()
                };
                changed[rng.below(end)] = rng.next_u64() as u8;
            }
            changed.truncate(bytes.len() - rng.below(2) * rng.below(40));
            // Some of them are whole, with another name or value; what matters is that there is an answer.
            if let Ok(other) = decode(&summed(changed)) {
                assert!(other.encode().is_ok());
            }
        }
    }

    #[test]
    fn what_must_not_be_saved_is_refused_and_named() {
        let with = |group: &str, tensors: Vec<NamedTensor>| {
            let mut checkpoint = sample();
            checkpoint.tensors.insert(group.into(), tensors);
            checkpoint.encode().unwrap_err()
        };
        let bad = [
            (
                "x/moment",
                with("x", vec![tensor("moment", &[1], vec![f32::NAN])]),
            ),
            (
                "x/moment",
                with("x", vec![tensor("moment", &[1], vec![f32::INFINITY])]),
            ),
            ("x/a", with("x", vec![tensor("a", &[2], vec![1.0])])),
            (
                "x/a",
                with("x", vec![tensor("a", &[usize::MAX, 2], vec![1.0])]),
            ),
            ("twice", with("x", vec![tensor("a", &[1], vec![1.0]); 2])),
            ("'x/y'", with("x/y", Vec::new())),
            ("''", with("", Vec::new())),
            ("'bytes'", with("bytes", Vec::new())),
        ];
        for (word, error) in bad {
            assert!(
                error.is_bad_input() && error.to_string().contains(word),
                "{error}"
            );
        }
        let mut checkpoint = sample();
        checkpoint.metric = Some(f64::NAN);
        assert!(
            checkpoint
                .encode()
                .unwrap_err()
                .to_string()
                .contains("metric")
        );
    }

    #[test]
    fn foreign_and_newer_files_are_refused_for_what_they_are() {
        let bytes = sample().encode().unwrap();
        let replaced = |from: &str, to: &str| {
            let mut windows = bytes.windows(from.len());
            let at = windows
                .position(|window| window == from.as_bytes())
                .unwrap();
            let mut changed = bytes.clone();
            changed[at..at + to.len()].copy_from_slice(to.as_bytes());
            decode(&summed(changed)).unwrap_err().to_string()
        };
        assert!(replaced("\\\"format\\\":1", "\\\"format\\\":2").contains("format"));
        assert!(replaced("forgeling_checkpoint", "forgeling_checkpainT").contains("header"));
        assert!(replaced("\"model/scalar", "\"muddl/scalar").contains("muddl/scalar"));
        assert!(replaced("\"F32\"", "\"I32\"").contains("no group"));
    }
}
