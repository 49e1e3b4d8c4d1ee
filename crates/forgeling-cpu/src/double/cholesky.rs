//! Symmetric positive definite systems of equations.

use macerator::Simd;

use super::dot::{GROUP, dots};
use super::each;
use super::triangle::{Rows, elements};

/// Rows whose columns before them are computed on several threads, before their own are on one.
const TALLEST: usize = 64;

/// Puts the lower triangle `L` with `L L^T = matrix` in the matrix's place. False, with values that mean nothing, where the
/// matrix is not positive definite as far as f64's rounding beside the diagonal can tell, or holds a value that is not
/// finite.
///
/// # Panics
/// When `matrix` is not a triangle of `width` rows.
pub fn cholesky(matrix: &mut [f64], width: usize) -> bool {
    assert_eq!(matrix.len(), elements(width));
    for first in (0..width).step_by(TALLEST) {
        let end = (first + TALLEST).min(width);
        let (above, own) = matrix[..elements(end)].split_at_mut(elements(first));
        let (above, work) = (&*above, (end - first) * elements(first));
        let rows = Rows {
            first,
            end,
            values: own,
        };
        each(rows.split(GROUP), work, |rows| {
            columns_before(above, first, rows)
        });
        if !own_columns(first, end, own) {
            return false;
        }
    }
    true
}

/// The elements of some rows in the columns of the rows above their block, of which there are `count`.
#[macerator::with_simd]
fn columns_before<'a, S: Simd>(above: &'a [f64], count: usize, rows: Rows<'a>) {
    let one_each = rows.split(1).into_iter().map(|row| row.values);
    match <[&mut [f64]; GROUP]>::try_from(one_each.collect::<Vec<_>>()) {
        Ok(rows) => eliminate(above, count, rows),
        Err(rows) => rows
            .into_iter()
            .for_each(|row| eliminate(above, count, [row])),
    }
}

/// `row[j] = (row[j] - sum_k<j row[k] above[j, k]) / above[j, j]`
#[inline(always)]
fn eliminate<const M: usize>(above: &[f64], count: usize, mut rows: [&mut [f64]; M]) {
    for j in 0..count {
        let (before, pivot) = (&above[elements(j)..][..j], above[elements(j) + j]);
        let sums = dots(rows.each_ref().map(|row| &row[..j]), before);
        for (row, sum) in rows.iter_mut().zip(sums) {
            row[j] = (row[j] - sum) / pivot;
        }
    }
}

/// The elements of rows `first..end` from column `first` on.
#[macerator::with_simd]
fn own_columns<S: Simd>(first: usize, end: usize, rows: &mut [f64]) -> bool {
    for i in first..end {
        let (above, row) = rows.split_at_mut(elements(i) - elements(first));
        let row = &mut row[..=i];
        for j in first..i {
            let other = &above[elements(j) - elements(first)..][..=j];
            let [sum] = dots([&row[..j]], &other[..j]);
            row[j] = (row[j] - sum) / other[j];
        }
        let [sum] = dots([&row[..i]], &row[..i]);
        let pivot = row[i] - sum;
        // False of NaN.
        if !(pivot > f64::EPSILON * row[i] && pivot < f64::INFINITY) {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

/// `x` with `L L^T x = b` in the place of each `b`, one after the other in `vectors`; `factor` is what [`cholesky`] left.
///
/// # Panics
/// When `factor` is not a triangle of `width` rows, or `vectors` not whole vectors of `width` values.
pub fn solve(factor: &[f64], width: usize, vectors: &mut [f64]) {
    assert_eq!(factor.len(), elements(width));
    if width == 0 {
        return;
    }
    assert!(vectors.len().is_multiple_of(width));
    let work = vectors.len() * width;
    let one_each = vectors.chunks_exact_mut(width).collect();
    each(one_each, work, |vector| solve_one(factor, vector));
}

#[macerator::with_simd]
fn solve_one<'a, S: Simd>(factor: &'a [f64], vector: &'a mut [f64]) {
    let row = |i: usize| (&factor[elements(i)..][..i], factor[elements(i) + i]);
    for i in 0..vector.len() {
        let (before, pivot) = row(i);
        let [sum] = dots([&vector[..i]], before);
        vector[i] = (vector[i] - sum) / pivot;
    }
    for i in (0..vector.len()).rev() {
        let (before, pivot) = row(i);
        vector[i] /= pivot;
        let value = vector[i];
        for (other, factor) in vector[..i].iter_mut().zip(before) {
            *other -= value * factor;
        }
    }
}
