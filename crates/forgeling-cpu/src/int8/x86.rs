//! Products with AVX-512 VNNI, AVX-VNNI and AVX2.

use std::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm_set1_epi32, _mm256_add_epi32, _mm256_cvtepi8_epi16,
    _mm256_cvtepu8_epi16, _mm256_dpbusd_avx_epi32, _mm256_hadd_epi32, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::kernel::{ROWS, Sums, Tile};
use super::packed::BLOCK;

/// Calls the function for so many rows.
macro_rules! by_rows {
    ($tile:expr, $sums:expr, $rows:expr, $function:ident, $($count:literal)*) => {
        match $rows {
            $($count => $function::<$count>($tile, 0, $sums),)*
            _ => {}
        }
    };
}

/// The four bytes at a place.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn quad(x: *const u8) -> i32 {
    // SAFETY: the caller says so; any alignment will do.
    unsafe { x.cast::<i32>().read_unaligned() }
}

/// # Safety
/// The machine has AVX-512 VNNI, and the tile reads what is there.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn avx512_vnni(tile: &Tile<'_>, sums: &mut Sums) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn rows<const N: usize>(tile: &Tile<'_>, first: usize, sums: &mut Sums) {
        // SAFETY: as above.
        unsafe {
            let x: [*const u8; N] =
                std::array::from_fn(|row| tile.x.as_ptr().add(tile.rows[first + row]));
            let mut weights = tile.weights.as_ptr();
            let mut all: [__m512i; N] = [_mm512_setzero_si512(); N];
            for run in tile.runs {
                for at in 0..tile.quads {
                    let w = _mm512_loadu_si512(weights.cast());
                    weights = weights.add(4 * BLOCK);
                    for (sum, x) in all.iter_mut().zip(x) {
                        let x = _mm512_set1_epi32(quad(x.add(run + 4 * at)));
                        *sum = _mm512_dpbusd_epi32(*sum, x, w);
                    }
                }
            }
            for (sums, all) in sums[first..].iter_mut().zip(all) {
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), all);
            }
        }
    }
    // SAFETY: as above.
    unsafe { by_rows!(tile, sums, tile.rows.len(), rows, 1 2 3 4 5 6 7 8) }
}

/// # Safety
/// The machine has AVX-VNNI, and the tile reads what is there.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) unsafe fn avx_vnni(tile: &Tile<'_>, sums: &mut Sums) {
    #[target_feature(enable = "avx2,avxvnni")]
    unsafe fn rows<const N: usize>(tile: &Tile<'_>, first: usize, sums: &mut Sums) {
        // SAFETY: as above.
        unsafe {
            let x: [*const u8; N] =
                std::array::from_fn(|row| tile.x.as_ptr().add(tile.rows[first + row]));
            let mut weights = tile.weights.as_ptr();
            let mut all: [[__m256i; 2]; N] = [[_mm256_setzero_si256(); 2]; N];
            for run in tile.runs {
                for at in 0..tile.quads {
                    let w = [0, 32].map(|half| _mm256_loadu_si256(weights.add(half).cast()));
                    weights = weights.add(4 * BLOCK);
                    for (sums, x) in all.iter_mut().zip(x) {
                        let x = _mm256_set1_epi32(quad(x.add(run + 4 * at)));
                        for (sum, w) in sums.iter_mut().zip(w) {
                            *sum = _mm256_dpbusd_avx_epi32(*sum, x, w);
                        }
                    }
                }
            }
            for (sums, all) in sums[first..].iter_mut().zip(all) {
                for (sums, half) in sums.chunks_exact_mut(8).zip(all) {
                    _mm256_storeu_si256(sums.as_mut_ptr().cast(), half);
                }
            }
        }
    }
    let mut first = 0;
    while first < tile.rows.len() {
        let count = (tile.rows.len() - first).min(4);
        // SAFETY: as above.
        unsafe {
            match count {
                4 => rows::<4>(tile, first, sums),
                3 => rows::<3>(tile, first, sums),
                2 => rows::<2>(tile, first, sums),
                _ => rows::<1>(tile, first, sums),
            }
        }
        first += count;
    }
}

/// # Safety
/// The machine has AVX2, and the tile reads what is there.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(tile: &Tile<'_>, sums: &mut Sums) {
    #[target_feature(enable = "avx2")]
    unsafe fn rows<const N: usize>(tile: &Tile<'_>, first: usize, sums: &mut Sums) {
        // SAFETY: as above.
        unsafe {
            let x: [*const u8; N] =
                std::array::from_fn(|row| tile.x.as_ptr().add(tile.rows[first + row]));
            let mut weights = tile.weights.as_ptr();
            // Of each output two sums side by side.
            let mut all: [[__m256i; 4]; N] = [[_mm256_setzero_si256(); 4]; N];
            for run in tile.runs {
                for at in 0..tile.quads {
                    let x = x.map(|x| {
                        let x = _mm_set1_epi32(quad(x.add(run + 4 * at)));
                        _mm256_cvtepu8_epi16(x)
                    });
                    for part in 0..4 {
                        let w = _mm_loadu_si128(weights.add(16 * part).cast());
                        let w = _mm256_cvtepi8_epi16(w);
                        for (sums, x) in all.iter_mut().zip(x) {
                            let product = _mm256_madd_epi16(x, w);
                            sums[part] = _mm256_add_epi32(sums[part], product);
                        }
                    }
                    weights = weights.add(4 * BLOCK);
                }
            }
            for (sums, all) in sums[first..].iter_mut().zip(all) {
                for (half, sums) in sums.chunks_exact_mut(8).enumerate() {
                    let both = _mm256_hadd_epi32(all[2 * half], all[2 * half + 1]);
                    // Outputs 0, 1, 4, 5, 2, 3, 6, 7.
                    let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
                    _mm256_storeu_si256(sums.as_mut_ptr().cast(), both);
                }
            }
        }
    }
    let mut first = 0;
    while first < tile.rows.len().min(ROWS) {
        let count = (tile.rows.len() - first).min(2);
        // SAFETY: as above.
        unsafe {
            match count {
                2 => rows::<2>(tile, first, sums),
                _ => rows::<1>(tile, first, sums),
            }
        }
        first += count;
    }
}
