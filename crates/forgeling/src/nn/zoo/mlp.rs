//! The multilayer perceptron.

use serde::{Deserialize, Serialize};

use super::check_ranges;
use crate::error::{Error, Result};
use crate::nn::graph::{Builder, Graph, Layer, Linear, Shape};

/// A multilayer perceptron: hidden layers with ReLU, then one without, which gives the logits. Rumelhart, Hinton and
/// Williams, *Learning representations by back-propagating errors*, 1986.
///
/// Any input to `[classes]`; one launch for each layer on a GPU. Layers are named `layers.0` and so on. Features are what
/// the last layer takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// What an example is; maps are flattened. Default 784 values.
    pub input: Shape,
    /// Neurons of each hidden layer. Default one layer of 128; none make it a linear classifier.
    pub hidden: Vec<usize>,
    /// Classes. Default 10.
    pub classes: usize,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            input: Shape::Values(784),
            hidden: vec![128],
            classes: 10,
        }
    }
}

/// More than any model this library is made for.
const MAX_LAYERS: usize = 64;
const MAX_NEURONS: usize = 1 << 20;

impl MlpConfig {
    /// The graph of such a network.
    ///
    /// # Errors
    /// When a size is zero or beyond reason.
    pub fn graph(&self) -> Result<Graph> {
        const OPERATION: &str = "mlp_config";
        let hidden = self
            .hidden
            .iter()
            .map(|&neurons| ("hidden", neurons, MAX_NEURONS));
        let classes = [("classes", self.classes, MAX_NEURONS)];
        check_ranges(OPERATION, classes.into_iter().chain(hidden))?;
        if self.hidden.len() > MAX_LAYERS {
            return Err(Error::invalid(OPERATION, "too many hidden layers")
                .expected(format!("at most {MAX_LAYERS}"))
                .got(self.hidden.len()));
        }
        let mut graph = Builder::new(self.input)?;
        if !matches!(self.input, Shape::Values(_)) {
            graph.then("flatten", Layer::Flatten)?;
        }
        for (index, &neurons) in self.hidden.iter().enumerate() {
            graph.then(
                format!("layers.{index}"),
                Layer::Linear(Linear::new(neurons)),
            )?;
            graph.then(format!("layers.{index}.relu"), Layer::Relu)?;
        }
        let last = format!("layers.{}", self.hidden.len());
        graph.then(last, Layer::Linear(Linear::new(self.classes)))?;
        graph.finish()
    }
}
