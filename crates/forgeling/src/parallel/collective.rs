//! What several processes or threads do together.

use crate::error::Result;

/// How numbers of all ranks become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// One of several ranks, numbered from 0, all of which call the same functions in the same order.
///
/// Every function waits for the others, and gives each rank the same bits.
pub trait Collective {
    /// This one's number.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Replaces each number by the sum of those of all ranks.
    ///
    /// # Errors
    /// When the ranks do not have equally many numbers, or one is gone.
    fn all_reduce_sum(&mut self, values: &mut [f32]) -> Result<()>;

    /// Replaces each of a few numbers by what those of all ranks are reduced to.
    ///
    /// # Errors
    /// As [`all_reduce_sum`](Self::all_reduce_sum).
    fn all_reduce(&mut self, values: &mut [f64], reduction: Reduction) -> Result<()>;

    /// Replaces the numbers by those of rank 0.
    ///
    /// # Errors
    /// As [`all_reduce_sum`](Self::all_reduce_sum).
    fn broadcast(&mut self, values: &mut [f32]) -> Result<()>;

    /// Waits for all.
    ///
    /// # Errors
    /// When a rank is gone.
    fn barrier(&mut self) -> Result<()>;
}

impl Reduction {
    /// Reduces two numbers.
    pub(super) fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum => a + b,
            Self::Min => a.min(b),
            Self::Max => a.max(b),
        }
    }
}
