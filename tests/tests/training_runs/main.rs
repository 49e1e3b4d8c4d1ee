//! Whole runs of training.
//!
//! - `common`: what all of them train.
//! - `faults`: overflowing, without room, damaged.
//! - `runs`: averaged, stopped early, saved and resumed, within a budget.
//! - `several`: on several devices, and as ranks.

mod common;
mod faults;
mod runs;
mod several;
