//! The optimizer that follows the gradient.

use burn::module::{Module, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::OptimizerRecord;
use super::optimizer::{Stepper, below_one, check, clip_check, not_negative, optimizer};
use crate::error::{Error, Result};
use crate::ops::{Rule, SgdRule};

const OPERATION: &str = "sgd";

/// The numbers of [`Sgd`] that stay the same from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// How much of the velocity is kept at each step. Default 0: none is, and no memory is spent on it.
    pub momentum: f64,
    /// Whether to step along the velocity that the next step would have. Default false.
    pub nesterov: bool,
    /// Times the parameter, added to its gradient. Default 0.
    pub weight_decay: f64,
    /// The largest norm of all gradients together; larger ones are scaled down to it. Default `None`.
    pub clip_norm: Option<f64>,
}

impl SgdConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When the momentum is not at least 0 and below 1, or is 0 with Nesterov's step, when the weight decay is negative
    /// or not finite, or when the norm is not a positive number that f32 can hold.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            (
                "momentum",
                self.momentum,
                below_one(self.momentum),
                "0 to below 1",
            ),
            (
                "weight_decay",
                self.weight_decay,
                not_negative(self.weight_decay),
                "a number of at least 0",
            ),
            clip_check(self.clip_norm),
        ];
        check(OPERATION, &checks)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(
                Error::invalid(OPERATION, "Nesterov's step needs a momentum")
                    .expected("a momentum above 0")
                    .got(self.momentum),
            );
        }
        Ok(())
    }
}

/// Stochastic gradient descent, with momentum if wanted:
///
/// `g = gradient + weight_decay * p`, `v = momentum * v + g`, `p = p - rate * v`
///
/// element by element, with `v` zero at first; with [`nesterov`](SgdConfig::nesterov) `p = p - rate * (g + momentum *
/// v)`. Robbins and Monro, *A Stochastic Approximation Method*, 1951; Sutskever et al., *On the importance of
/// initialization and momentum in deep learning*, 2013. The weight decay is part of the gradient (L2 regularization)
/// and so of the velocity, unlike that of [`Adam`](super::Adam). With [`clip_norm`](SgdConfig::clip_norm), gradients
/// are first multiplied with `min(1, clip_norm / (norm + 1e-6))`, where `norm` is the root of the sum of all squares
/// of all gradients. All of it as in PyTorch, whose dampening is 0 here.
///
/// Gradients that are not finite, the state, launches and dtypes: as [`Adam`](super::Adam).
///
/// ```
/// use burn::module::{Module, Param};
/// use burn::optim::GradientsParams;
/// use burn::tensor::{Device, Tensor};
/// use forgeling::train::{Sgd, SgdConfig};
///
/// #[derive(Module, Debug)]
/// struct Line { slope: Param<Tensor<1>> }
///
/// let device = Device::flex().autodiff();
/// let mut line = Line { slope: Param::from_tensor(Tensor::ones([1], &device)) };
/// let mut sgd = Sgd::new(SgdConfig { momentum: 0.9, ..Default::default() })?;
/// let loss = line.slope.val().square().sum();
/// let gradients = GradientsParams::from_grads(loss.backward(), &line);
/// line = sgd.step(0.1, line, gradients);
/// let slope: f32 = line.slope.val().into_scalar();
/// assert!((slope - 0.8).abs() < 1e-6);
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sgd {
    config: SgdConfig,
    stepper: Stepper,
}

impl Sgd {
    /// An optimizer before its first step.
    ///
    /// # Errors
    /// As [`SgdConfig::validate`].
    pub fn new(config: SgdConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            stepper: Stepper::new(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SgdConfig {
        &self.config
    }

    /// As [`Adam::set_loss_scale`](super::Adam::set_loss_scale).
    ///
    /// # Errors
    /// When `scale` or its reciprocal is not a positive number that f32 can hold.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        self.stepper.set_loss_scale(OPERATION, scale)
    }

    /// Moves every parameter of `module` that has a gradient, keeping ids, devices and what is tracked. Other modules
    /// that share values with this one keep theirs.
    ///
    /// `rate` is the learning rate, a finite number. Without gradients, the module is returned as it is.
    pub fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        let rule = self.rule(rate);
        let clip_norm = self.config.clip_norm;
        self.stepper.step(&rule, clip_norm, module, gradients)
    }

    fn rule(&self, rate: f64) -> SgdRule {
        SgdRule {
            rate,
            momentum: self.config.momentum,
            nesterov: self.config.nesterov,
            weight_decay: self.config.weight_decay,
        }
    }

    /// As [`Adam::state`](super::Adam::state).
    ///
    /// # Errors
    /// As there.
    pub async fn state<M: Module>(&self, module: &M) -> Result<OptimizerRecord> {
        let moments = self.rule(0.0).moments();
        self.stepper.state(OPERATION, moments, module).await
    }

    /// As [`Adam::load_state`](super::Adam::load_state).
    ///
    /// # Errors
    /// As there.
    pub fn load_state<M: Module>(&mut self, module: &M, record: OptimizerRecord) -> Result<()> {
        let moments = self.rule(0.0).moments();
        self.stepper.load_state(OPERATION, moments, module, record)
    }

    /// As [`Adam::grow`](super::Adam::grow); new values begin without velocity.
    ///
    /// # Errors
    /// As there.
    pub fn grow(&mut self, from: ParamId, to: ParamId, shape: &[usize]) -> Result<()> {
        self.stepper.grow(OPERATION, from, to, shape)
    }

    /// As [`Adam::shrink`](super::Adam::shrink).
    ///
    /// # Errors
    /// As there.
    pub fn shrink(&mut self, id: ParamId, kept: &[Vec<usize>]) -> Result<()> {
        self.stepper.shrink(OPERATION, id, kept)
    }

    /// As [`Adam::forget`](super::Adam::forget).
    pub fn forget(&mut self, id: ParamId) {
        self.stepper.forget(id);
    }

    /// As [`Adam::skipped`](super::Adam::skipped).
    pub fn skipped(&self) -> Option<Tensor<1>> {
        self.stepper.skipped()
    }
}

optimizer!(Sgd);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_errors_that_name_them() {
        let right = SgdConfig::default();
        let with_momentum = |momentum| SgdConfig { momentum, ..right };
        let with_decay = |weight_decay| SgdConfig {
            weight_decay,
            ..right
        };
        let with_clip = |norm| SgdConfig {
            clip_norm: Some(norm),
            ..right
        };
        let nesterov = SgdConfig {
            nesterov: true,
            ..right
        };
        let bad = [
            ("momentum", with_momentum(1.0)),
            ("momentum", with_momentum(-0.1)),
            ("momentum", with_momentum(f64::NAN)),
            ("momentum", nesterov),
            ("weight_decay", with_decay(-1.0)),
            ("weight_decay", with_decay(f64::INFINITY)),
            ("clip_norm", with_clip(0.0)),
            ("clip_norm", with_clip(f64::NAN)),
        ];
        for (name, config) in bad {
            let error = Sgd::new(config).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(name),
                "{error}"
            );
        }
        let mut sgd = Sgd::new(with_momentum(0.9)).unwrap();
        assert!(sgd.set_loss_scale(0.0).unwrap_err().is_bad_input());
        assert!(sgd.set_loss_scale(1024.0).is_ok() && sgd.skipped().is_none());
    }
}
