//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use forgeling::DeviceChoice;
use forgeling::train::{HardwareConfig, Precision};

use crate::data::DataSource;

/// Train small neural networks where the data is.
///
/// Without a command, the tour runs: it trains a network on invented characters, shows that it can tell
/// apart characters it has never seen, and writes a report. It needs no data and no GPU.
#[derive(Parser)]
#[command(
    name = "forgeling",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  forgeling
  forgeling devices
  forgeling fewshot train --data glyphs --episodes 1000 --out glyphs.safetensors
  forgeling fewshot classify --model glyphs.safetensors --support photos/support --query photos/query"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub common: Common,
}

/// What every command takes.
#[derive(Args)]
pub struct Common {
    /// Device: auto, cpu, gpu, or gpu:N with N from `forgeling devices`
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Seed of weights and episodes; the same seed gives the same run
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train on invented characters and report what was learned (about two minutes)
    #[command(after_help = "\
Examples:
  forgeling tour
  forgeling tour --out my-tour --episodes 200")]
    Tour(Tour),
    /// List the adapters of this machine and say which one would be used, and why
    #[command(after_help = "\
Examples:
  forgeling devices
  forgeling devices --json
  FORGELING_DEVICE=gpu:0 forgeling devices")]
    Devices,
    /// Few-shot learning: train, evaluate, classify
    #[command(subcommand)]
    Fewshot(Fewshot),
}

impl Command {
    /// What runs when nothing is named.
    pub fn tour() -> Self {
        Self::Tour(Tour {
            out: "forgeling-tour".into(),
            episodes: TOUR_EPISODES,
        })
    }
}

const TOUR_EPISODES: usize = 400;

#[derive(Args)]
pub struct Tour {
    /// Folder for report.html and the trained model
    #[arg(long, value_name = "DIR", default_value = "forgeling-tour")]
    pub out: PathBuf,
    /// Training episodes
    #[arg(long, value_name = "N", default_value_t = TOUR_EPISODES)]
    pub episodes: usize,
}

#[derive(Subcommand)]
pub enum Fewshot {
    /// Train a prototypical network on episodes
    #[command(after_help = "\
Examples:
  forgeling fewshot train --data glyphs --episodes 1000 --out model.safetensors
  forgeling fewshot train --data omniglot:images_background_small1.zip --rotations --augment \\
      --test-data omniglot:images_background_small2.zip --minutes 10 --out omniglot.safetensors
  forgeling fewshot train --data folder:photos --channels 3 --size 32 --out photos.safetensors")]
    Train(Train),
    /// Measure accuracy on classes a model has not seen, with a 95 % confidence interval
    #[command(after_help = "\
Examples:
  forgeling fewshot eval --model model.safetensors --data glyphs --ways 20 --shots 1
  forgeling fewshot eval --model omniglot.safetensors --data omniglot:images_background_small2.zip \\
      --exclude omniglot:images_background_small1.zip --shots 1")]
    Eval(Eval),
    /// Classify images by a few labelled examples
    #[command(after_help = "\
The support folder holds one folder of images for each class (CLASS/*.png, jpg or webp); the query
folder holds the images to classify.

Examples:
  forgeling fewshot classify --model model.safetensors --support photos/support --query photos/query
  forgeling fewshot classify --model model.safetensors --support s --query q --ink light --json")]
    Classify(Classify),
}

/// How training uses the hardware.
#[derive(Args)]
pub struct HardwareArgs {
    /// Precision of activations: auto, f32, f16 or bf16; parameters are f32 in all of them
    #[arg(long, value_name = "PRECISION", default_value = "auto")]
    pub precision: Precision,
    /// Keep only the inputs of blocks for the backward pass and compute them once more there
    #[arg(long)]
    pub checkpointing: bool,
}

impl HardwareArgs {
    pub fn config(&self) -> HardwareConfig {
        HardwareConfig {
            precision: self.precision,
            gradient_checkpointing: self.checkpointing,
            ..Default::default()
        }
    }
}

/// Ways, shots and queries.
#[derive(Args, Clone, Copy)]
pub struct EpisodeArgs {
    /// Classes in an episode
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub ways: usize,
    /// Labelled examples of each class
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub shots: usize,
    /// Examples of each class to classify
    #[arg(long, value_name = "Q", default_value_t = 15)]
    pub queries: usize,
}

#[derive(Args)]
pub struct Train {
    /// Training images: glyphs, omniglot:PATH (folder or zip), idx:DIR or folder:DIR (DIR/CLASS/*.png)
    #[arg(long, value_name = "SOURCE")]
    pub data: DataSource,
    /// Images for a final evaluation; groups (alphabets) that are also in the training images are left out
    #[arg(long, value_name = "SOURCE")]
    pub test_data: Option<DataSource>,
    #[command(flatten)]
    pub episode: EpisodeArgs,
    #[command(flatten)]
    pub hardware: HardwareArgs,
    /// Stop after this many episodes [default: 1000, unless --minutes is given]
    #[arg(long, value_name = "N")]
    pub episodes: Option<usize>,
    /// Stop after this many minutes
    #[arg(long, value_name = "M")]
    pub minutes: Option<f64>,
    /// Episodes of one optimizer step
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch_episodes: usize,
    /// Learning rate of Adam at the start
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Halve the learning rate after this many episodes
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub halve_every: usize,
    /// Channels of each convolution
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub filters: usize,
    /// Height and width to which images are resized
    #[arg(long, value_name = "PIXELS", default_value_t = 28)]
    pub size: usize,
    /// 1 for grey images, 3 for colour (folder:DIR only)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub channels: usize,
    /// Train on each class turned by 90, 180 and 270 degrees as further classes
    #[arg(long)]
    pub rotations: bool,
    /// Turn, slant, stretch and move each training image a little at random
    #[arg(long)]
    pub augment: bool,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args)]
pub struct Eval {
    /// Model file
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Test images: glyphs (characters held out from training), omniglot:PATH, idx:DIR or folder:DIR
    #[arg(long, value_name = "SOURCE")]
    pub data: DataSource,
    /// Leave out the groups (alphabets) that occur in these images
    #[arg(long, value_name = "SOURCE")]
    pub exclude: Option<DataSource>,
    #[command(flatten)]
    pub episode: EpisodeArgs,
    /// Number of episodes
    #[arg(long, value_name = "N", default_value_t = 600)]
    pub episodes: usize,
    /// Let batch norm use the statistics of each test episode, its queries included
    #[arg(long)]
    pub transductive: bool,
}

#[derive(Args)]
pub struct Classify {
    /// Model file
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Folder with one folder of example images for each class
    #[arg(long, value_name = "DIR")]
    pub support: PathBuf,
    /// Folder of images to classify
    #[arg(long, value_name = "DIR")]
    pub query: PathBuf,
    /// Which side of the images is ink
    #[arg(long, value_enum, default_value_t = InkArg::Auto)]
    pub ink: InkArg,
}

/// What becomes 1 in an image.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum InkArg {
    /// Dark ink on light paper
    Dark,
    /// Light on dark, or photographs
    Light,
    /// Dark where the border is light
    Auto,
}

impl From<InkArg> for forgeling::data::Ink {
    fn from(ink: InkArg) -> Self {
        match ink {
            InkArg::Dark => Self::Dark,
            InkArg::Light => Self::Light,
            InkArg::Auto => Self::Auto,
        }
    }
}
