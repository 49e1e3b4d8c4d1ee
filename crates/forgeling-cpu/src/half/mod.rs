//! Numbers in 16 bits, two in the bits of each f32 that the pool lends.

mod number;

use std::ops::Range;

use macerator::Simd;
use number::{bf16_of, f16_of, of_bf16, of_f16};

use super::parallel;
use super::pool::{room, tight_room};

pub use number::{below, equal};

/// Numbers that one thread packs at a time.
const CHUNK: usize = 1 << 14;

/// Words as the 16-bit numbers that they hold, the lower half of a word first.
pub fn halves(words: &[f32]) -> &[u16] {
    // SAFETY: an f32 has the bits of two u16, whose alignment is less; wasm and all targets are little-endian.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 2 * words.len()) }
}

/// As [`halves`], to be written.
pub fn halves_mut(words: &mut [f32]) -> &mut [u16] {
    // SAFETY: as in `halves`, and any bits make an f32.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 2 * words.len()) }
}

/// Numbers as they are, or in 16 bits.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    Full(&'a [f32]),
    /// And 0 for f16, 1 for bf16.
    Half(&'a [u16], usize),
}

impl<'a> Values<'a> {
    /// The first `length` numbers of what `words` hold, in 16 bits if there is a `kind` of them.
    pub fn new(words: &'a [f32], length: usize, kind: Option<usize>) -> Self {
        match kind {
            None => Self::Full(&words[..length]),
            Some(kind) => Self::Half(&halves(words)[..length], kind),
        }
    }

    /// Those of `range`, in `scratch` where they have to be unpacked.
    pub fn read<'b>(&self, range: Range<usize>, scratch: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        match *self {
            Self::Full(values) => &values[range],
            Self::Half(halves, kind) => {
                scratch.resize(range.len(), 0.0);
                unpack_into(&halves[range], scratch, kind);
                scratch
            }
        }
    }
}

/// `x` in 16 bits: f16 where `kind` is 0, bf16 where it is 1.
pub fn pack(x: &[f32], kind: usize) -> Vec<f32> {
    let mut words = tight_room(x.len().div_ceil(2));
    let halves = halves_mut(&mut words);
    let (halves, rest) = halves.split_at_mut(x.len());
    rest.fill(0);
    let work = x.chunks(CHUNK).zip(halves.chunks_mut(CHUNK)).collect();
    parallel::map(work, |(x, halves)| pack_into(x, halves, kind));
    words
}

/// The first `length` numbers of `words`.
pub fn unpack(words: &[f32], length: usize, kind: usize) -> Vec<f32> {
    let mut x = room(length);
    let halves = &halves(words)[..length];
    let work = halves.chunks(CHUNK).zip(x.chunks_mut(CHUNK)).collect();
    parallel::map(work, |(halves, x)| unpack_into(halves, x, kind));
    x
}

/// Packs into as many numbers.
pub fn pack_into(x: &[f32], halves: &mut [u16], kind: usize) {
    if kind == 1 {
        pack_bf16(x, halves);
    } else {
        pack_f16(x, halves);
    }
}

/// Unpacks as many numbers.
pub fn unpack_into(halves: &[u16], x: &mut [f32], kind: usize) {
    if kind == 1 {
        unpack_bf16(halves, x);
    } else {
        unpack_f16(halves, x);
    }
}

#[macerator::with_simd]
fn pack_f16<S: Simd>(x: &[f32], halves: &mut [u16]) {
    for (half, x) in halves.iter_mut().zip(x) {
        *half = f16_of(*x);
    }
}

#[macerator::with_simd]
fn pack_bf16<S: Simd>(x: &[f32], halves: &mut [u16]) {
    for (half, x) in halves.iter_mut().zip(x) {
        *half = bf16_of(*x);
    }
}

#[macerator::with_simd]
fn unpack_f16<S: Simd>(halves: &[u16], x: &mut [f32]) {
    for (x, half) in x.iter_mut().zip(halves) {
        *x = of_f16(*half);
    }
}

#[macerator::with_simd]
fn unpack_bf16<S: Simd>(halves: &[u16], x: &mut [f32]) {
    for (x, half) in x.iter_mut().zip(halves) {
        *x = of_bf16(*half);
    }
}
