//! Products of bytes: activations in unsigned 8 bits times weights in signed 8 bits, summed in 32 bits.
//!
//! `y[c] = multiplier[c] (sum_k (x_k - zero_point) w_kc + bias[c])`, whose sum is exact, so that every machine, every
//! instruction set and any number of threads give the same bits. This is the one place of the crate that chooses by the
//! kind of processor, and uses instructions that `macerator` does not have:
//!
//! - `x86`: `vpdpbusd` of AVX-512 VNNI and of AVX-VNNI; AVX2 on widened values, as `vpmaddubsw` saturates.
//! - `wasm`: `i32x4.dot_i16x8_s` on widened values; nothing of relaxed SIMD, which some browsers refuse.
//! - `plain`: everywhere else, and what the others are tested against.
//!
//! [`linear`] and [`conv2d`] take activations in f32, which they round on their way into the product.

pub mod conv2d;
mod kernel;
pub mod linear;
mod packed;
mod plain;
mod round;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::{Kernel, fastest};
pub use packed::{Packed, Scaled};
pub use round::Grid;

/// The most products of one sum: `255 · 127 · MOST_TERMS` and a bias half as large as what 32 bits hold stay within them.
pub const MOST_TERMS: usize = 32_768;
