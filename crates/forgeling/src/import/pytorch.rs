//! The files of `torch.save`: zip archives since PyTorch 1.6, one pickle after the other before.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;

use zip::CompressionMethod;
use zip::read::ZipArchive;
use zip::result::ZipError;

use super::pickle::{Pickle, Place, Storage, Value};
use super::stored::StoredTensor;
use super::{bad, shown, twice};
use crate::error::{Error, Result};

/// How an archive begins.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";
/// How an old file begins: a pickle of torch's number `0x1950a86a20f9469cfc6c`.
pub(super) const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
const LEGACY_VERSION: i64 = 1001;
/// Under what checkpoints keep weights beside other things.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// Wrappers within wrappers.
const MOST_WRAPPERS: usize = 4;
/// Files in an archive: two for each tensor would still be far fewer.
const MOST_FILES: usize = 100_000;

/// What a file holds.
pub(super) struct Contents<'a> {
    pub tensors: Vec<StoredTensor<'a>>,
    /// Names of what is no tensor, among the weights.
    pub others: Vec<String>,
}

/// The numbers of each storage, by its key.
type Storages<'k, 'a> = HashMap<&'k str, &'a [u8]>;

/// The weights in an archive of `torch.save`.
///
/// Its files are taken as they lie there, and torch does not compress them: an archive that does is refused, so that few
/// bytes cannot become many.
pub(super) fn read_zip(bytes: &[u8]) -> Result<Contents<'_>> {
    let archive = ZipArchive::new(Cursor::new(bytes)).map_err(unreadable)?;
    if archive.len() > MOST_FILES {
        return Err(bad("the archive holds too many files")
            .expected(format!("at most {MOST_FILES}"))
            .got(archive.len()));
    }
    let mut archive = Archive {
        bytes,
        zip: archive,
        left: bytes.len(),
    };
    let root = archive.root()?;
    if let Some(order) = archive.file(&format!("{root}byteorder"))?
        && order != b"little"
    {
        return Err(bad("the numbers have another order of bytes")
            .expected("little")
            .got(shown(order)));
    }
    let described = archive.file(&format!("{root}data.pkl"))?;
    let pickle = Pickle::read(described.unwrap_or_default())?;
    let mut storages = Storages::new();
    for (key, storage) in declared(&pickle)? {
        let data = archive.file(&format!("{root}data/{key}"))?;
        let data = data.ok_or_else(|| bad("a storage is missing").got(shown(key.as_bytes())))?;
        storages.insert(key, exact(key, storage, data)?);
    }
    contents(&pickle, &storages)
}

/// The weights in a file of torch before 1.6: pickles of a number, of the version, of the machine, of what was saved and of
/// the storages' keys, and then the numbers of each.
pub(super) fn read_legacy(bytes: &[u8]) -> Result<Contents<'_>> {
    let mut rest = &bytes[LEGACY.len()..];
    let mut next = || {
        let pickle = Pickle::read(rest)?;
        rest = &rest[pickle.length..];
        Ok::<_, Error>(pickle)
    };
    let version = next()?;
    if !matches!(version.values[version.root], Value::Int(LEGACY_VERSION)) {
        return Err(bad("another version of PyTorch's files").expected(LEGACY_VERSION));
    }
    // Of the machine only the order of bytes could matter, and torch writes it little-endian on every one.
    next()?;
    let saved = next()?;
    let keys = next()?;
    let Value::Items(keys_in_order) = &keys.values[keys.root] else {
        return Err(bad("the storages have no list of keys"));
    };
    let declared = declared(&saved)?;
    let mut storages = Storages::new();
    for place in keys_in_order {
        let name = keys.text(*place)?;
        let shown = || shown(name.as_bytes());
        let declared = declared.get_key_value(name);
        let (key, storage) =
            declared.ok_or_else(|| bad("a storage belongs to no tensor").got(shown()))?;
        let cut_off = || bad("the file is cut off").got(format!("within storage {}", shown()));
        let (length, data) = rest.split_first_chunk::<8>().ok_or_else(cut_off)?;
        if u64::from_le_bytes(*length) != storage.length as u64 {
            return Err(bad(format!("storage {} has another length", shown()))
                .expected(storage.length)
                .got(u64::from_le_bytes(*length)));
        }
        let size = storage.length.checked_mul(storage.number.bytes());
        let size = size
            .filter(|size| *size <= data.len())
            .ok_or_else(cut_off)?;
        let (data, behind) = data.split_at(size);
        storages.insert(*key, data);
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(
            bad("the file goes on behind its last storage").got(format!("{} bytes", rest.len()))
        );
    }
    contents(&saved, &storages)
}

fn unreadable(problem: ZipError) -> Error {
    bad(format!("the archive cannot be read: {problem}"))
}

struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Bytes that further files can have: those of two files do not overlap.
    left: usize,
}

impl<'a> Archive<'a> {
    /// What the names of all files begin with.
    fn root(&self) -> Result<String> {
        let described = self.zip.file_names().filter_map(|name| {
            let name = name.ok()?;
            name.strip_suffix("data.pkl")
                .filter(|root| root.is_empty() || root.ends_with('/'))
                .map(str::to_owned)
        });
        let first = described.min_by_key(String::len);
        first.ok_or_else(|| bad("an archive without data.pkl is not of torch.save"))
    }

    /// The bytes of the file of this name, if there is one.
    fn file(&mut self, name: &str) -> Result<Option<&'a [u8]>> {
        let Some(index) = self.zip.index_for_name(name) else {
            return Ok(None);
        };
        let entry = self.zip.by_index_raw(index).map_err(unreadable)?;
        let refuse = |why: &str| {
            Err(bad(format!(
                "'{}' in the archive {why}",
                shown(name.as_bytes())
            )))
        };
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return refuse("is compressed or encrypted, which torch.save does not do");
        }
        let start = entry
            .data_start()
            .and_then(|start| usize::try_from(start).ok());
        let size = usize::try_from(entry.size()).ok();
        let end = start
            .zip(size)
            .and_then(|(start, size)| start.checked_add(size));
        let data = start
            .zip(end)
            .and_then(|(start, end)| self.bytes.get(start..end));
        let Some(data) = data else {
            return refuse("reaches beyond the file");
        };
        let Some(left) = self.left.checked_sub(data.len()) else {
            return refuse("overlaps others");
        };
        self.left = left;
        let mut sum = flate2::Crc::new();
        sum.update(data);
        if sum.sum() != entry.crc32() {
            return refuse("is damaged: its checksum is another");
        }
        Ok(Some(data))
    }
}

/// The storages that a pickle refers to, by their keys.
fn declared(pickle: &Pickle) -> Result<HashMap<&str, Storage>> {
    let mut all: HashMap<&str, Storage> = HashMap::new();
    for value in &pickle.values {
        let Value::Storage(storage) = value else {
            continue;
        };
        let key = pickle.text(storage.key)?;
        let before = all.insert(key, *storage);
        let same =
            |before: &Storage| (before.number, before.length) == (storage.number, storage.length);
        if before.is_some_and(|before| !same(&before)) {
            let key = shown(key.as_bytes());
            return Err(bad(format!(
                "storage {key} is said to be two different things"
            )));
        }
    }
    Ok(all)
}

/// The data, if they are as many as was said.
fn exact<'a>(key: &str, storage: Storage, data: &'a [u8]) -> Result<&'a [u8]> {
    let (length, bytes) = (storage.length, storage.number.bytes());
    if length.checked_mul(bytes) == Some(data.len()) {
        return Ok(data);
    }
    let key = shown(key.as_bytes());
    Err(bad(format!("storage {key} has another length"))
        .expected(format!("{length} numbers of {bytes} bytes"))
        .got(format!("{} bytes", data.len())))
}

/// The tensors of the dictionary of weights in what was saved.
fn contents<'a>(pickle: &Pickle, storages: &Storages<'_, 'a>) -> Result<Contents<'a>> {
    let (mut tensors, mut others) = (Vec::new(), Vec::new());
    // A long name that is used often would become many.
    let mut seen = HashSet::new();
    for &(key, place) in weights(pickle)? {
        let name = pickle.text(key)?;
        if !seen.insert(name) {
            return Err(twice(name));
        }
        let Value::Tensor(tensor) = pickle.values[place] else {
            others.push(name.into());
            continue;
        };
        let storage = pickle.storage(tensor.storage)?;
        let key = pickle.text(storage.key)?;
        let data = storages.get(key).copied();
        let data = data.ok_or_else(|| bad("a storage is missing").got(shown(key.as_bytes())))?;
        tensors.push(StoredTensor::view(
            name.into(),
            (storage.number, data),
            pickle.size(tensor.offset)?,
            pickle.sizes(tensor.shape)?,
            pickle.sizes(tensor.strides)?,
        )?);
    }
    Ok(Contents { tensors, others })
}

/// The dictionary of weights, out of what it is wrapped in.
fn weights(pickle: &Pickle) -> Result<&[(Place, Place)]> {
    let mut place = pickle.root;
    for _ in 0..MOST_WRAPPERS {
        let within = WRAPPERS.iter().find_map(|name| {
            let inner = pickle.entry(place, name)?;
            matches!(pickle.values[inner], Value::Dict(_)).then_some(inner)
        });
        match within {
            Some(inner) => place = inner,
            None => break,
        }
    }
    match &pickle.values[place] {
        Value::Dict(entries)
            if entries
                .iter()
                .any(|(_, value)| matches!(pickle.values[*value], Value::Tensor(_))) =>
        {
            Ok(entries)
        }
        _ => Err(bad("the file holds no weights by name").expected(format!(
            "a dictionary of tensors, or one under {}",
            WRAPPERS.join(", ")
        ))),
    }
}
