//! What making a model smaller takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forgeling::compress::{
    Criterion, HeadPruning, Observer, PruningConfig, PruningTarget, QuantizationConfig, Ranking,
};
use forgeling::train::Storage;

use super::{HardwareArgs, PictureArgs};
use crate::data::DataSource;

#[derive(Args)]
pub struct Compress {
    /// Model file
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Images or sounds of the model's classes, to compare channels by and to train on: glyphs, omniglot:PATH, idx:DIR,
    /// cifar:DIR, folder:DIR or sounds:DIR
    #[arg(long, value_name = "SOURCE")]
    pub data: DataSource,
    /// Take the first N images of each class only [default: all, and 100 of glyphs]
    #[arg(long, value_name = "N")]
    pub per_class: Option<usize>,
    /// Part of each class's images to measure accuracy on and not to train on
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    pub validation: f64,
    /// Measure accuracy on these images: idx:DIR and cifar:DIR have test images, glyphs others of the same characters
    #[arg(long, value_name = "SOURCE", conflicts_with = "validation")]
    pub validation_data: Option<DataSource>,
    /// In how many bits the weights are: int8 also computes in 8 bits, the others make the file smaller
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub quantize: Option<WeightFormat>,
    /// Remove it in so many steps, most of it in the first ones, and train after each
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub steps: usize,
    /// Times to go through the images after each step; 0 to remove all at once and train nothing
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub epochs: usize,
    /// Learning rate of Adam
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Images of a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub batch_size: usize,
    /// Train to answer as the whole model does, too
    #[arg(long)]
    pub distill: bool,
    /// Print the plan, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Model file to write
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub pruning: PruningArgs,
    #[command(flatten)]
    pub quantization: QuantizationArgs,
    #[command(flatten)]
    pub hardware: HardwareArgs,
    #[command(flatten)]
    pub pictures: PictureArgs,
}

/// Which channels go.
#[derive(Args)]
#[command(next_help_heading = "Pruning")]
pub struct PruningArgs {
    /// How much to remove, above 0 and below 1 [default: nothing]
    #[arg(long, value_name = "FRACTION")]
    pub prune: Option<f64>,
    /// Of what: half of the channels are about three quarters of the values
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = Of::Channels)]
    pub of: Of,
    /// What channels are compared by
    #[arg(long, value_enum, value_name = "NAME", default_value_t = CriterionKind::Taylor)]
    pub criterion: CriterionKind,
    /// Which channels compete [default: isomorphic for networks with attention, otherwise local]
    #[arg(long, value_enum, value_name = "NAME")]
    pub ranking: Option<RankingKind>,
    /// What attention loses
    #[arg(long, value_enum, value_name = "PART", default_value_t = HeadKind::Dimensions)]
    pub heads: HeadKind,
    /// Leave layers the nearest multiple of so many channels
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub round_to: usize,
    /// What every layer keeps of its channels at least
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    pub floor: f64,
    /// A layer that keeps all channels that it makes; may be given more than once
    #[arg(long = "protect", value_name = "LAYER")]
    pub protected: Vec<String>,
}

/// In how many bits weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightFormat {
    /// 8 bits, with a scale for each output; layers compute in 8 bits, too
    Int8,
    /// 16 bits
    F16,
    /// 16 bits with the range of f32
    Bf16,
    /// 4 bits in groups of 32, all else in 16
    Int4,
}

impl WeightFormat {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int4 => "int4",
        }
    }

    /// How values that are not in 8 bits are stored.
    pub const fn storage(self) -> Storage {
        match self {
            Self::Int8 | Self::F16 => Storage::F16,
            Self::Bf16 => Storage::Bf16,
            Self::Int4 => Storage::Int4,
        }
    }
}

/// How layers work in 8 bits.
#[derive(Args)]
#[command(next_help_heading = "8 bits")]
pub struct QuantizationArgs {
    /// How the range of activations is found
    #[arg(long, value_enum, value_name = "NAME", default_value_t = ObserverKind::Mse)]
    pub observer: ObserverKind,
    /// Batches that ranges are found from
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub calibration_batches: usize,
    /// A layer that stays in f32; may be given more than once
    #[arg(long = "float", value_name = "LAYER")]
    pub float_layers: Vec<String>,
    /// Times to go through the images afterwards, training with the rounding
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub qat_epochs: usize,
    /// Learning rate of Adam in that training
    #[arg(long, value_name = "RATE", default_value_t = 1e-4)]
    pub qat_learning_rate: f64,
}

/// How the range of activations is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ObserverKind {
    /// The one that rounds with the least error
    Mse,
    /// From the smallest to the largest value
    MinMax,
    /// The mean of the smallest and of the largest values of batches
    MovingAverage,
    /// Without a ten-thousandth at either end
    Percentile,
}

impl QuantizationArgs {
    /// What was typed.
    pub fn config(&self) -> QuantizationConfig {
        QuantizationConfig {
            observer: match self.observer {
                ObserverKind::Mse => Observer::Mse,
                ObserverKind::MinMax => Observer::MinMax,
                ObserverKind::MovingAverage => Observer::MovingAverage { momentum: 0.9 },
                ObserverKind::Percentile => Observer::Percentile { fraction: 0.9999 },
            },
            float_layers: self.float_layers.clone(),
            ..Default::default()
        }
    }
}

/// Of what a fraction is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Of {
    /// Channels that can be removed
    Channels,
    /// Trained values
    Values,
    /// Multiplications with additions of an image
    Macs,
    /// Bytes of all values
    Bytes,
}

/// What channels are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CriterionKind {
    /// The sizes of weights
    L1,
    /// The squares of weights
    L2,
    /// What norms multiply channels with
    NormScale,
    /// About how much the loss changes without them
    Taylor,
    /// How far filters are from all others of their layer
    GeometricMedian,
    /// By lot, with the seed of --seed
    Random,
}

/// Which channels compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RankingKind {
    /// Those of the same layers: every layer loses the same fraction
    Local,
    /// All
    Global,
    /// Those of layers of the same kinds
    Isomorphic,
}

/// What attention loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeadKind {
    /// Numbers of every head
    Dimensions,
    /// Whole heads
    Heads,
}

impl PruningArgs {
    /// What was typed, with the seed of what is drawn by lot.
    pub fn config(&self, seed: u64) -> PruningConfig {
        let target = match self.of {
            Of::Channels => PruningTarget::Channels,
            Of::Values => PruningTarget::Values,
            Of::Macs => PruningTarget::MultiplyAdds,
            Of::Bytes => PruningTarget::Bytes,
        };
        PruningConfig {
            target: self.prune.map_or(PruningConfig::default().target, target),
            criterion: match self.criterion {
                CriterionKind::L1 => Criterion::L1,
                CriterionKind::L2 => Criterion::L2,
                CriterionKind::NormScale => Criterion::NormScale,
                CriterionKind::Taylor => Criterion::Taylor,
                CriterionKind::GeometricMedian => Criterion::GeometricMedian,
                CriterionKind::Random => Criterion::Random { seed },
            },
            ranking: self.ranking.map(|ranking| match ranking {
                RankingKind::Local => Ranking::Local,
                RankingKind::Global => Ranking::Global,
                RankingKind::Isomorphic => Ranking::Isomorphic,
            }),
            heads: match self.heads {
                HeadKind::Dimensions => HeadPruning::Dimensions,
                HeadKind::Heads => HeadPruning::Heads,
            },
            round_to: self.round_to,
            floor: self.floor,
            protected: self.protected.clone(),
        }
    }
}
