//! Weights as the products read them.

/// Outputs side by side.
pub(super) const BLOCK: usize = 16;
/// Terms of an output side by side.
pub(super) const TERMS: usize = 4;

/// Weights of a layer: `[block of outputs, run, quad of terms, output, term]`. A run are the terms that lie side by side in
/// the activations: all inputs of a row, or the channels of a pixel.
#[derive(Debug, Clone)]
pub struct Packed {
    pub(super) values: Vec<i8>,
    /// Of each output the sum of its weights.
    pub(super) sums: Vec<i32>,
    pub(super) outputs: usize,
    pub(super) runs: usize,
    /// Quads of a run.
    pub(super) quads: usize,
}

impl Packed {
    /// Packs weights that `of` tells by output, run and term.
    pub(super) fn new(
        [outputs, runs, terms]: [usize; 3],
        of: impl Fn(usize, usize, usize) -> i8,
    ) -> Self {
        let quads = terms.div_ceil(TERMS);
        let blocks = outputs.div_ceil(BLOCK);
        let mut values = vec![0; blocks * runs * quads * BLOCK * TERMS];
        let mut sums = vec![0; outputs];
        for (output, sum) in sums.iter_mut().enumerate() {
            let (block, lane) = (output / BLOCK, output % BLOCK);
            for run in 0..runs {
                for term in 0..terms {
                    let (quad, place) = (term / TERMS, term % TERMS);
                    let at = ((block * runs + run) * quads + quad) * BLOCK + lane;
                    let value = of(output, run, term);
                    values[at * TERMS + place] = value;
                    *sum += i32::from(value);
                }
            }
        }
        Self {
            values,
            sums,
            outputs,
            runs,
            quads,
        }
    }

    /// Weights of a block.
    pub(super) fn block(&self, block: usize) -> &[i8] {
        let length = self.block_len();
        &self.values[block * length..][..length]
    }

    pub(super) fn block_len(&self) -> usize {
        self.runs * self.quads * BLOCK * TERMS
    }
}

/// What sums become: `multiplier[c] (sum + bias[c])`.
#[derive(Debug, Clone, Copy)]
pub struct Scaled<'a> {
    /// Of each output, a multiple of the scales of activations and weights.
    pub bias: &'a [i32],
    pub multiplier: &'a [f32],
}

impl Scaled<'_> {
    /// What is added to the sum of bytes of an output, and what it is multiplied by.
    pub(super) fn of(&self, packed: &Packed, output: usize, zero_point: u8) -> (i32, f32) {
        let zero = i32::from(zero_point) * packed.sums[output];
        (self.bias[output] - zero, self.multiplier[output])
    }
}
