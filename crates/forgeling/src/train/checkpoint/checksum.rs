//! CRC-64/XZ, the checksum of .xz files: polynomial 0x42F0E1EBA9EA3693, reflected, with ones before and after.
//!
//! It finds every change of up to 64 bits in a row, and any other but one in 2^64.

use std::sync::LazyLock;

/// The polynomial, reflected.
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// A checksum after one more bit that is zero.
fn shifted(crc: u64) -> u64 {
    (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg())
}

/// What a byte becomes that is followed by 0 to 7 others.
static TABLES: LazyLock<[[u64; 256]; 8]> = LazyLock::new(|| {
    let last: [u64; 256] =
        std::array::from_fn(|byte| (0..8).fold(byte as u64, |crc, _| shifted(crc)));
    let mut tables = [last; 8];
    for table in 1..8 {
        tables[table] = tables[table - 1].map(|crc| (crc >> 8) ^ last[(crc & 0xff) as usize]);
    }
    tables
});

/// The checksum of `bytes`, eight at a time.
pub(super) fn crc64(bytes: &[u8]) -> u64 {
    let tables = &*TABLES;
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut crc = u64::MAX;
    for chunk in chunks {
        let bytes = (crc ^ u64::from_le_bytes(*chunk)).to_le_bytes();
        let parts = bytes.iter().zip(tables.iter().rev());
        crc = parts.fold(0, |crc, (byte, table)| crc ^ table[usize::from(*byte)]);
    }
    for byte in rest {
        crc = (crc >> 8) ^ tables[0][usize::from(crc as u8 ^ byte)];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_catalogue() {
        // https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-64-xz
        assert_eq!(crc64(b"123456789"), 0x995D_C9BB_DF19_39FA);
        assert_eq!(crc64(b""), 0);
    }

    #[test]
    fn eight_bytes_at_a_time_are_as_one() {
        let bytes: Vec<u8> = (0..100u32).map(|i| (i * 37 + 11) as u8).collect();
        for length in 0..bytes.len() {
            let mut crc = u64::MAX;
            for byte in &bytes[..length] {
                crc ^= u64::from(*byte);
                crc = (0..8).fold(crc, |crc, _| shifted(crc));
            }
            assert_eq!(crc64(&bytes[..length]), !crc);
        }
    }
}
