//! Learning one thing after another.
//!
//! - `common`: a set whose images say which they are.
//! - `scenarios`: what is learned after what.
//! - `streams`: as batches.

mod common;
mod scenarios;
mod streams;
