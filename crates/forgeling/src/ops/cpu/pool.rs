//! Large buffers used again.
//!
//! Fresh memory of some megabytes comes from the operating system page by page, each on its first touch, which took a
//! fifth of a training step's time. A step needs the buffers of the step before.

use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard};

use burn::tensor::{AllocationProperty, Bytes};
use cubecl_environment::bytes::{AccessError, AccessPolicy, AllocationController};

use crate::device::{Counted, waiting as note_waiting};

/// Numbers of a buffer at least; smaller ones are quickly had.
const SMALLEST: usize = 1 << 14;
/// Numbers of all buffers that wait to be used again, at most: 256 MiB.
const MOST: usize = 1 << 26;

static WAITING: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

fn waiting() -> MutexGuard<'static, Vec<Vec<f32>>> {
    WAITING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// `length` numbers of any value, to be overwritten.
pub fn room(length: usize) -> Vec<f32> {
    room_in(fitting(length, 2 * length), length)
}

/// As [`room`], in a buffer that is hardly longer, for what is kept to save memory.
pub fn tight_room(length: usize) -> Vec<f32> {
    room_in(fitting(length, length + length / 8), length)
}

fn room_in(buffer: Option<Vec<f32>>, length: usize) -> Vec<f32> {
    let Some(mut buffer) = buffer else {
        return vec![0.0; length];
    };
    buffer.resize(length, 0.0);
    buffer
}

/// A value that nothing was written to yet.
pub type Slot = MaybeUninit<f32>;

/// Room for so many values, without zeros first: those would be another trip through memory, and one that a single
/// thread makes.
pub fn slots(length: usize) -> Vec<Slot> {
    let buffer = fitting(length, 2 * length).unwrap_or_else(|| Vec::with_capacity(length));
    let mut buffer = std::mem::ManuallyDrop::new(buffer);
    // SAFETY: a slot has the layout of its value and needs none; the capacity is `length` at least.
    unsafe { Vec::from_raw_parts(buffer.as_mut_ptr().cast(), length, buffer.capacity()) }
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

/// The smallest buffer that has room, unless it has room for more than `most`.
fn fitting(length: usize, most: usize) -> Option<Vec<f32>> {
    if length < SMALLEST {
        return None;
    }
    let mut waiting = waiting();
    let fits = |buffer: &Vec<f32>| (length..=most).contains(&buffer.capacity());
    let best = waiting
        .iter()
        .enumerate()
        .filter(|(_, buffer)| fits(buffer))
        .min_by_key(|(_, buffer)| buffer.capacity())?
        .0;
    let buffer = waiting.swap_remove(best);
    note_waiting(held(&waiting));
    Some(buffer)
}

/// Bytes of `buffers`.
fn held(buffers: &[Vec<f32>]) -> u64 {
    let numbers: usize = buffers.iter().map(Vec::capacity).sum();
    (numbers * size_of::<f32>()) as u64
}

/// Gives the buffers that wait back to the system.
pub fn empty() {
    let mut waiting = waiting();
    *waiting = Vec::new();
    note_waiting(0);
}

/// The bytes of `values`, whose memory is used again when they are dropped.
pub fn bytes(values: Vec<f32>) -> Bytes {
    if values.len() < SMALLEST {
        return Bytes::from_elems(values);
    }
    let length = size_of_val(values.as_slice());
    let counted = Counted::new((values.capacity() * size_of::<f32>()) as u64);
    let pooled = Pooled {
        values,
        _counted: counted,
    };
    // SAFETY: a vector's numbers are initialized, all `length` bytes of them.
    unsafe { Bytes::from_controller(Box::new(pooled), length) }
}

struct Pooled {
    values: Vec<f32>,
    _counted: Counted,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut waiting = waiting();
        let numbers: usize = waiting.iter().map(Vec::capacity).sum();
        if numbers + self.values.capacity() <= MOST {
            waiting.push(std::mem::take(&mut self.values));
            note_waiting(held(&waiting));
        }
    }
}

impl AllocationController for Pooled {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(
        &mut self,
        _policy: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let length = size_of_val(self.values.as_slice());
        // SAFETY: these are the vector's bytes, borrowed as it is; the caller writes initialized data only, and any
        // bytes make an f32.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.values.as_mut_ptr().cast(), length) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let length = size_of_val(self.values.as_slice());
        // SAFETY: these are the vector's bytes, borrowed as it is.
        Ok(unsafe { std::slice::from_raw_parts(self.values.as_ptr().cast(), length) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again() {
        // A length of its own, since other tests use the pool at the same time.
        let length = 77_777;
        let values = vec![3.5f32; length];
        let address = values.as_ptr();
        let held = bytes(values);
        assert_eq!(held.len(), 4 * length);
        let other = room(length);
        assert_ne!(other.as_ptr(), address, "it is still in use");
        drop(held);
        let again = room(length);
        assert_eq!(again.as_ptr(), address);
        assert_eq!(again.len(), length);
        drop(bytes(again));
        let tight = tight_room(length / 2 + 1);
        assert_ne!(tight.as_ptr(), address, "half of it would be idle");
        let shorter = room(length - 7);
        assert_eq!((shorter.as_ptr(), shorter.len()), (address, length - 7));
    }

    #[test]
    fn small_buffers_and_ill_fitting_ones_are_new() {
        drop(bytes(vec![1.0; 99_999]));
        assert!(room(16).iter().all(|&value| value == 0.0));
        assert!(room(33_333).capacity() < 99_999);
    }
}
