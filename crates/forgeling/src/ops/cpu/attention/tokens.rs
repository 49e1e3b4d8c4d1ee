//! How the tokens of heads lie in memory, and copies of them for products.

use super::super::products::{Left, lanes};

/// `[batch, head, token, width]` in any order but the last: each number beside the next.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    pub values: &'a [f32],
    /// From one batch, head and token to the next.
    pub strides: [usize; 3],
}

impl<'a> Tokens<'a> {
    pub fn head(self, [batch, head]: [usize; 2]) -> Rows<'a> {
        Rows {
            values: &self.values[batch * self.strides[0] + head * self.strides[1]..],
            stride: self.strides[2],
        }
    }
}

/// The tokens of one head.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
}

impl<'a> Rows<'a> {
    pub fn row(self, index: usize, width: usize) -> &'a [f32] {
        &self.values[index * self.stride..][..width]
    }

    /// As a left matrix, from row `first` on.
    pub fn left(self, first: usize) -> Left<'a> {
        Left {
            values: &self.values[first * self.stride..],
            row: self.stride,
            inner: 1,
        }
    }

    /// Copies `count` rows from `first` on into rows of `padded` numbers.
    pub fn pack(self, first: usize, count: usize, width: usize, padded: usize, packed: &mut [f32]) {
        for (index, packed) in packed.chunks_exact_mut(padded).take(count).enumerate() {
            packed[..width].copy_from_slice(self.row(first + index, width));
        }
    }

    /// All `count` rows, in rows of `padded` numbers.
    pub fn packed(self, count: usize, width: usize, padded: usize) -> Vec<f32> {
        let mut packed = vec![0.0; count * padded];
        self.pack(0, count, width, padded, &mut packed);
        packed
    }

    /// All `count` rows as columns, in rows of `padded` numbers.
    pub fn transposed(self, count: usize, width: usize, padded: usize) -> Vec<f32> {
        let mut turned = vec![0.0; width * padded];
        for index in 0..count {
            for (column, &value) in self.row(index, width).iter().enumerate() {
                turned[column * padded + index] = value;
            }
        }
        turned
    }
}

/// `count` padded to whole vectors.
pub fn padded(count: usize) -> usize {
    count.next_multiple_of(lanes())
}

/// The tokens of every head, each head in rows of a padded width.
pub struct Heads(pub Vec<Vec<f32>>);

impl Heads {
    /// The values as `[batch, token, head, width]` if `tokens_first`, else as `[batch, head, token, width]`.
    pub fn in_order(&self, heads: usize, width: usize, tokens_first: bool) -> Vec<f32> {
        let padded = padded(width);
        let tokens = self.0[0].len() / padded;
        let mut values = vec![0.0; self.0.len() * tokens * width];
        for (index, head) in self.0.iter().enumerate() {
            let (batch, head_number) = (index / heads, index % heads);
            let (start, stride) = if tokens_first {
                (
                    (batch * tokens * heads + head_number) * width,
                    heads * width,
                )
            } else {
                (index * tokens * width, width)
            };
            for (token, row) in head.chunks_exact(padded).enumerate() {
                values[start + token * stride..][..width].copy_from_slice(&row[..width]);
            }
        }
        values
    }
}
