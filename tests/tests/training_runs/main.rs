//! Whole runs of training.
//!
//! - `common`: what all of them train.
//! - `runs`: averaged, stopped early, saved and resumed, within a budget.
//! - `several`: on several devices, and as ranks.

mod common;
mod runs;
mod several;
