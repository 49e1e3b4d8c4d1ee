//! Products without instructions of their own.

use super::kernel::{Sums, Tile};
use super::packed::{BLOCK, TERMS};

/// The sums of a tile.
pub(super) fn multiply(tile: &Tile<'_>, sums: &mut Sums) {
    for (row, sums) in tile.rows.iter().zip(sums) {
        *sums = [0; BLOCK];
        let mut weights = tile.weights.chunks_exact(BLOCK * TERMS);
        for run in tile.runs {
            let x = &tile.x[row + run..][..TERMS * tile.quads];
            for (x, weights) in x.as_chunks::<TERMS>().0.iter().zip(&mut weights) {
                let x = x.map(i32::from);
                for (sum, w) in sums.iter_mut().zip(weights.as_chunks::<TERMS>().0) {
                    let w = w.map(i32::from);
                    *sum += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
                }
            }
        }
    }
}
