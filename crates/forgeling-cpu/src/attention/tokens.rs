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

/// Room for `[batch, head, token, width]`, which lies as `[batch, token, head, width]` if `tokens_first`.
pub struct Room {
    pub values: Vec<f32>,
    heads: usize,
    tokens: usize,
    width: usize,
    tokens_first: bool,
}

impl Room {
    pub fn new(heads: [usize; 2], tokens: usize, width: usize, tokens_first: bool) -> Self {
        Self {
            values: vec![0.0; heads[0] * heads[1] * tokens * width],
            heads: heads[1],
            tokens,
            width,
            tokens_first,
        }
    }

    /// The tokens of each head, in order.
    pub fn of_heads(&mut self) -> Vec<Vec<&mut [f32]>> {
        let (heads, tokens) = (self.heads, self.tokens);
        let count = self.values.len() / (tokens * self.width);
        let mut rows: Vec<Vec<&mut [f32]>> =
            (0..count).map(|_| Vec::with_capacity(tokens)).collect();
        for (index, row) in self.values.chunks_exact_mut(self.width).enumerate() {
            let head = if self.tokens_first {
                index / (tokens * heads) * heads + index % heads
            } else {
                index / tokens
            };
            rows[head].push(row);
        }
        rows
    }
}

/// Copies padded rows to where they belong.
pub fn unpack(packed: &[f32], padded: usize, rows: Vec<&mut [f32]>) {
    for (row, packed) in rows.into_iter().zip(packed.chunks_exact(padded)) {
        row.copy_from_slice(&packed[..row.len()]);
    }
}
