//! Sums of products of two rows.

use macerator::Simd;

use super::each;

/// Partial sums, each of every eighth product.
const SUMS: usize = 8;
/// Rows that are multiplied with the same row at once.
pub(super) const GROUP: usize = 4;
/// Rows that a thread takes at once.
const TALLEST: usize = 64;

/// Of several rows with one: eight partial sums of each, which are added up in pairs, and the rest after them.
#[inline(always)]
pub(super) fn dots<const M: usize>(a: [&[f64]; M], b: &[f64]) -> [f64; M] {
    let (chunks, rest) = b.as_chunks::<SUMS>();
    let a = a.map(|row| row[..b.len()].as_chunks::<SUMS>());
    let mut sums = [[0.0; SUMS]; M];
    for (k, b) in chunks.iter().enumerate() {
        for (sums, (a, _)) in sums.iter_mut().zip(&a) {
            for ((sum, a), b) in sums.iter_mut().zip(&a[k]).zip(b) {
                *sum += a * b;
            }
        }
    }
    let mut totals = [0.0; M];
    for ((total, s), (_, a)) in totals.iter_mut().zip(sums).zip(&a) {
        *total = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        for (a, b) in a.iter().zip(rest) {
            *total += a * b;
        }
    }
    totals
}

/// `scores[r, c] = biases[c] + sum_k rows[r, k] weights[c, k]`
///
/// # Panics
/// When the lengths do not fit.
pub fn scores(rows: &[f32], weights: &[f64], biases: &[f64], scores: &mut [f64]) {
    let classes = biases.len();
    if classes == 0 || weights.is_empty() {
        return;
    }
    let width = weights.len() / classes;
    assert_eq!(weights.len(), classes * width);
    assert_eq!(rows.len() * classes, scores.len() * width);
    let work = rows.len() * classes;
    let rows = rows.chunks(TALLEST * width);
    let blocks = rows.zip(scores.chunks_mut(TALLEST * classes)).collect();
    each(blocks, work, |(rows, out)| {
        block(rows, weights, biases, out)
    });
}

#[macerator::with_simd]
fn block<'a, S: Simd>(rows: &'a [f32], weights: &'a [f64], biases: &'a [f64], out: &'a mut [f64]) {
    let width = weights.len() / biases.len();
    let mut exact = vec![0.0; width];
    for (row, out) in rows
        .chunks_exact(width)
        .zip(out.chunks_exact_mut(biases.len()))
    {
        for (to, from) in exact.iter_mut().zip(row) {
            *to = f64::from(*from);
        }
        out.copy_from_slice(biases);
        let classes = out.chunks_mut(GROUP).zip(weights.chunks(GROUP * width));
        for (out, weights) in classes {
            let class = |c: usize| &weights[c * width..][..width];
            if out.len() == GROUP {
                let found = dots::<GROUP>(std::array::from_fn(class), &exact);
                out.iter_mut().zip(found).for_each(|(out, sum)| *out += sum);
            } else {
                for (c, out) in out.iter_mut().enumerate() {
                    *out += dots([class(c)], &exact)[0];
                }
            }
        }
    }
}
