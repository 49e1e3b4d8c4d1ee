//! Whole runs of training.
//!
//! - `common`: what all of them train.
//! - `faults`: overflowing, without room, damaged.
//! - `methods`: three small methods.
//! - `methods_on_several`: the same on several devices, and as ranks.
//! - `parts`: with parts that methods add.
//! - `runs`: averaged, stopped early, saved and resumed, within a budget.
//! - `several`: on several devices, and as ranks.

mod common;
mod faults;
mod methods;
mod methods_on_several;
mod parts;
mod runs;
mod several;
