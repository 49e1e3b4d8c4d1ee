//! Forward: scores, softmax and the mean of the values, block by block.

use macerator::Simd;

use super::super::exp::exp;
use super::super::moments::sum;
use super::super::parallel;
use super::super::products::{Left, multiply};
use super::tokens::{Room, Rows, Tokens, padded, unpack};
use super::{AttentionShape, BLOCK};

/// The output, which lies as `[batch, query, head, width]` if `tokens_first`, and the log-sum-exp of each query's
/// scores.
pub fn forward(
    q: Tokens<'_>,
    k: Tokens<'_>,
    v: Tokens<'_>,
    shape: AttentionShape,
    tokens_first: bool,
) -> (Vec<f32>, Vec<f32>) {
    let heads = [shape.batches, shape.heads];
    let mut room = Room::new(heads, shape.queries, shape.width, tokens_first);
    let mut lse = vec![0.0; shape.batches * shape.heads * shape.queries];
    let work = shape
        .all_heads()
        .into_iter()
        .zip(room.of_heads())
        .zip(lse.chunks_exact_mut(shape.queries))
        .collect();
    type Work<'a> = (([usize; 2], Vec<&'a mut [f32]>), &'a mut [f32]);
    parallel::map(work, |((head, rows), lse): Work<'_>| {
        let line = padded(shape.width);
        let mut out = vec![0.0; shape.queries * line];
        attend(
            q.head(head),
            k.head(head),
            v.head(head),
            shape,
            &mut out,
            lse,
        );
        unpack(&out, line, rows);
    });
    (room.values, lse)
}

#[macerator::with_simd]
fn attend<'a, S: Simd>(
    q: Rows<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    shape: AttentionShape,
    out: &mut [f32],
    lse: &mut [f32],
) {
    let (keys, width) = (shape.keys, shape.width);
    let (row, line) = (padded(keys), padded(width));
    let keys_turned = k.transposed(keys, width, row);
    let values = v.packed(keys, width, line);
    let mut scores = vec![0.0; BLOCK.min(shape.queries) * row];
    let blocks = out.chunks_mut(BLOCK * line).zip(lse.chunks_mut(BLOCK));
    for (block, (out, lse)) in blocks.enumerate() {
        let first = block * BLOCK;
        let rows = lse.len();
        let most = shape.seen(first + rows - 1);
        let sizes = [rows, width, padded(most)];
        multiply::<S>(q.left(first), &keys_turned, &mut scores, sizes, row, false);
        let mut shares = [0.0; BLOCK];
        for (index, scores) in scores.chunks_exact_mut(row).take(rows).enumerate() {
            let scores = &mut scores[..padded(most)];
            let (largest, total) = powers(scores, shape.seen(first + index), shape.scale);
            lse[index] = largest + total.ln();
            shares[index] = 1.0 / total;
        }
        let left = Left {
            values: &scores,
            row,
            inner: 1,
        };
        multiply::<S>(left, &values, out, [rows, most, line], line, false);
        for (out, share) in out.chunks_exact_mut(line).zip(shares) {
            for value in out {
                *value *= share;
            }
        }
    }
}

/// `exp(scale score - largest)` of the scores that are seen, and 0 for the others; the largest scaled score, and the
/// sum.
#[inline(always)]
fn powers(scores: &mut [f32], seen: usize, scale: f32) -> (f32, f32) {
    let (own, others) = scores.split_at_mut(seen);
    for score in own {
        *score *= scale;
    }
    others.fill(f32::NEG_INFINITY);
    let largest = largest(scores);
    // NaN, which the largest may lack, comes back with its own power.
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
    }
    (largest, sum(scores, |power| power))
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    let larger = |most: f32, value: f32| if value > most { value } else { most };
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, larger)
}
