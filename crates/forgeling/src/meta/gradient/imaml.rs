//! Implicit MAML.

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::super::functional::{Weights, positive};
use super::{Adapted, GradientMethod, InnerConfig, Learning, MetaLoss, with_gradient};
use crate::error::{Error, Result};

/// The configuration of [`IMaml`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IMamlConfig {
    /// The inner steps. Default 8 at a rate of 0.1.
    pub inner: InnerConfig,
    /// How strongly the adapted parameters are held at the initial ones. Default 0.5; with the paper's 2, few inner steps
    /// adapt little.
    pub lambda: f64,
    /// Steps of conjugate gradient. Default 5, as in the paper.
    pub conjugate_steps: usize,
    /// Added to lambda where the Hessian is divided by it. With 0 the meta-gradient is exact where the inner problem is
    /// convex; with batch norm it often is not, and the Hessian's negative directions then blow up. Default 10.
    pub damping: f64,
}

impl Default for IMamlConfig {
    fn default() -> Self {
        Self {
            inner: InnerConfig {
                steps: 8,
                ..Default::default()
            },
            lambda: 0.5,
            conjugate_steps: 5,
            damping: 10.0,
        }
    }
}

/// Adapts by minimising `L_support(phi) + lambda/2 |phi - theta|^2`, and differentiates the minimum rather than the way
/// to it. The meta-gradient is that `v` with
///
/// `(I + H / (lambda + damping)) v = grad L_query(phi)`
///
/// where `H` is the Hessian of `L_support` at `phi`, found by conjugate gradient with products of `H` alone: memory does
/// not grow with the inner steps. Without damping it becomes exact as inner steps and those of conjugate gradient grow. Rajeswaran et al.,
/// *Meta-Learning with Implicit Gradients*, 2019 (arXiv 1909.04630).
#[derive(Module, Debug)]
pub struct IMaml {
    #[module(skip)]
    config: IMamlConfig,
}

impl IMaml {
    /// The method with this configuration.
    ///
    /// # Errors
    /// When lambda is not a positive number, damping a negative one, or there is no step of conjugate gradient, and as [`InnerConfig::validate`].
    pub fn new(config: IMamlConfig) -> Result<Self> {
        config.inner.validate()?;
        check_lambda(config.lambda)?;
        if config.conjugate_steps == 0 {
            let error = Error::invalid("imaml_config", "no step of conjugate gradient");
            return Err(error.expected("at least 1"));
        }
        if !(config.damping.is_finite() && config.damping >= 0.0) {
            let error = Error::invalid("imaml_config", "damping is out of range");
            return Err(error.expected("0 or more").got(config.damping));
        }
        Ok(Self { config })
    }
}

pub(super) fn check_lambda(lambda: f64) -> Result<()> {
    if lambda.is_finite() && lambda > 0.0 {
        return Ok(());
    }
    let error = Error::invalid("inner_config", "lambda is out of range");
    Err(error.expected("a positive number").got(lambda))
}

impl GradientMethod for IMaml {
    fn adapt(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<Adapted> {
        let IMamlConfig { inner, lambda, .. } = self.config;
        held(tasks, initial, &inner, lambda, |_| Ok(None))
    }

    fn meta_loss(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<MetaLoss> {
        let adapted = self.adapt(tasks, &initial.detach())?;
        let (answers, value, outer) = tasks.query_gradient(&adapted.weights)?;
        let held_by = self.config.lambda + self.config.damping;
        let gradient = conjugate_gradient(&outer, self.config.conjugate_steps, |vector| {
            let product = tasks.hessian_product(&adapted.weights, vector)?;
            Ok(vector.add_scaled(&product, 1.0 / held_by))
        })?;
        Ok(MetaLoss {
            loss: with_gradient(value, initial, &gradient),
            answers,
            losses: adapted.losses,
            statistics: Vec::new(),
        })
    }
}

/// Gradient descent on `L_support(phi) + lambda/2 |phi - initial|^2`, and on what `further` adds to the gradient.
pub(super) fn held(
    tasks: &Learning<'_>,
    initial: &Weights,
    inner: &InnerConfig,
    lambda: f64,
    further: impl Fn(&Weights) -> Result<Option<Weights>>,
) -> Result<Adapted> {
    let mut weights = initial.clone();
    let mut losses = Vec::new();
    for _ in 0..tasks.steps(inner) {
        let (loss, gradient) = tasks.gradient(&weights)?;
        losses.push(loss);
        let away = weights.minus(initial);
        let mut gradient = gradient.add_scaled(&away, lambda);
        if let Some(more) = further(&weights)? {
            gradient = gradient.add_scaled(&more, 1.0);
        }
        weights = weights.add_scaled(&gradient, -inner.rate);
    }
    Ok(Adapted { weights, losses })
}

/// Solves `A x = right` for each task by itself, with `A` given by its products: Hestenes and Stiefel, 1952.
///
/// Where a task's `A` is not positive along a direction, its solution stays what it is (Steihaug, 1983), which is `right`
/// before the first step.
fn conjugate_gradient(
    right: &Weights,
    steps: usize,
    product: impl Fn(&Weights) -> Result<Weights>,
) -> Result<Weights> {
    /// The least curvature that is taken for positive: below, it is rounding.
    const FLAT: f64 = 1e-3;
    /// Where the residual is gone, a step is none, and not 0 / 0.
    const TINY: f64 = 1e-30;
    let dot = |a: &Weights, b: &Weights| {
        let nothing = || Error::invalid("adapt", "the network has no parameter");
        a.dot(b).ok_or_else(nothing)
    };
    let mut solution = right.map(|tensor| tensor.zeros_like());
    let mut residual = right.clone();
    let mut direction = right.clone();
    let mut norm = dot(&residual, &residual)?;
    // 1 for the tasks that go on, 0 for the others.
    let mut going = norm.ones_like();
    for step in 0..steps {
        let along = product(&direction)?;
        let curvature = dot(&direction, &along)?;
        let least = dot(&direction, &direction)? * FLAT;
        going = going * positive(curvature.clone() - least);
        if step == 0 {
            let stopped = going.ones_like() - going.clone();
            solution = right.map(|tensor| tensor * stopped.clone());
        }
        // A task that has stopped divides by 1.
        let safe = curvature * going.clone() + (going.ones_like() - going.clone()) + TINY;
        let length = norm.clone() * going.clone() / safe;
        solution = solution.zip(&direction, |x, d| x + d * length.clone());
        residual = residual.zip(&along, |r, a| r - a * length.clone());
        let next = dot(&residual, &residual)?;
        let turn = next.clone() / (norm + TINY);
        direction = residual.zip(&direction, |r, d| r + d * turn.clone());
        norm = next;
    }
    Ok(solution)
}
