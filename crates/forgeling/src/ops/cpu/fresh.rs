//! Vectors that are written before they are read, without zeros first: those would be another trip through memory, and
//! one that a single thread makes.

use std::mem::MaybeUninit;

/// A value that nothing was written to yet.
pub type Slot = MaybeUninit<f32>;

/// Room for so many values.
pub fn room(length: usize) -> Vec<Slot> {
    let mut slots = Vec::with_capacity(length);
    // SAFETY: slots need no value.
    unsafe { slots.set_len(length) };
    slots
}

/// The values.
///
/// # Safety
/// All of them must have been written.
pub unsafe fn written(slots: Vec<Slot>) -> Vec<f32> {
    let mut slots = std::mem::ManuallyDrop::new(slots);
    let (length, capacity) = (slots.len(), slots.capacity());
    // SAFETY: a slot has the layout of its value, and the caller wrote them all.
    unsafe { Vec::from_raw_parts(slots.as_mut_ptr().cast(), length, capacity) }
}
