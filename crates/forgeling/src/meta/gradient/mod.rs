//! Gradient learners: a network whose parameters take a few steps on a task's support.
//!
//! - [`GradientMethod`]: how a method adapts, and what its meta-gradient is.
//! - [`GradientLearner`]: a network with a method.
//! - [`Learning`]: the tasks at hand: losses and gradients at given parameters.
//! - [`Maml`]: exact and first order, the whole network or its head (ANIL).
//! - [`MetaSgd`], [`MamlPlusPlus`]: with rates that are learned.
//! - [`Reptile`]: moves towards the adapted parameters.
//! - [`IMaml`], [`FoBMaml`]: without differentiating through the steps.

mod fo_b_maml;
mod imaml;
mod learner;
mod learning;
mod maml;
mod maml_plus_plus;
mod meta_sgd;
mod reptile;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use self::fo_b_maml::{FoBMaml, FoBMamlConfig};
pub use self::imaml::{IMaml, IMamlConfig};
pub use self::learner::GradientLearner;
pub use self::learning::Learning;
pub use self::maml::{AdaptedPart, Maml, MamlConfig, Order};
pub use self::maml_plus_plus::{MamlPlusPlus, MamlPlusPlusConfig};
pub use self::meta_sgd::MetaSgd;
pub use self::reptile::{Reptile, ReptileConfig};
use super::functional::Weights;
use crate::error::{Error, Result};
use crate::nn::BatchStatistics;

/// Gradient steps on the support.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InnerConfig {
    /// Steps in training. Default 3.
    pub steps: usize,
    /// Steps in evaluation and use; `None` for as many as in training. Default `None`.
    pub test_steps: Option<usize>,
    /// Learning rate. Default 0.1.
    pub rate: f64,
}

impl Default for InnerConfig {
    fn default() -> Self {
        Self {
            steps: 3,
            test_steps: None,
            rate: 0.1,
        }
    }
}

impl InnerConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When there is no step or too many of them, or the rate is not a positive number.
    pub fn validate(&self) -> Result<()> {
        const OPERATION: &str = "inner_config";
        /// More than any task is worth.
        const MOST_STEPS: usize = 10_000;
        for steps in [Some(self.steps), self.test_steps].into_iter().flatten() {
            if !(1..=MOST_STEPS).contains(&steps) {
                return Err(
                    Error::invalid(OPERATION, "the inner steps are out of range")
                        .expected(format!("1 to {MOST_STEPS}"))
                        .got(steps),
                );
            }
        }
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return Err(Error::invalid(OPERATION, "the inner rate is out of range")
                .expected("a positive number")
                .got(self.rate));
        }
        Ok(())
    }
}

/// What adapting has come to.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// The parameters of each task.
    pub weights: Weights,
    /// The support's loss before each step, `[tasks]`.
    pub losses: Vec<Tensor<1>>,
}

/// What a meta-step minimises.
#[derive(Debug, Clone)]
pub struct MetaLoss {
    /// Of each task, `[tasks]`: its gradient is the method's meta-gradient.
    pub loss: Tensor<1>,
    /// What the adapted networks answer to the queries, `[tasks, queries, outputs]`.
    pub answers: Tensor<3>,
    /// The support's loss before each inner step, `[tasks]`.
    pub losses: Vec<Tensor<1>>,
    /// What norms with running statistics found.
    pub statistics: Vec<BatchStatistics>,
}

/// A way to learn from gradients. What a method learns beside the initial parameters, such as rates, are its own.
pub trait GradientMethod: Module + ModuleDisplay {
    /// Learns from the support of each task, beginning from the parameters `initial`.
    ///
    /// # Errors
    /// When the parameters do not fit the network.
    fn adapt(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<Adapted>;

    /// The answers of adapted networks to the queries, `[tasks, queries, outputs]`.
    ///
    /// # Errors
    /// When the parameters do not fit the network.
    fn answer(&self, tasks: &Learning<'_>, adapted: &Adapted) -> Result<Tensor<3>> {
        tasks.answer(&adapted.weights)
    }

    /// The loss whose gradient with respect to `initial` (and to what the method learns) is the method's meta-gradient.
    /// By default the loss of the queries after adapting, as far as autodiff can follow.
    ///
    /// # Errors
    /// As [`adapt`](Self::adapt).
    fn meta_loss(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<MetaLoss> {
        let adapted = self.adapt(tasks, initial)?;
        let answers = self.answer(tasks, &adapted)?;
        Ok(MetaLoss {
            loss: tasks.query_loss(answers.clone()),
            answers,
            losses: adapted.losses,
            statistics: Vec::new(),
        })
    }
}

/// A loss of this value, `[tasks]`, whose gradient with respect to `initial` is `gradient`:
///
/// `value + initial . gradient - stop(initial . gradient)`
fn with_gradient(value: Tensor<1>, initial: &Weights, gradient: &Weights) -> Tensor<1> {
    let value = value.detach();
    match initial.dot(&gradient.detach()) {
        Some(product) => {
            let product = product.reshape(value.dims());
            value + (product.clone() - product.detach())
        }
        None => value,
    }
}

/// Plain gradient descent on the support; `tracked` says whether autodiff is to follow the gradients.
fn descend(
    tasks: &Learning<'_>,
    initial: &Weights,
    inner: &InnerConfig,
    tracked: bool,
) -> Result<Adapted> {
    let mut weights = initial.clone();
    let mut losses = Vec::new();
    for _ in 0..tasks.steps(inner) {
        let (loss, gradient) = tasks.gradient(&weights)?;
        losses.push(loss);
        let gradient = if tracked { gradient } else { gradient.detach() };
        weights = weights.add_scaled(&gradient, -inner.rate);
    }
    Ok(Adapted { weights, losses })
}
