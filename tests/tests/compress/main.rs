//! Networks that become smaller.
//!
//! - `common`: networks to prune, and what is left when their channels are set to zero instead.
//! - `catalog`: every network of the catalog, at several fractions.
//! - `criteria`: what channels are compared by.
//! - `faults`: what pruning libraries were reported to do wrong.
//! - `gradual`: in steps, with training and a teacher.
//! - `hostile`: what cannot be done, and what was never meant to be read.
//! - `optimizers`: what optimizers keep.
//! - `targets`: how much goes, floors, rounding and protected layers.
//! - `quantized`: layers in 8 bits, after training.
//! - `quantized_training`: training that sees the rounding.
//! - `stored`: files in fewer bits.
//! - `zeroed`: what is left computes the same.

mod catalog;
mod common;
mod criteria;
mod faults;
mod gradual;
mod hostile;
mod optimizers;
mod quantized;
mod quantized_training;
mod stored;
mod targets;
mod zeroed;
