//! Softmax attention, head by head. A head's queries are taken in blocks, so that the scores of a block stay in the
//! cache and no more of them are ever kept.

mod backward;
mod forward;
mod tokens;

pub use backward::backward;
pub use forward::forward;
pub use tokens::Tokens;

/// Queries of a block.
const BLOCK: usize = 32;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub struct AttentionShape {
    pub batches: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub width: usize,
    /// Whether a query sees no keys after its own place.
    pub causal: bool,
    /// The factor of the scores.
    pub scale: f32,
}

impl AttentionShape {
    /// How many keys a query sees.
    fn seen(self, query: usize) -> usize {
        if self.causal {
            self.keys.min(query + 1)
        } else {
            self.keys
        }
    }

    /// Batch and head, in order.
    fn all_heads(self) -> Vec<[usize; 2]> {
        (0..self.batches * self.heads)
            .map(|index| [index / self.heads, index % self.heads])
            .collect()
    }
}
