//! Learning one thing after another.
//!
//! - `common`: a set whose images say which they are, and checkpoints in memory.
//! - `scenarios`: what is learned after what.
//! - `streams`: as batches.
//! - `buffers`: what is kept.
//! - `runs`: all of it in training, stopped and resumed.
//! - `closed_form`: classifiers that are computed.
//! - `experiments`: whole runs with every strategy.
//! - `recovery`: runs whose data fails, and what their checkpoints hold.
//! - `learner`: examples that are pushed.
//! - `metrics`: what is left.

mod buffers;
mod closed_form;
mod common;
mod experiments;
mod learner;
mod metrics;
mod recovery;
mod runs;
mod scenarios;
mod streams;
