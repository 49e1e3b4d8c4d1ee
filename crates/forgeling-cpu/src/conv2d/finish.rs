//! What is done with the sums of a convolution on their way to memory.

use macerator::Simd;

use super::super::batch_norm::{Clip, write, write_sum};
use super::super::pool::Slot;

/// `y = clip(scale z + shift + residual)`, of the sums `z`.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// Scale and shift of each channel.
    pub terms: &'a [[f32; 2]],
    /// As long as the result, or empty if there is none.
    pub residual: &'a [f32],
    pub clip: Clip,
}

impl Finish<'_> {
    /// Sums of a channel to `target`, with so many values of the result before them.
    pub fn write(&self, sums: &[f32], channel: usize, before: usize, target: &mut [Slot]) {
        finish(self, sums, channel, before, target);
    }

    /// [`write`](Self::write) with the vectors of the caller.
    #[inline(always)]
    pub fn write_here(&self, sums: &[f32], channel: usize, before: usize, target: &mut [Slot]) {
        let terms = self.terms[channel];
        match self.residual {
            [] => write(sums, terms, self.clip, target),
            all => write_sum(sums, terms, &all[before..][..sums.len()], self.clip, target),
        }
    }
}

#[macerator::with_simd]
fn finish<'a, S: Simd>(
    this: &Finish<'a>,
    sums: &[f32],
    channel: usize,
    before: usize,
    target: &mut [Slot],
) {
    this.write_here(sums, channel, before, target);
}
