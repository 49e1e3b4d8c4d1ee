//! Large buffers used again.
//!
//! Fresh memory of some megabytes comes from the operating system page by page, each on its first touch, which took a
//! fifth of a training step's time. A step needs the buffers of the step before.

use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard};

/// Numbers of a buffer at least; smaller ones are quickly had.
pub const SMALLEST: usize = 1 << 14;
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
    Some(waiting.swap_remove(best))
}

fn numbers(buffers: &[Vec<f32>]) -> usize {
    buffers.iter().map(Vec::capacity).sum()
}

/// Bytes of the buffers that wait to be used again.
pub fn held() -> u64 {
    (numbers(&waiting()) * size_of::<f32>()) as u64
}

/// Gives the buffers that wait back to the system.
pub fn empty() {
    *waiting() = Vec::new();
}

/// Keeps `values` for who needs such a buffer next.
pub fn give(values: Vec<f32>) {
    let mut waiting = waiting();
    if values.capacity() >= SMALLEST && numbers(&waiting) + values.capacity() <= MOST {
        waiting.push(values);
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
        let other = room(length);
        assert_ne!(other.as_ptr(), address, "it is still in use");
        give(values);
        let again = room(length);
        assert_eq!(again.as_ptr(), address);
        assert_eq!(again.len(), length);
        give(again);
        let tight = tight_room(length / 2 + 1);
        assert_ne!(tight.as_ptr(), address, "half of it would be idle");
        let shorter = room(length - 7);
        assert_eq!((shorter.as_ptr(), shorter.len()), (address, length - 7));
    }

    #[test]
    fn small_buffers_and_ill_fitting_ones_are_new() {
        give(vec![1.0; 99_999]);
        assert!(room(16).iter().all(|&value| value == 0.0));
        assert!(room(33_333).capacity() < 99_999);
    }
}
