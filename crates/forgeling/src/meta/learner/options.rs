//! A learner by a few plain settings, as command lines and web pages give them.

use serde::{Deserialize, Serialize};

use super::{LearnerConfig, Method, MethodConfig};
use crate::data::ImageShape;
use crate::error::Result;
use crate::meta::Distance;
use crate::nn::zoo::Conv4Config;

/// Blocks of a relation network's encoder: its head wants maps, not numbers.
const RELATION_BLOCKS: usize = 2;

/// Settings of a [`Learner`](super::Learner) on a [`Conv4Config`]. What a method does not have is not looked
/// at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerOptions {
    /// Default [`Method::ProtoNet`].
    pub method: Method,
    /// Channels of the images. Default 1.
    pub channels: usize,
    /// Channels of every block. Default 64.
    pub filters: usize,
    /// Number of blocks. `None` for 4, and 2 for [`Method::Relation`]. Default `None`.
    pub blocks: Option<usize>,
    /// Height and width of the images. Default 28.
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
        let encoder = Conv4Config::default();
        Self {
            method: Method::ProtoNet,
            channels: encoder.channels,
            filters: encoder.filters,
            blocks: None,
            size: encoder.size,
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
        ImageShape::new(self.channels, self.size, self.size)
    }

    /// The configuration that they come to.
    ///
    /// # Errors
    /// As [`LearnerConfig::validate`].
    pub fn config(&self) -> Result<LearnerConfig> {
        let blocks = match self.method {
            Method::Relation => RELATION_BLOCKS,
            _ => Conv4Config::default().blocks,
        };
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
        let network = Conv4Config {
            channels: self.channels,
            filters: self.filters,
            blocks: self.blocks.unwrap_or(blocks),
            size: self.size,
            ..Default::default()
        };
        let config = LearnerConfig {
            method,
            network: network.graph()?,
            seed: self.seed,
            ways: self.ways,
            transductive: self.transductive,
        };
        config.validate()?;
        Ok(config)
    }
}
