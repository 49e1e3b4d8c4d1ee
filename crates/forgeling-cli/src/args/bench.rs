//! What measuring takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is measured.
#[derive(Subcommand)]
pub enum Bench {
    /// How long a model takes to answer
    #[command(after_help = "\
Latency is the median over rounds from the images being on the device to the answers being read, with the
fastest and the slowest tenth left out of the spread. Images are noise: no model is faster on others.

Examples:
  forgeling bench model small.safetensors
  forgeling bench model photos.safetensors --batch 1,16,64 --rounds 50 --json")]
    Model(BenchModel),
}

/// How a model is measured.
#[derive(Args)]
pub struct BenchModel {
    /// Model file
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Images at once; several with commas between
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,64")]
    pub batch: Vec<usize>,
    /// Times that each is measured, after three that do not count
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub rounds: usize,
}
