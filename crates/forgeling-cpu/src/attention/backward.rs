//! Backward: the scores again from their log-sum-exp, and the gradients, block by block.

use macerator::Simd;

use super::super::exp::exp;
use super::super::moments::dot;
use super::super::parallel;
use super::super::products::{Left, multiply};
use super::tokens::{Room, Rows, Tokens, padded, unpack};
use super::{AttentionShape, BLOCK};

/// The gradients of queries, keys and values, each with its tokens first or not; `tokens` are the queries, keys, values,
/// the output and its gradient.
pub fn backward(
    tokens: [Tokens<'_>; 5],
    lse: &[f32],
    shape: AttentionShape,
    tokens_first: [bool; 3],
) -> [Vec<f32>; 3] {
    let heads = [shape.batches, shape.heads];
    let room = |count, first| Room::new(heads, count, shape.width, first);
    let mut dq = room(shape.queries, tokens_first[0]);
    let mut dk = room(shape.keys, tokens_first[1]);
    let mut dv = room(shape.keys, tokens_first[2]);
    let rows = dq.of_heads().into_iter().zip(dk.of_heads());
    let rows = rows.zip(dv.of_heads());
    let work = shape
        .all_heads()
        .into_iter()
        .zip(lse.chunks_exact(shape.queries))
        .zip(rows)
        .collect();
    type Rows3<'a> = ((Vec<&'a mut [f32]>, Vec<&'a mut [f32]>), Vec<&'a mut [f32]>);
    type Work<'a> = (([usize; 2], &'a [f32]), Rows3<'a>);
    parallel::map(work, |((head, lse), ((dq, dk), dv)): Work<'_>| {
        let line = padded(shape.width);
        let mut gradients = [shape.queries, shape.keys, shape.keys].map(|n| vec![0.0; n * line]);
        flow_back(tokens.map(|t| t.head(head)), lse, shape, &mut gradients);
        for (rows, gradient) in [dq, dk, dv].into_iter().zip(&gradients) {
            unpack(gradient, line, rows);
        }
    });
    [dq.values, dk.values, dv.values]
}

#[macerator::with_simd]
fn flow_back<'a, S: Simd>(
    tokens: [Rows<'a>; 5],
    lse: &[f32],
    shape: AttentionShape,
    gradients: &mut [Vec<f32>; 3],
) {
    let [q, k, v, out, dout] = tokens;
    let [dq, dk, dv] = gradients;
    let (keys, width) = (shape.keys, shape.width);
    let (row, line) = (padded(keys), padded(width));
    let keys_turned = k.transposed(keys, width, row);
    let values_turned = v.transposed(keys, width, row);
    let keys_packed = k.packed(keys, width, line);
    let most_rows = BLOCK.min(shape.queries);
    let mut scores = vec![0.0; most_rows * row];
    let mut slopes = vec![0.0; most_rows * row];
    let mut packed = vec![0.0; most_rows * line];
    let blocks = dq.chunks_mut(BLOCK * line).zip(lse.chunks(BLOCK));
    for (block, (dq, lse)) in blocks.enumerate() {
        let first = block * BLOCK;
        let rows = lse.len();
        let most = shape.seen(first + rows - 1);
        let sizes = [rows, width, padded(most)];
        multiply::<S>(q.left(first), &keys_turned, &mut scores, sizes, row, false);
        multiply::<S>(
            dout.left(first),
            &values_turned,
            &mut slopes,
            sizes,
            row,
            false,
        );
        let all = scores
            .chunks_exact_mut(row)
            .zip(slopes.chunks_exact_mut(row));
        for (index, ((scores, slopes), lse)) in all.zip(lse).enumerate() {
            let query = first + index;
            let mean = dot(dout.row(query, width), out.row(query, width));
            let (scores, unseen) = scores.split_at_mut(shape.seen(query));
            let (slopes, unseen_slopes) = slopes.split_at_mut(scores.len());
            for (score, slope) in scores.iter_mut().zip(slopes) {
                *score = exp(*score * shape.scale - lse);
                *slope = *score * (*slope - mean) * shape.scale;
            }
            unseen.fill(0.0);
            unseen_slopes.fill(0.0);
        }
        let left = Left {
            values: &slopes,
            row,
            inner: 1,
        };
        multiply::<S>(left, &keys_packed, dq, [rows, most, line], line, false);
        // Keys are the rows now.
        let turned = |values| Left {
            values,
            row: 1,
            inner: row,
        };
        let sizes = [most, rows, line];
        q.pack(first, rows, width, line, &mut packed);
        multiply::<S>(turned(&slopes), &packed, dk, sizes, line, true);
        dout.pack(first, rows, width, line, &mut packed);
        multiply::<S>(turned(&scores), &packed, dv, sizes, line, true);
    }
}
