//! Which network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use forgeling::data::ImageShape;
use forgeling::nn::catalog::{Architecture, Entry};
use forgeling::nn::graph::Graph;
use forgeling::train::ModelDescription;
use forgeling::{Error, Result};

use super::small_file::read_small;
use crate::commands::{describe, digest};

/// A network by name, or from a file that describes one.
#[derive(Debug, Clone)]
pub struct ModelChoice {
    /// As it was typed.
    pub text: String,
    pub architecture: Architecture,
    /// Of the file whose weights it begins with, if there is one.
    pub trained: Option<Trained>,
}

/// A model file to begin with.
#[derive(Debug, Clone)]
pub struct Trained {
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: String,
    pub about: Box<ModelDescription>,
}

impl FromStr for ModelChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_file = Path::new(text)
            .extension()
            .is_some_and(|ending| ending == "json");
        let architecture = match is_file {
            true => Architecture::Described(read_graph(Path::new(text))?),
            false => Architecture::named(text)?,
        };
        Ok(Self {
            text: text.into(),
            architecture,
            trained: None,
        })
    }
}

/// A network, or a model file whose training goes on.
#[derive(Debug, Clone)]
pub struct Beginning(pub ModelChoice);

impl FromStr for Beginning {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if path
            .extension()
            .is_none_or(|ending| ending != "safetensors")
        {
            return text.parse().map(Self);
        }
        let about = Box::new(describe(path)?);
        Ok(Self(ModelChoice {
            text: text.into(),
            architecture: Architecture::Described(about.network.clone()),
            trained: Some(Trained {
                digest: digest(path)?,
                path: path.into(),
                about,
            }),
        }))
    }
}

/// A graph in JSON.
fn read_graph(path: &Path) -> Result<Graph> {
    const OPERATION: &str = "read_model";
    let bytes = read_small(OPERATION, path, "the description of a network", 16 << 20)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::bad_data(OPERATION, "not a text in UTF-8").path(path))?;
    Graph::from_json(&text).map_err(|error| error.path(path))
}

/// An option of a network, as `depth=6`.
#[derive(Debug, Clone)]
pub struct ModelOption {
    pub name: String,
    pub value: usize,
}

impl FromStr for ModelOption {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=');
        let parts = parts.and_then(|(name, value)| Some((name, value.trim().parse().ok()?)));
        let (name, value) = parts.ok_or_else(|| {
            Error::invalid("parse_option", "not an option of a network")
                .expected("NAME=NUMBER, such as depth=6")
                .got(format!("'{text}'"))
        })?;
        Ok(Self {
            name: name.trim().into(),
            value,
        })
    }
}

/// The network.
#[derive(Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Network: a name that forgeling models lists, such as mlp, conv4, resnet18 or vit, or a file that
    /// describes one
    #[arg(long, value_name = "NETWORK|FILE.json")]
    pub model: ModelChoice,
    /// Neurons of mlp's hidden layer [default: 128], channels of conv4's blocks [default: 64] or of a
    /// resnet's first stage [default: 64], or percent of mobilenet_v2's channels [default: 100]
    #[arg(long, value_name = "N")]
    pub width: Option<usize>,
    /// Another option of the network, such as depth=6 of vit; may be given more than once
    #[arg(long = "option", value_name = "NAME=N")]
    pub options: Vec<ModelOption>,
}

impl NetworkArgs {
    /// The images that a described network takes.
    pub fn input(&self) -> Option<ImageShape> {
        match &self.model.architecture {
            Architecture::Described(graph) => Some(graph.image_shape()),
            Architecture::Named(_) => None,
        }
    }

    /// Whether it is usually shown sequences: one row of steps, in several channels.
    pub fn takes_sequences(&self) -> Result<bool> {
        Ok(self.model.architecture.usual_input()?.height == 1)
    }

    /// Its width, if it is one that has such an option.
    pub fn effective_width(&self) -> Option<usize> {
        let entry = Entry::find(self.model.architecture.name()).ok()?;
        let mut options = entry.options.iter();
        let width = options.find(|option| option.name == "width")?;
        Some(self.width.unwrap_or(width.default))
    }

    /// The network for such images and classes.
    pub fn graph(&self, input: ImageShape, classes: usize) -> Result<Graph> {
        let width = self.width.map(|value| ("width".to_string(), value));
        let others = self
            .options
            .iter()
            .map(|option| (option.name.clone(), option.value));
        let options = named_once(width.into_iter().chain(others))?;
        self.model.architecture.graph(input, classes, options)
    }
}

/// Options of a network by name.
pub fn named_once(
    all: impl IntoIterator<Item = (String, usize)>,
) -> Result<BTreeMap<String, usize>> {
    let mut options = BTreeMap::new();
    for (name, value) in all {
        if options.insert(name.clone(), value).is_some() {
            let message = format!("the option {name} is given twice");
            return Err(Error::invalid("model_config", message).expected("once"));
        }
    }
    Ok(options)
}

/// A network, or a model file.
#[derive(Debug, Clone)]
pub enum Shown {
    Network(Box<ModelChoice>),
    File(PathBuf),
}

impl FromStr for Shown {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let ending = Path::new(text).extension();
        match ending.is_some_and(|ending| ending == "safetensors") {
            true => Ok(Self::File(text.into())),
            false => text.parse().map(Box::new).map(Self::Network),
        }
    }
}

/// Networks and their drawings.
#[derive(Args)]
pub struct Models {
    /// Show this network layer by layer: a name, a file that describes one, or a model file [default: a list of all
    /// names]
    #[arg(value_name = "NETWORK|FILE.json|FILE.safetensors")]
    pub model: Option<Shown>,
    /// Channels, height and width of the images [default: those that the network is usually shown]
    #[arg(long, value_name = "CxHxW")]
    pub input: Option<super::InputShape>,
    /// Classes to tell apart
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub classes: usize,
    /// An option of the network, such as width=32; may be given more than once
    #[arg(long = "option", value_name = "NAME=N", requires = "model")]
    pub options: Vec<ModelOption>,
    /// Write a drawing of the network
    #[arg(long, value_name = "FILE.svg", requires = "model")]
    pub draw: Option<PathBuf>,
    /// Write the description of the network, to change and to use as --model FILE.json
    #[arg(long, value_name = "FILE.json", requires = "model")]
    pub describe: Option<PathBuf>,
}
