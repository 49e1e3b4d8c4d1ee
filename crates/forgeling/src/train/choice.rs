//! An optimizer chosen at run time.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Adam, AdamConfig, Sgd, SgdConfig};
use crate::error::Result;

/// Which optimizer, with its numbers. In JSON: `{"adam": {"beta1": 0.9}}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// [`Adam`], the default.
    Adam(AdamConfig),
    /// [`Sgd`].
    Sgd(SgdConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

/// One of the optimizers.
#[derive(Debug, Clone)]
pub enum AnyOptimizer {
    /// Adaptive steps.
    Adam(Adam),
    /// Plain steps.
    Sgd(Sgd),
}

impl AnyOptimizer {
    /// An optimizer before its first step.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn new(config: OptimizerConfig) -> Result<Self> {
        Ok(match config {
            OptimizerConfig::Adam(config) => Self::Adam(Adam::new(config)?),
            OptimizerConfig::Sgd(config) => Self::Sgd(Sgd::new(config)?),
        })
    }

    /// As [`Adam::set_loss_scale`].
    ///
    /// # Errors
    /// When `scale` or its reciprocal is not a positive number that f32 can hold.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.set_loss_scale(scale),
            Self::Sgd(sgd) => sgd.set_loss_scale(scale),
        }
    }

    /// As [`Adam::step`].
    pub fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        match self {
            Self::Adam(adam) => adam.step(rate, module, gradients),
            Self::Sgd(sgd) => sgd.step(rate, module, gradients),
        }
    }

    /// As [`Adam::skipped`].
    pub fn skipped(&self) -> Option<Tensor<1>> {
        match self {
            Self::Adam(adam) => adam.skipped(),
            Self::Sgd(sgd) => sgd.skipped(),
        }
    }
}
