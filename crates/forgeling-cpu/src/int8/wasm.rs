//! Products with simd128.

use std::arch::wasm32::{
    i16x8_load_extend_i8x8, i32x4_add, i32x4_dot_i16x8, i32x4_shuffle, i32x4_splat,
    u16x8_extend_low_u8x16, v128, v128_store,
};

use super::kernel::{Sums, Tile};
use super::packed::BLOCK;

/// # Safety
/// The tile reads what is there.
pub(super) unsafe fn simd128(tile: &Tile<'_>, sums: &mut Sums) {
    for (row, sums) in tile.rows.iter().zip(sums) {
        // SAFETY: as above.
        unsafe {
            let x = tile.x.as_ptr().add(*row);
            let mut weights = tile.weights.as_ptr();
            // Of each output two sums side by side.
            let mut all: [v128; 8] = [i32x4_splat(0); 8];
            for run in tile.runs {
                for at in 0..tile.quads {
                    let quad = x.add(run + 4 * at).cast::<i32>().read_unaligned();
                    let x = u16x8_extend_low_u8x16(i32x4_splat(quad));
                    for (part, sum) in all.iter_mut().enumerate() {
                        let w = i16x8_load_extend_i8x8(weights.add(8 * part));
                        *sum = i32x4_add(*sum, i32x4_dot_i16x8(x, w));
                    }
                    weights = weights.add(4 * BLOCK);
                }
            }
            for (pair, sums) in all.as_chunks::<2>().0.iter().zip(sums.chunks_exact_mut(4)) {
                let even = i32x4_shuffle::<0, 2, 4, 6>(pair[0], pair[1]);
                let odd = i32x4_shuffle::<1, 3, 5, 7>(pair[0], pair[1]);
                v128_store(sums.as_mut_ptr().cast(), i32x4_add(even, odd));
            }
        }
    }
}
