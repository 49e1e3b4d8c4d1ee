//! Model-agnostic meta-learning, its first-order form, and ANIL.

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::super::functional::Weights;
use super::{Adapted, GradientMethod, InnerConfig, Learning, MetaLoss, descend};
use crate::error::Result;

/// How far the meta-gradient follows the inner steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Through the inner gradients, as the chain rule has it.
    #[default]
    Second,
    /// As if the inner gradients did not depend on the parameters: the gradient at the adapted parameters.
    First,
}

/// What inner steps change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdaptedPart {
    /// All parameters.
    #[default]
    All,
    /// The last layer, on features that no step changes.
    Head,
}

/// The configuration of [`Maml`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MamlConfig {
    /// The inner steps.
    pub inner: InnerConfig,
    /// Default: second order.
    pub order: Order,
    /// Default: all parameters.
    pub part: AdaptedPart,
}

/// Learns initial parameters from which a few gradient steps on the support answer the queries well:
///
/// `phi_0 = theta`, `phi_(k+1) = phi_k - rate grad L_support(phi_k)`, `min_theta mean_tasks L_query(phi_steps)`
///
/// Finn, Abbeel and Levine, *Model-Agnostic Meta-Learning*, 2017 (arXiv 1703.03400); with [`Order::First`] FOMAML of the
/// same paper; with [`AdaptedPart::Head`] ANIL: Raghu et al., *Rapid Learning or Feature Reuse?*, 2019 (arXiv 1909.09157).
#[derive(Module, Debug)]
pub struct Maml {
    #[module(skip)]
    config: MamlConfig,
}

impl Maml {
    /// The method with this configuration.
    ///
    /// # Errors
    /// As [`InnerConfig::validate`].
    pub fn new(config: MamlConfig) -> Result<Self> {
        config.inner.validate()?;
        Ok(Self { config })
    }

    /// The tasks as the inner steps see them, and what the steps make of the parameters that they change.
    fn learn<'a>(
        &self,
        tasks: &Learning<'a>,
        initial: &Weights,
    ) -> Result<(Learning<'a>, Adapted)> {
        let seen = match self.config.part {
            AdaptedPart::All => tasks.clone(),
            AdaptedPart::Head => {
                // No step changes the features: they are computed once.
                let (body, head) = tasks.program().split_head()?;
                tasks.behind(&body, initial, head)?
            }
        };
        let fixed = initial.len() - seen.program().parameters();
        let changed = initial.clone().split_off(fixed);
        let tracked = self.config.order == Order::Second;
        let adapted = descend(&seen, &changed, &self.config.inner, tracked)?;
        Ok((seen, adapted))
    }
}

impl GradientMethod for Maml {
    fn adapt(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<Adapted> {
        let (_, adapted) = self.learn(tasks, initial)?;
        let fixed = initial.len() - adapted.weights.len();
        let weights = [&initial.tensors()[..fixed], adapted.weights.tensors()].concat();
        Ok(Adapted {
            weights: Weights::new(weights),
            losses: adapted.losses,
        })
    }

    fn meta_loss(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<MetaLoss> {
        let (seen, adapted) = self.learn(tasks, initial)?;
        let answers = seen.answer(&adapted.weights)?;
        Ok(MetaLoss {
            loss: tasks.query_loss(answers.clone()),
            answers,
            losses: adapted.losses,
            statistics: Vec::new(),
        })
    }
}
