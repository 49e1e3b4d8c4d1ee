//! Learning one thing after another.
//!
//! - `common`: a set whose images say which they are.
//! - `scenarios`: what is learned after what.
//! - `streams`: as batches.
//! - `buffers`: what is kept.
//! - `runs`: all of it in training, stopped and resumed.
//! - `metrics`: what is left.

mod buffers;
mod common;
mod metrics;
mod runs;
mod scenarios;
mod streams;
