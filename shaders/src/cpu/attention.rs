//! Softmax attention, in memory as `[batch, tokens, heads, width]`.

/// Sizes of an attention, as the shaders' last binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Batches.
    pub batches: usize,
    /// Heads.
    pub heads: usize,
    /// Tokens of the queries.
    pub queries: usize,
    /// Tokens of the keys and values.
    pub keys: usize,
    /// Numbers of a token, four each.
    pub quads: usize,
    /// Whether a query sees no keys after its own place.
    pub causal: bool,
    /// The factor of the scores, as bits.
    pub scale: u32,
    /// The quad at which the gradient of the values begins.
    pub values: usize,
}

impl AttentionShape {
    /// The values of the shaders' last binding.
    pub fn sizes(self) -> Vec<usize> {
        vec![
            self.batches,
            self.heads,
            self.queries,
            self.keys,
            self.quads,
            usize::from(self.causal),
            self.scale as usize,
            self.values,
        ]
    }

    /// Where a token of a head begins, of `tokens` in each batch.
    fn at(self, batch: usize, token: usize, head: usize, tokens: usize) -> usize {
        ((batch * tokens + token) * self.heads + head) * self.quads * 4
    }

    /// Shows each query of each head with the places of its log-sum-exp and of its first number, and with the place
    /// of each key that it sees.
    fn each_query(self, mut then: impl FnMut(usize, usize, &[usize])) {
        for batch in 0..self.batches {
            for head in 0..self.heads {
                for query in 0..self.queries {
                    let seen = if self.causal {
                        self.keys.min(query + 1)
                    } else {
                        self.keys
                    };
                    let keys: Vec<usize> = (0..seen)
                        .map(|key| self.at(batch, key, head, self.keys))
                        .collect();
                    let row = (batch * self.heads + head) * self.queries + query;
                    then(row, self.at(batch, query, head, self.queries), &keys);
                }
            }
        }
    }

    fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        let width = self.quads * 4;
        a[..width].iter().zip(&b[..width]).map(|(a, b)| a * b).sum()
    }

    fn score(self, q: &[f32], k: &[f32]) -> f32 {
        f32::from_bits(self.scale) * self.dot(q, k)
    }
}

/// `out = softmax(scale q k^T) v` and the log-sum-exp of each query's scores, `[batch, head, query]`.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
    shape: AttentionShape,
) {
    shape.each_query(|row, at, keys| {
        let scores: Vec<f32> = keys
            .iter()
            .map(|&key| shape.score(&q[at..], &k[key..]))
            .collect();
        let largest = scores.iter().fold(f32::MIN, |max, score| max.max(*score));
        let sum: f32 = scores.iter().map(|score| (score - largest).exp()).sum();
        lse[row] = largest + sum.ln();
        for i in 0..shape.quads * 4 {
            let terms = scores
                .iter()
                .zip(keys)
                .map(|(score, key)| (score - largest).exp() * v[key + i]);
            out[at + i] = terms.sum::<f32>() / sum;
        }
    });
}

/// The gradient of the queries.
///
/// # Panics
/// When a slice is shorter than `shape` says.
#[allow(clippy::too_many_arguments)]
pub fn attention_grad_query(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    shape: AttentionShape,
) {
    let scale = f32::from_bits(shape.scale);
    shape.each_query(|row, at, keys| {
        let mean = shape.dot(&dout[at..], &out[at..]);
        dq[at..][..shape.quads * 4].fill(0.0);
        for &key in keys {
            let p = (shape.score(&q[at..], &k[key..]) - lse[row]).exp();
            let slope = p * (shape.dot(&dout[at..], &v[key..]) - mean);
            for i in 0..shape.quads * 4 {
                dq[at + i] += scale * slope * k[key + i];
            }
        }
    });
}

/// The gradients of the keys and, from quad `shape.values` on, of the values.
///
/// # Panics
/// When a slice is shorter than `shape` says.
#[allow(clippy::too_many_arguments)]
pub fn attention_grad_key_value(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dk_dv: &mut [f32],
    shape: AttentionShape,
) {
    let scale = f32::from_bits(shape.scale);
    let (dk, dv) = dk_dv.split_at_mut(shape.values * 4);
    dk.fill(0.0);
    dv.fill(0.0);
    shape.each_query(|row, at, keys| {
        let mean = shape.dot(&dout[at..], &out[at..]);
        for &key in keys {
            let p = (shape.score(&q[at..], &k[key..]) - lse[row]).exp();
            let slope = p * (shape.dot(&dout[at..], &v[key..]) - mean);
            for i in 0..shape.quads * 4 {
                dk[key + i] += scale * slope * q[at + i];
                dv[key + i] += p * dout[at + i];
            }
        }
    });
}
