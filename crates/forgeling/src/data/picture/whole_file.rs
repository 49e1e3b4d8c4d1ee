//! Whether a file ends where it should. Decoders of these formats fill what is missing with gray.

use crate::error::{Error, Result};

/// A JPEG from its first marker to its last.
///
/// # Errors
/// When the bytes end before the end-of-image marker (ITU-T T.81, annex B).
pub(super) fn jpeg(operation: &'static str, bytes: &[u8]) -> Result<()> {
    const END: u8 = 0xd9;
    const SCAN: u8 = 0xda;
    let cut = || {
        Error::bad_data(operation, "the JPEG ends early")
            .expected("an end-of-image marker")
            .got(format!("{} bytes without one", bytes.len()))
    };
    // Behind the start-of-image marker.
    let mut place = 2;
    loop {
        // Segments begin with 0xff, which may be repeated.
        while bytes.get(place).ok_or_else(cut)? != &0xff {
            place += 1;
        }
        while bytes.get(place).ok_or_else(cut)? == &0xff {
            place += 1;
        }
        let marker = bytes[place];
        place += 1;
        match marker {
            END => return Ok(()),
            // A stuffed 0xff, restarts and markers without a length.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => {
                let length = bytes.get(place..place + 2).ok_or_else(cut)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                place += length.max(2);
                if marker == SCAN {
                    // Entropy-coded bytes follow, up to the next marker.
                    continue;
                }
                if bytes.len() < place {
                    return Err(cut());
                }
            }
        }
    }
}

/// A RIFF container as long as its header says.
///
/// # Errors
/// When bytes are missing.
pub(super) fn webp(operation: &'static str, bytes: &[u8]) -> Result<()> {
    let size = bytes.get(4..8).map(|size| {
        let size = [size[0], size[1], size[2], size[3]];
        u64::from(u32::from_le_bytes(size)) + 8
    });
    match size {
        Some(size) if size <= bytes.len() as u64 => Ok(()),
        _ => Err(Error::bad_data(operation, "the WebP ends early")
            .expected(size.map_or("a header".into(), |size| format!("{size} bytes")))
            .got(format!("{} bytes", bytes.len()))),
    }
}

/// A TIFF (revision 6.0, or BigTIFF) whose first image's values lie within the file, and whose rows have a length that a
/// decoder may be trusted with: it makes room for one of a tile before it looks whether there are such bytes.
///
/// # Errors
/// When values lie beyond the end, or tiles and samples are out of range.
pub(super) fn tiff(operation: &'static str, bytes: &[u8]) -> Result<()> {
    /// Tags with a single number, and the most it may be.
    const RANGES: [(u64, u64, &str); 3] = [
        (277, 16, "samples of a pixel"),
        (322, 1 << 16, "columns of a tile"),
        (323, 1 << 16, "rows of a tile"),
    ];
    let file = Numbers::new(bytes);
    let cut =
        || Error::bad_data(operation, "the TIFF ends early").got(format!("{} bytes", bytes.len()));
    let big = file.number(2, 2).ok_or_else(cut)? == 43;
    // Bytes of an offset, of a count of entries, and of an entry.
    let (offset, counting, entry) = if big { (8, 8, 20) } else { (4, 2, 12) };
    let first = file.number(if big { 8 } else { 4 }, offset);
    let first = first.ok_or_else(cut)?;
    let entries = file.number(first, counting).ok_or_else(cut)?;
    for index in 0..entries {
        let at = index
            .checked_mul(entry)
            .and_then(|ahead| ahead.checked_add(first)?.checked_add(counting))
            .ok_or_else(cut)?;
        let (tag, kind) = (file.number(at, 2), file.number(at + 2, 2));
        let (tag, kind) = tag.zip(kind).ok_or_else(cut)?;
        let count = file.number(at + 4, offset).ok_or_else(cut)?;
        let value = at + 4 + offset;
        let width: u64 = match kind {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            _ => 1,
        };
        let size = count.saturating_mul(width);
        if size > offset {
            let place = file.number(value, offset).ok_or_else(cut)?;
            if place.saturating_add(size) > bytes.len() as u64 {
                return Err(cut().expected(format!("{size} bytes of tag {tag}")));
            }
        }
        let range = RANGES.iter().find(|(name, ..)| *name == tag);
        if let Some((_, most, what)) = range {
            let found = file.number(value, width.min(offset)).ok_or_else(cut)?;
            if found > *most {
                let message = format!("the TIFF has too many {what}");
                let error = Error::bad_data(operation, message);
                return Err(error.expected(format!("at most {most}")).got(found));
            }
        }
    }
    Ok(())
}

/// Whole numbers of a TIFF in its byte order.
struct Numbers<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> Numbers<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let little = bytes.starts_with(b"II");
        Self { bytes, little }
    }

    /// The number of so many bytes, at most 8, at a place.
    fn number(&self, place: u64, width: u64) -> Option<u64> {
        let from = usize::try_from(place).ok()?;
        let found = self.bytes.get(from..from.checked_add(width as usize)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.little {
            found.iter().rev().fold(0, add)
        } else {
            found.iter().fold(0, add)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ones_pass() {
        // Start, a segment with a thumbnail's end inside, a scan with a stuffed byte and a restart, the end.
        let whole = [
            &[0xff, 0xd8][..],
            &[0xff, 0xe1, 0, 6, 0xff, 0xd9, 1, 2],
            &[0xff, 0xda, 0, 3, 1],
            &[7, 0xff, 0, 9, 0xff, 0xd0, 4, 0xff, 0xd9],
        ]
        .concat();
        for length in 2..whole.len() {
            let error = jpeg("test", &whole[..length]).unwrap_err();
            assert!(error.to_string().contains("ends early"), "{length}");
        }
        assert!(jpeg("test", &whole).is_ok());
        assert!(jpeg("test", &[whole, vec![1, 2, 3]].concat()).is_ok());
        // Two entries: 3 samples of a pixel, and 4 shorts at 34.
        let entries =
            b"\x02\0\x15\x01\x03\0\x01\0\0\0\x03\0\0\0\x02\x01\x03\0\x04\0\0\0\x26\0\0\0\0\0\0\0";
        let mut file = [
            b"II*\0\x08\0\0\0".as_slice(),
            entries,
            &[8, 0, 8, 0, 8, 0, 8, 0],
        ]
        .concat();
        assert!(tiff("test", &file).is_ok());
        for length in 0..file.len() {
            assert!(tiff("test", &file[..length]).is_err(), "{length}");
        }
        file[18] = 17;
        let error = tiff("test", &file).unwrap_err();
        assert!(error.to_string().contains("samples of a pixel"), "{error}");
        let riff = b"RIFF\x08\0\0\0WEBPVP8 ";
        assert!(webp("test", riff).is_ok() && webp("test", &riff[..15]).is_err());
    }
}
