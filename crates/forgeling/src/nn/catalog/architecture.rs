//! A network by its name, or of one's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Entry, ModelConfig, OPERATION};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::nn::graph::Graph;

/// A network by its name in the catalog, or described by its graph: what `--model` and a page's `model` take. In JSON a
/// name is a string, and a graph an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub enum Architecture {
    /// One of [`MODELS`](super::MODELS).
    Named(String),
    /// A graph of one's own.
    Described(Graph),
}

impl Architecture {
    /// A network of the catalog.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn named(name: &str) -> Result<Self> {
        Ok(Self::Named(Entry::find(name)?.name.into()))
    }

    /// Its name; `"graph"` of one that is described.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Described(_) => "graph",
        }
    }

    /// The images that it is usually shown, or takes.
    ///
    /// # Errors
    /// When there is no network of this name.
    pub fn usual_input(&self) -> Result<ImageShape> {
        Ok(match self {
            Self::Named(name) => Entry::find(name)?.input,
            Self::Described(graph) => graph.image_shape(),
        })
    }

    /// Whether it has such an option.
    pub fn has_option(&self, name: &str) -> bool {
        let Self::Named(model) = self else {
            return false;
        };
        let entry = Entry::find(model);
        entry.is_ok_and(|entry| entry.options.iter().any(|option| option.name == name))
    }

    /// Its graph for such images and so many classes. A described graph that does not end in a layer of neurons is given
    /// a head; see [`Graph::for_classes`].
    ///
    /// # Errors
    /// As [`ModelConfig::graph`]; of a described graph, when it takes other images or has other outputs, and when there are
    /// options.
    pub fn graph(
        &self,
        input: ImageShape,
        classes: usize,
        options: BTreeMap<String, usize>,
    ) -> Result<Graph> {
        let graph = match self {
            Self::Named(model) => {
                let config = ModelConfig {
                    model: model.clone(),
                    input,
                    classes,
                    options,
                };
                return config.graph();
            }
            Self::Described(graph) => graph,
        };
        if let Some(option) = options.keys().next() {
            return Err(
                Error::invalid(OPERATION, "a described network has no options")
                    .expected("sizes in the description")
                    .got(format!("'{option}'")),
            );
        }
        if graph.image_shape() != input {
            return Err(Error::invalid(OPERATION, "the network takes other images")
                .expected(graph.image_shape())
                .got(input));
        }
        graph.for_classes(classes)
    }
}

impl TryFrom<serde_json::Value> for Architecture {
    type Error = Error;

    fn try_from(value: serde_json::Value) -> Result<Self> {
        match value {
            serde_json::Value::String(name) => Self::named(&name),
            value => Graph::try_from(value).map(Self::Described),
        }
    }
}

impl From<Architecture> for serde_json::Value {
    fn from(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Named(name) => Self::String(name),
            Architecture::Described(graph) => graph.into(),
        }
    }
}
