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
        let riff = b"RIFF\x08\0\0\0WEBPVP8 ";
        assert!(webp("test", riff).is_ok() && webp("test", &riff[..15]).is_err());
    }
}
