//! Reptile.

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::super::functional::Weights;
use super::{Adapted, GradientMethod, InnerConfig, Learning, MetaLoss, descend, with_gradient};
use crate::error::Result;

/// The configuration of [`Reptile`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReptileConfig {
    /// The inner steps. Default 8 in training, 16 in evaluation, at a rate of 0.1.
    pub inner: InnerConfig,
}

impl Default for ReptileConfig {
    fn default() -> Self {
        Self {
            inner: InnerConfig {
                steps: 8,
                test_steps: Some(16),
                rate: 0.1,
            },
        }
    }
}

/// Moves the initial parameters towards those adapted to a task: the meta-gradient is
///
/// `mean_tasks (theta - phi_steps)`
///
/// where the inner steps train on all of a task's labelled examples, support and queries, dealt out to as many
/// mini-batches as there are steps. In evaluation they train on the support, all of it at each step. Nichol, Achiam and
/// Schulman, *On First-Order Meta-Learning Algorithms*, 2018 (arXiv 1803.02999), whose inner optimizer is Adam; this one
/// is gradient descent.
#[derive(Module, Debug)]
pub struct Reptile {
    #[module(skip)]
    config: ReptileConfig,
}

impl Reptile {
    /// The method with this configuration.
    ///
    /// # Errors
    /// As [`InnerConfig::validate`].
    pub fn new(config: ReptileConfig) -> Result<Self> {
        config.inner.validate()?;
        Ok(Self { config })
    }
}

impl GradientMethod for Reptile {
    fn adapt(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<Adapted> {
        descend(tasks, initial, &self.config.inner, false)
    }

    fn meta_loss(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<MetaLoss> {
        let InnerConfig { steps, rate, .. } = self.config.inner;
        let mut weights = initial.detach();
        let mut losses = Vec::new();
        for step in 0..steps {
            let (loss, gradient) = tasks.gradient_of_part(&weights, step, steps)?;
            losses.push(loss);
            weights = weights.add_scaled(&gradient, -rate);
        }
        let answers = tasks.answer(&weights)?;
        let value = tasks.query_loss(answers.clone());
        let away = initial.detach().minus(&weights);
        Ok(MetaLoss {
            loss: with_gradient(value, initial, &away),
            answers,
            losses,
            statistics: Vec::new(),
        })
    }
}
