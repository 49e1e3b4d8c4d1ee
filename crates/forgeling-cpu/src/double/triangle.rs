//! A symmetric matrix of which the lower triangle is kept, row after row.

use macerator::{Scalar, Simd};

use super::each;

/// Columns side by side in a packed panel.
const PANEL: usize = 8;
/// Rows that are packed at once, so that a panel of them stays in the nearest cache.
const DEEPEST: usize = 256;
/// Rows of the matrix that a thread takes at once, a multiple of [`PANEL`].
const TALLEST: usize = 64;

/// How many elements a triangle of `width` rows has, and where row `width` of a larger one begins: element `(i, j)` with
/// `j <= i` is the one after `elements(i) + j` others.
pub const fn elements(width: usize) -> usize {
    width * (width + 1) / 2
}

/// Some rows of a triangle.
pub(super) struct Rows<'a> {
    pub first: usize,
    pub end: usize,
    /// Of these rows only.
    pub values: &'a mut [f64],
}

impl<'a> Rows<'a> {
    /// So many rows at a time.
    pub fn split(self, height: usize) -> Vec<Self> {
        let mut rest = self.values;
        let firsts = (self.first..self.end).step_by(height);
        let parts = firsts.map(|first| {
            let end = (first + height).min(self.end);
            let count = elements(end) - elements(first);
            let (values, others) = std::mem::take(&mut rest).split_at_mut(count);
            rest = others;
            Self { first, end, values }
        });
        parts.collect()
    }
}

/// `matrix[i, j] += sum_k rows[k, i] rows[k, j]`, summed in the order of `k`, 256 at a time.
///
/// # Panics
/// When `matrix` is not a triangle of `width` rows, or `rows` not whole rows of `width` values.
pub fn add_products(rows: &[f64], width: usize, matrix: &mut [f64]) {
    assert_eq!(matrix.len(), elements(width));
    if width == 0 {
        return;
    }
    assert!(rows.len().is_multiple_of(width));
    for rows in rows.chunks(DEEPEST * width) {
        let depth = rows.len() / width;
        let packed = pack(rows, width, depth);
        let whole = Rows {
            first: 0,
            end: width,
            values: matrix,
        };
        let work = depth * elements(width);
        each(whole.split(TALLEST), work, |rows| add(&packed, depth, rows));
    }
}

/// Columns in panels, one panel after the other, the last one filled up with zeros.
fn pack(rows: &[f64], width: usize, depth: usize) -> Vec<f64> {
    let mut packed = vec![0.0; width.div_ceil(PANEL) * PANEL * depth];
    for (place, panel) in packed.chunks_exact_mut(PANEL * depth).enumerate() {
        let columns = place * PANEL..width.min((place + 1) * PANEL);
        for (to, row) in panel.chunks_exact_mut(PANEL).zip(rows.chunks_exact(width)) {
            to[..columns.len()].copy_from_slice(&row[columns.clone()]);
        }
    }
    packed
}

#[macerator::with_simd]
fn add<'a, S: Simd>(packed: &'a [f64], depth: usize, rows: Rows<'a>) {
    // As many sums as the registers hold.
    if f64::lanes::<S>() >= 8 {
        add_tiles::<PANEL>(packed, depth, rows);
    } else {
        add_tiles::<{ PANEL / 2 }>(packed, depth, rows);
    }
}

#[inline(always)]
fn add_tiles<const M: usize>(packed: &[f64], depth: usize, rows: Rows<'_>) {
    let panel = |place: usize| &packed[place * PANEL * depth..][..PANEL * depth];
    for column in (0..rows.end).step_by(PANEL) {
        let right = panel(column / PANEL);
        // Tiles above the diagonal are left out.
        let first = rows.first.max(column);
        for row in (first..rows.end).step_by(M) {
            let sums = tile::<M>(panel(row / PANEL), row % PANEL, right);
            for (row, sums) in (row..rows.end).zip(sums) {
                let length = PANEL.min(row + 1 - column);
                let from = elements(row) - elements(rows.first) + column;
                for (value, sum) in rows.values[from..][..length].iter_mut().zip(sums) {
                    *value += sum;
                }
            }
        }
    }
}

/// `M` columns of one panel, from `offset` on, times all of another.
#[inline(always)]
fn tile<const M: usize>(left: &[f64], offset: usize, right: &[f64]) -> [[f64; PANEL]; M] {
    let mut sums = [[0.0; PANEL]; M];
    // What it is anyway, so that the compiler sees that it is in range.
    let offset = offset.min(PANEL - M);
    let (left, right) = (left.as_chunks().0, right.as_chunks().0);
    for (left, right) in left.iter().zip(right) {
        let (left, right): (&[f64; PANEL], &[f64; PANEL]) = (left, right);
        for (m, sums) in sums.iter_mut().enumerate() {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += left[offset + m] * right;
            }
        }
    }
    sums
}
