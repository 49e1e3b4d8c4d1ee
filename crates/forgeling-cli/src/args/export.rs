//! What exporting a network takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forgeling::export;

#[derive(Args)]
pub struct Export {
    /// Model file of forgeling train or forgeling import
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// ONNX file to write
    #[arg(long, value_name = "FILE")]
    pub onnx: PathBuf,
    /// How the weights are stored; what is computed with them is f32 either way
    #[arg(long, value_enum, default_value_t = WeightPrecision::F32)]
    pub precision: WeightPrecision,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightPrecision {
    /// In 32 bits
    F32,
    /// In 16 bits: half the file
    F16,
}

impl WeightPrecision {
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }
}

impl From<WeightPrecision> for export::StoredPrecision {
    fn from(precision: WeightPrecision) -> Self {
        match precision {
            WeightPrecision::F32 => Self::F32,
            WeightPrecision::F16 => Self::F16,
        }
    }
}
