//! A first-order method whose meta-gradient becomes exact.

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::super::functional::Weights;
use super::imaml::{check_lambda, held};
use super::{Adapted, GradientMethod, InnerConfig, Learning, MetaLoss, with_gradient};
use crate::error::{Error, Result};

/// The configuration of [`FoBMaml`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FoBMamlConfig {
    /// The inner steps. Default 8 at a rate of 0.1.
    pub inner: InnerConfig,
    /// How strongly the adapted parameters are held at the initial ones. Default 0.5.
    pub lambda: f64,
    /// How much the queries push and pull at the two solutions. The meta-gradient's error is of the order of its square;
    /// below about 1e-3 rounding is larger. Default 0.01.
    pub nu: f64,
}

impl Default for FoBMamlConfig {
    fn default() -> Self {
        Self {
            inner: InnerConfig {
                steps: 8,
                ..Default::default()
            },
            lambda: 0.5,
            nu: 0.01,
        }
    }
}

/// Solves the held inner problem of [`IMaml`](super::IMaml) twice, with a little of the queries' loss added and taken
/// away, and has the difference for the meta-gradient:
///
/// `phi(nu) = argmin L_support(phi) + nu L_query(phi) + lambda/2 |phi - theta|^2`,
/// `grad = lambda (phi(-nu) - phi(nu)) / (2 nu)`
///
/// As `nu` falls and the inner steps grow it becomes the exact gradient of `L_query(phi(0))`, without second derivatives
/// and without keeping the way. Both solutions take the same steps from `theta`, so that what is not yet solved cancels.
/// The queries are answered with the mean of the two, which is `phi(0)` but for the square of `nu`. Chayti and Jaggi, *A New First-Order Meta-Learning Algorithm with Convergence Guarantees*, 2024 (arXiv 2409.03682).
#[derive(Module, Debug)]
pub struct FoBMaml {
    #[module(skip)]
    config: FoBMamlConfig,
}

impl FoBMaml {
    /// The method with this configuration.
    ///
    /// # Errors
    /// When lambda or nu is not a positive number, and as [`InnerConfig::validate`].
    pub fn new(config: FoBMamlConfig) -> Result<Self> {
        config.inner.validate()?;
        check_lambda(config.lambda)?;
        if !(config.nu.is_finite() && config.nu > 0.0) {
            let error = Error::invalid("fo_b_maml_config", "nu is out of range");
            return Err(error.expected("a positive number").got(config.nu));
        }
        Ok(Self { config })
    }
}

impl GradientMethod for FoBMaml {
    fn adapt(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<Adapted> {
        let FoBMamlConfig { inner, lambda, .. } = self.config;
        held(tasks, initial, &inner, lambda, |_| Ok(None))
    }

    fn meta_loss(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<MetaLoss> {
        let FoBMamlConfig { inner, lambda, nu } = self.config;
        let begin = initial.detach();
        let [pushed, pulled] = [-nu, nu].map(|nu| {
            held(tasks, &begin, &inner, lambda, |weights| {
                let (_, _, gradient) = tasks.query_gradient(weights)?;
                Ok(Some(gradient.map(|tensor| tensor * nu)))
            })
        });
        let (pushed, pulled) = (pushed?, pulled?);
        let apart = pushed.weights.minus(&pulled.weights);
        let gradient = apart.map(|tensor| tensor * (lambda / (2.0 * nu)));
        let middle = pushed.weights.zip(&pulled.weights, |a, b| (a + b) * 0.5);
        let answers = tasks.answer(&middle)?;
        let value = tasks.query_loss(answers.clone());
        Ok(MetaLoss {
            loss: with_gradient(value, initial, &gradient),
            answers,
            losses: pulled.losses,
            statistics: Vec::new(),
        })
    }
}
