//! A learner by a few plain settings, as command lines and web pages give them.

use serde::{Deserialize, Serialize};

use super::{LearnerConfig, Method, MethodConfig};
use crate::data::ImageShape;
use crate::error::Result;
use crate::meta::Distance;
use crate::nn::catalog::Architecture;
use crate::nn::graph::Graph;

/// Blocks of a relation network's encoder: its head wants maps, not numbers.
const RELATION_BLOCKS: usize = 2;

/// Settings of a [`Learner`](super::Learner). What a method does not have is not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerOptions {
    /// Default [`Method::ProtoNet`].
    pub method: Method,
    /// The network. Default `conv4`.
    pub model: Architecture,
    /// Channels of the images; a described network has its own. Default 1.
    pub channels: usize,
    /// The `width` of a network by name: channels of Conv4's blocks. `None` for the usual one, 64 of Conv4. Default `None`.
    pub filters: Option<usize>,
    /// Number of Conv4's blocks. `None` for 4, and 2 for [`Method::Relation`]. Default `None`.
    pub blocks: Option<usize>,
    /// Height and width of the images; a described network has its own. Default 28.
    pub size: usize,
    /// Of the initial weights. Default 0.
    pub seed: u64,
    /// The most classes of a task, for methods that adapt. Default 5.
    pub ways: usize,
    /// Classes of the training set, for [`Method::SimpleShot`]. Default 0, which that method refuses.
    pub classes: usize,
    /// Of [`Method::ProtoNet`]. Default squared Euclidean.
    pub distance: Distance,
    /// Gradient steps on a support in training; `None` for the method's. Default `None`.
    pub inner_steps: Option<usize>,
    /// The same in evaluation and use. Default `None`.
    pub test_steps: Option<usize>,
    /// Their learning rate. Default `None`.
    pub inner_rate: Option<f64>,
    /// How strongly [`Method::IMaml`] and [`Method::FoBMaml`] hold parameters at the initial ones. Default `None`.
    pub lambda: Option<f64>,
    /// See [`LearnerConfig::transductive`]. Default `false`.
    pub transductive: bool,
}

impl Default for LearnerOptions {
    fn default() -> Self {
        Self {
            method: Method::ProtoNet,
            model: Architecture::Named("conv4".into()),
            channels: 1,
            filters: None,
            blocks: None,
            size: 28,
            seed: 0,
            ways: 5,
            classes: 0,
            distance: Distance::default(),
            inner_steps: None,
            test_steps: None,
            inner_rate: None,
            lambda: None,
            transductive: false,
        }
    }
}

impl LearnerOptions {
    /// The images that the network takes.
    pub fn image_shape(&self) -> ImageShape {
        match &self.model {
            Architecture::Named(_) => ImageShape::new(self.channels, self.size, self.size),
            Architecture::Described(graph) => graph.image_shape(),
        }
    }

    /// The configuration that they come to.
    ///
    /// # Errors
    /// As [`LearnerConfig::validate`].
    pub fn config(&self) -> Result<LearnerConfig> {
        let mut method = MethodConfig::of(self.method, self.classes);
        if let Some(inner) = method.inner_mut() {
            inner.steps = self.inner_steps.unwrap_or(inner.steps);
            inner.test_steps = self.test_steps.or(inner.test_steps);
            inner.rate = self.inner_rate.unwrap_or(inner.rate);
        }
        match (&mut method, self.lambda) {
            (MethodConfig::ProtoNet { distance }, _) => *distance = self.distance,
            (MethodConfig::IMaml(config), Some(lambda)) => config.lambda = lambda,
            (MethodConfig::FoBMaml(config), Some(lambda)) => config.lambda = lambda,
            _ => {}
        }
        let config = LearnerConfig {
            method,
            network: self.network()?,
            seed: self.seed,
            ways: self.ways,
            transductive: self.transductive,
            normalization: None,
        };
        config.validate()?;
        Ok(config)
    }

    /// The network's graph. Methods that adapt use its head as it is; the others do not use it.
    fn network(&self) -> Result<Graph> {
        if let Architecture::Described(graph) = &self.model {
            return Ok(graph.clone());
        }
        let relation = self.method == Method::Relation && self.model.name() == "conv4";
        let blocks = self.blocks.or(relation.then_some(RELATION_BLOCKS));
        let options = [("width", self.filters), ("blocks", blocks)];
        let given = options
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_string(), value?)));
        let options = given.collect();
        self.model.graph(self.image_shape(), self.ways, options)
    }
}
