//! Twins of `optimizer_gather.wgsl` and of what optimizers share.

mod adam;
mod sgd;

pub use adam::{AdamFactors, AdamShape, adam, adam_update};
pub use sgd::{SgdFactors, SgdShape, sgd, sgd_update};

use crate::PART;

/// Tensors that one launch of the gather kernel takes.
pub const GATHERED: usize = crate::optimizer_gather::TENSORS;

/// The numbers of the gather shader's last binding; `slot` and destinations count in groups of four.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatherShape {
    /// Where the sum of squares goes.
    pub slot: usize,
    /// What values are multiplied with.
    pub scale: f32,
    /// Destination and length of each tensor.
    pub tensors: [(usize, usize); GATHERED],
}

/// `packed[destination + i] = scale * tensor[i]`, zero up to the next multiple of 64, and at `slot` the sum of the
/// squares and 1 if a value is not finite. The shader writes a slot for each workgroup; this is the first one's, as
/// though there were no others.
///
/// # Panics
/// When a slice is shorter than `shape` says.
pub fn optimizer_gather(tensors: [&[f32]; GATHERED], packed: &mut [f32], shape: &GatherShape) {
    let (mut squares, mut bad) = (0.0f64, false);
    for (tensor, (destination, length)) in tensors.into_iter().zip(shape.tensors) {
        let end = length.next_multiple_of(PART);
        let destination = &mut packed[destination * 4..][..end];
        let (values, padding) = destination.split_at_mut(length);
        for (value, tensor) in values.iter_mut().zip(&tensor[..length]) {
            *value = shape.scale * tensor;
            squares += f64::from(*value) * f64::from(*value);
            bad |= !value.is_finite();
        }
        padding.fill(0.0);
    }
    packed[shape.slot * 4..][..4].copy_from_slice(&[squares as f32, f32::from(bad), 0.0, 0.0]);
}

/// What the gathered gradients say of a step, as `turn` in `wgsl/shared/optimizer.wgsl`.
struct Turn {
    /// What gradients are multiplied with.
    scale: f32,
    skip: bool,
    /// Steps that were taken.
    time: f32,
}

/// Reads `slots` sums of squares and the state, and writes the new one.
fn turn(gradients: &[f32], slots: usize, clip: f32, state: &[f32], new_state: &mut [f32]) -> Turn {
    let (mut squares, mut skip) = (0.0f32, false);
    for slot in gradients[..slots * 4].as_chunks::<4>().0 {
        squares += slot[0];
        skip |= slot[1] > 0.0;
    }
    let mut scale = 1.0;
    if clip > 0.0 {
        skip |= !squares.is_finite();
        scale = (clip / (squares.sqrt() + 1e-6)).min(1.0);
    }
    let skipped = f32::from(skip);
    let time = state[2] + 1.0 - skipped;
    new_state[..4].copy_from_slice(&[skipped, state[1] + skipped, time, 0.0]);
    Turn { scale, skip, time }
}
