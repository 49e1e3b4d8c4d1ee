//! Damages inputs at random, and counts the memory that reading them takes.

mod trial;

use std::fs;
use std::path::{Path, PathBuf};

use forgeling::data::Rng;
pub use trial::Trial;

/// Writes `root/name` and the folders it needs.
pub fn put(root: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// One of the samples, changed in one to three ways.
pub fn damaged(rng: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = samples[rng.below(samples.len())].clone();
    for _ in 0..=rng.below(3) {
        damage(rng, &mut bytes, samples);
    }
    bytes
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let (at, end) = range(rng, bytes.len());
    match rng.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
        1 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
        // Headers hold sizes of 1 to 8 bytes in either order.
        2 | 3 => {
            let word = extreme(rng);
            let word = match rng.below(2) {
                0 => word.to_le_bytes(),
                _ => word.to_be_bytes(),
            };
            let size = 1 << rng.below(4);
            let part = match word[0] {
                0 => &word[8 - size..],
                _ => &word[..size],
            };
            for (byte, &new) in bytes[at..].iter_mut().zip(part) {
                *byte = new;
            }
        }
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..end)),
        6 => {
            let copy = bytes[at..end].to_vec();
            let place = rng.below(bytes.len() + 1);
            bytes.splice(place..place, copy);
        }
        7 => {
            let value = [0, 0xff, b'0', b'['][rng.below(4)];
            bytes[at..end].fill(value);
        }
        8 => {
            let other = &samples[rng.below(samples.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[range(rng, other.len()).0..]);
        }
        _ => bytes.extend((0..rng.below(20)).map(|_| rng.next_u64() as u8)),
    }
}

/// Where a change begins, mostly near the start or the end, where headers are; and where it ends.
fn range(rng: &mut Rng, length: usize) -> (usize, usize) {
    let near = rng.below(length.min(64) + 1);
    let at = match rng.below(4) {
        0 | 1 => near,
        2 => length - near,
        _ => rng.below(length + 1),
    };
    let most = if rng.below(2) == 0 { 8 } else { length };
    (at, at + rng.below(most.min(length - at) + 1))
}

fn extreme(rng: &mut Rng) -> u64 {
    let edge = 1u64 << rng.below(64);
    match rng.below(4) {
        0 => edge,
        1 => edge.wrapping_sub(1),
        2 => u64::MAX - rng.below(3) as u64,
        _ => rng.below(300) as u64,
    }
}

/// Text with one or two of its numbers changed.
pub fn renumbered(rng: &mut Rng, text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..=rng.below(2) {
        let found = numbers(&text);
        if found.is_empty() {
            break;
        }
        let place = found[rng.below(found.len())].clone();
        let new = match rng.below(6) {
            0 => "-1".into(),
            1 => "1.5".into(),
            2 => "1e300".into(),
            3 => "[]".into(),
            _ => extreme(rng).to_string(),
        };
        text.replace_range(place, &new);
    }
    text
}

/// Where whole numbers stand in a text.
pub fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for (index, byte) in text.bytes().chain([b' ']).enumerate() {
        match (byte.is_ascii_digit(), start) {
            (true, None) => start = Some(index),
            (false, Some(begun)) => {
                found.push(begun..index);
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// Splits the bytes of a safetensors file into header and values.
pub fn split_header(bytes: &[u8]) -> (&str, &[u8]) {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (std::str::from_utf8(header).unwrap(), values)
}

/// A safetensors file of a header and values.
pub fn join_header(header: &str, values: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), values].concat()
}

/// Bytes with the checksum of a checkpoint, CRC-64/XZ, at their end.
pub fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some((rest, sum)) = bytes.split_last_chunk_mut::<8>() {
        let mut crc = !0u64;
        for &byte in rest.iter() {
            crc ^= u64::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xc96c_5795_d787_0f42 * (crc & 1));
            }
        }
        *sum = (!crc).to_le_bytes();
    }
    bytes
}

/// A PNG with the checksum of each chunk that is whole.
pub fn with_png_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let end = (at + 8).saturating_add(u32::from_be_bytes(*length) as usize);
        let Some(content) = bytes.get(at + 4..end) else {
            break;
        };
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let sum = crc.sum().to_be_bytes();
        let Some(place) = bytes.get_mut(end..end + 4) else {
            break;
        };
        place.copy_from_slice(&sum);
        at = end + 4;
    }
    bytes
}

/// A progressive JPEG, 20 × 12, which the encoder at hand cannot write.
pub fn progressive_jpeg() -> Vec<u8> {
    unhex(
        "ffd8ffe000104a46494600010100000100010000ffdb0043001b12141714111b1716171e1c1b2028422b28252528513a3d3042605565645f \
         555d5b6a7899816a7190735b5d85b586909ea3abadab6780bcc9baa6c799a8aba4ffdb0043011c1e1e2823284e2b2b4ea46e5d6ea4a4a4a4 \
         a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4ffc2001108000c001403 \
         012200021101031101ffc400160001010100000000000000000000000000030400ffc4001501010100000000000000000000000000000204 \
         ffda000c03010002100310000001919d489b59855fffc4001810010101010100000000000000000000000001021112ffda00080101000105 \
         02984c3c2448e3ffc4001811000203000000000000000000000000000001020313ffda0008010301013f01858cd19fffc400161101010100 \
         000000000000000000000000000112ffda0008010201013f0195b7ffc40014100100000000000000000000000000000020ffda0008010100 \
         063f025fffc4001810010100030000000000000000000000000100101151ffda0008010100013f21c069c8a2605fffda000c030100020003 \
         00000010a72fffc400161101010100000000000000000000000000000111ffda0008010301013f106983ffc4001811010101010100000000 \
         000000000000000111002131ffda0008010201013f101853ae45f37fffc4001b100003000203000000000000000000000000011121314171 \
         91ffda0008010100013f10b702656850dbc31b030ad0c2bae8ffd9",
    )
}

/// A lossy WebP, 20 × 12, likewise.
pub fn lossy_webp() -> Vec<u8> {
    unhex(
        "524946467a00000057454250565038206e000000f003009d012a14000c002ed188c462242c2c2c0c00d04b6004e99423b916000df3a12b3b \
         64c4120000fef49f97f048eb02c2fe198c4718ec680fb3b7651807b174969a9723b596760f5ec912220d2f0d1f22738521ff81517856379a \
         84d2548de4b47789e23edebabe1100c00000",
    )
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| d as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| 16 * pair[0] + pair[1])
        .collect()
}
