//! What a network holds and costs, for people and programs.

use serde::Serialize;

use super::{Graph, Shape, Wire};

/// A network, layer by layer and in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSummary {
    /// What an example is.
    pub input: Shape,
    /// What comes out.
    pub output: Shape,
    /// What an encoder of it gives.
    pub features: Shape,
    /// Values that training changes.
    pub trained_values: u64,
    /// Values that are not trained: running statistics.
    pub buffer_values: u64,
    /// Multiplications with additions for one example.
    pub multiply_adds: u64,
    /// The layers from first to last.
    pub layers: Vec<LayerSummary>,
}

/// A layer of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// Its name.
    pub name: String,
    /// The kind, as in JSON.
    pub layer: &'static str,
    /// What comes out.
    pub output: Shape,
    /// Values that training changes.
    pub trained_values: u64,
    /// Values that are not trained.
    pub buffer_values: u64,
    /// Multiplications with additions for one example.
    pub multiply_adds: u64,
}

impl Graph {
    /// What it holds and costs.
    pub fn summary(&self) -> NetworkSummary {
        let layers = self.nodes().iter().enumerate().map(|(place, node)| {
            let parameters = self.parameters(place);
            let count = |trained: bool| {
                let own = parameters.iter().filter(|one| one.trained == trained);
                own.map(|one| one.len() as u64).sum()
            };
            LayerSummary {
                name: node.name.clone(),
                layer: node.layer.kind(),
                output: self.shape(Wire::Node(place)),
                trained_values: count(true),
                buffer_values: count(false),
                multiply_adds: self.multiply_adds_of(place),
            }
        });
        NetworkSummary {
            layers: layers.collect(),
            input: self.input(),
            output: self.output_shape(),
            features: self.features_shape(),
            trained_values: self.trained_values(),
            buffer_values: self.buffer_values(),
            multiply_adds: self.multiply_adds(),
        }
    }
}
