//! What importing published weights takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forgeling::import;

use super::InputShape;
use super::network::ModelOption;

#[derive(Args)]
pub struct Import {
    /// File of weights: safetensors, or what torch.save has made of a state_dict or of a checkpoint with one
    #[arg(value_name = "WEIGHTS")]
    pub weights: PathBuf,
    /// Network: a name that forgeling models lists
    #[arg(long, value_name = "NETWORK")]
    pub model: String,
    /// Channels, height and width of the images [default: those that the weights were published for]
    #[arg(long, value_name = "CxHxW")]
    pub input: Option<InputShape>,
    /// Another option of the network, such as stem=3 of resnet18; may be given more than once
    #[arg(long = "option", value_name = "NAME=N")]
    pub options: Vec<ModelOption>,
    /// Text file with the name of a class on each line [default: numbers from 0]
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Take the last layer from the file, or leave a new one for --classes untrained
    #[arg(long, value_enum, default_value_t = HeadKind::Published)]
    pub head: HeadKind,
    /// Where the weights are from, for the model's card
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// Licence of the weights, for the model's card
    #[arg(long, value_name = "TEXT")]
    pub license: Option<String>,
    /// Say what would become of every tensor, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Model file to write
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
}

/// What becomes of the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeadKind {
    /// From the file
    Published,
    /// Untrained, for the classes of --classes
    New,
}

impl From<HeadKind> for import::Head {
    fn from(head: HeadKind) -> Self {
        match head {
            HeadKind::Published => Self::Published,
            HeadKind::New => Self::New,
        }
    }
}
