//! What few-shot commands take.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use forgeling::device::DeviceList;

use super::HardwareArgs;
use crate::data::DataSource;

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
    /// Devices that share the episodes of each step, as 0,1 or cpu,gpu:0, in place of --device
    #[arg(long, value_name = "LIST")]
    pub devices: Option<DeviceList>,
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
