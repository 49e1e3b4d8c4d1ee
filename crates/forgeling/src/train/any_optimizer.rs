//! An optimizer chosen at run time.

use burn::module::{Module, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Adam, AdamConfig, OptimizerRecord, Sgd, SgdConfig};
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

    /// As [`Adam::grow`].
    ///
    /// # Errors
    /// As there.
    pub fn grow(&mut self, from: ParamId, to: ParamId, shape: &[usize]) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.grow(from, to, shape),
            Self::Sgd(sgd) => sgd.grow(from, to, shape),
        }
    }

    /// As [`Adam::shrink`].
    ///
    /// # Errors
    /// As there.
    pub fn shrink(&mut self, id: ParamId, kept: &[Vec<usize>]) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.shrink(id, kept),
            Self::Sgd(sgd) => sgd.shrink(id, kept),
        }
    }

    /// As [`Adam::forget`].
    pub fn forget(&mut self, id: ParamId) {
        match self {
            Self::Adam(adam) => adam.forget(id),
            Self::Sgd(sgd) => sgd.forget(id),
        }
    }

    /// Values kept for each parameter.
    pub(crate) fn moments(&self) -> usize {
        match self {
            Self::Adam(_) => 2,
            Self::Sgd(sgd) => usize::from(sgd.config().momentum > 0.0),
        }
    }

    /// As [`Adam::state`].
    ///
    /// # Errors
    /// When the device fails.
    pub async fn state<M: Module>(&self, module: &M) -> Result<OptimizerRecord> {
        match self {
            Self::Adam(adam) => adam.state(module).await,
            Self::Sgd(sgd) => sgd.state(module).await,
        }
    }

    /// As [`Adam::load_state`].
    ///
    /// # Errors
    /// When the record is of another module or another kind of optimizer; nothing is changed then.
    pub fn load_state<M: Module>(&mut self, module: &M, record: OptimizerRecord) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.load_state(module, record),
            Self::Sgd(sgd) => sgd.load_state(module, record),
        }
    }
}

impl super::Optimizer for AnyOptimizer {
    fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        Self::step(self, rate, module, gradients)
    }

    fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        Self::set_loss_scale(self, scale)
    }

    fn skipped(&self) -> Option<Tensor<1>> {
        Self::skipped(self)
    }
}
