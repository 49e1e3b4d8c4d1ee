//! The optimizer that adapts its steps.

use burn::module::{Module, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::OptimizerRecord;
use super::optimizer::{Stepper, below_one, check, clip_check, not_negative, optimizer, positive};
use crate::error::Result;
use crate::ops::{AdamRule, Rule};

const OPERATION: &str = "adam";

/// The numbers of [`Adam`] that stay the same from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// How much of the mean gradient is kept at each step. Default 0.9.
    pub beta1: f64,
    /// How much of the mean squared gradient is kept at each step. Default 0.999.
    pub beta2: f64,
    /// Added to the root of the mean squared gradient. Default 1e-8.
    pub epsilon: f64,
    /// Part of itself that a parameter loses at each step, times the learning rate, as in AdamW. Default 0.
    pub weight_decay: f64,
    /// The largest norm of all gradients together; larger ones are scaled down to it. Default `None`.
    pub clip_norm: Option<f64>,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: None,
        }
    }
}

impl AdamConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When a beta is not at least 0 and below 1, when epsilon or the norm is not a positive number that f32 can
    /// hold, or when the weight decay is negative or not finite.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            ("beta1", self.beta1, below_one(self.beta1), "0 to below 1"),
            ("beta2", self.beta2, below_one(self.beta2), "0 to below 1"),
            (
                "epsilon",
                self.epsilon,
                positive(self.epsilon),
                "a positive number",
            ),
            (
                "weight_decay",
                self.weight_decay,
                not_negative(self.weight_decay),
                "a number of at least 0",
            ),
            clip_check(self.clip_norm),
        ];
        check(OPERATION, &checks)
    }
}

/// Adam, which moves each parameter by about the learning rate, whatever the size of its gradient:
///
/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
///
/// `p = p - rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay * p)`
///
/// element by element, with `m` and `v` zero at first and `t` counted from 1. Kingma and Ba, *Adam: A Method for
/// Stochastic Optimization*, 2015 (arXiv 1412.6980). The weight decay is decoupled from the gradient: Loshchilov and
/// Hutter, *Decoupled Weight Decay Regularization*, 2019 (arXiv 1711.05101). So with a weight decay this is AdamW, and
/// there is no other type for it; PyTorch's plain `Adam` adds the decay to the gradient, which this does not. With
/// [`clip_norm`](AdamConfig::clip_norm), `g` is first multiplied with `min(1, clip_norm / (norm + 1e-6))`, where
/// `norm` is the root of the sum of all squares of all gradients; Pascanu et al., 2013 (arXiv 1211.5063). All of it as
/// in PyTorch.
///
/// **A gradient that is not finite anywhere** skips the step: parameters, moments and `t` stay as they were. So does,
/// where it is to be clipped, a norm that f32 cannot hold. The device decides that by itself, and
/// [`skipped`](Self::skipped) tells it to whoever reads it.
///
/// **The state** belongs to a parameter, as long as the module has it: to its id, shape, dtypes and device. One without a
/// gradient keeps its moments and its `t`, whatever the others do; one that is new, or has another shape, dtype or device
/// than before, begins with zero moments and `t = 1`, unless [`grow`](Self::grow) says where it comes from. A step on a
/// module without it forgets it; so each module that is trained wants an optimizer of its own.
///
/// On f32, a step is one launch on a GPU, and one more for every six parameters; on the CPU it is one loop for each.
/// Where parameters have not all taken the same steps, there is one launch for all of each `t`.
/// Other dtypes, and GPUs that do not take our kernels, use burn's operations. Half-precision parameters are updated
/// in f32 and rounded.
///
/// ```
/// use burn::module::{Module, Param};
/// use burn::optim::GradientsParams;
/// use burn::tensor::{Device, Tensor};
/// use forgeling::train::{Adam, AdamConfig};
///
/// #[derive(Module, Debug)]
/// struct Line { slope: Param<Tensor<1>> }
///
/// let device = Device::flex().autodiff();
/// let mut line = Line { slope: Param::from_tensor(Tensor::ones([1], &device)) };
/// let mut adam = Adam::new(AdamConfig::default())?;
/// let loss = line.slope.val().square().sum();
/// let gradients = GradientsParams::from_grads(loss.backward(), &line);
/// line = adam.step(0.1, line, gradients);
/// let slope: f32 = line.slope.val().into_scalar();
/// assert!((slope - 0.9).abs() < 1e-6);
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Adam {
    config: AdamConfig,
    stepper: Stepper,
}

impl Adam {
    /// An optimizer before its first step.
    ///
    /// # Errors
    /// As [`AdamConfig::validate`].
    pub fn new(config: AdamConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            stepper: Stepper::new(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &AdamConfig {
        &self.config
    }

    /// Divides the gradients of the steps that follow by `scale`, which is what their loss was multiplied with to
    /// keep small gradients from vanishing in half precision. Default 1. Micikevicius et al., *Mixed Precision
    /// Training*, 2018 (arXiv 1710.03740).
    ///
    /// # Errors
    /// When `scale` or its reciprocal is not a positive number that f32 can hold.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        self.stepper.set_loss_scale(OPERATION, scale)
    }

    /// Moves every parameter of `module` that has a gradient, keeping ids, devices and what is tracked. Other modules
    /// that share values with this one keep theirs.
    ///
    /// `rate` is the learning rate, a finite number such as [`HalvingSchedule`](super::HalvingSchedule) gives.
    /// Gradients are in the units of the parameters. Without any, the module is returned as it is.
    pub fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
        let rule = self.rule(rate);
        let clip_norm = self.config.clip_norm;
        self.stepper.step(&rule, clip_norm, module, gradients)
    }

    fn rule(&self, rate: f64) -> AdamRule {
        AdamRule {
            rate,
            betas: [self.config.beta1, self.config.beta2],
            epsilon: self.config.epsilon,
            weight_decay: self.config.weight_decay,
        }
    }

    /// What changes, for a checkpoint: moments, counts and the loss scale, read in one trip for each `t`. `module` is what
    /// the last step gave, and tells the parameters' names. Moments of double precision are rounded to f32.
    ///
    /// # Errors
    /// When the device fails, or the module has none of the parameters that were moved.
    pub async fn state<M: Module>(&self, module: &M) -> Result<OptimizerRecord> {
        let moments = self.rule(0.0).moments();
        self.stepper.state(OPERATION, moments, module).await
    }

    /// Goes on from a record, which may come from another device: the next step of `module` is the one that would have
    /// followed. [`skipped`](Self::skipped) is `None` until then.
    ///
    /// # Errors
    /// When the record is of parameters that the module has not, of other shapes or of another optimizer, or holds a
    /// number that is not finite or out of range; nothing is changed then.
    pub fn load_state<M: Module>(&mut self, module: &M, record: OptimizerRecord) -> Result<()> {
        let moments = self.rule(0.0).moments();
        self.stepper.load_state(OPERATION, moments, module, record)
    }

    /// Says that parameter `from` has become `to` (which may be the same one), of shape `shape` with as many sides, none
    /// smaller, as a head for more classes does. Its old values lie first along each side; they keep their moments. The
    /// new ones begin with moments of zero, but with the `t` of the old ones: their first steps are therefore not those
    /// of a new parameter, which is corrected for its zeros, but `(1 - beta1) / sqrt(1 - beta2)` times as large, 3.2 by
    /// default. A parameter that has not moved yet may grow too.
    ///
    /// # Errors
    /// When a side is smaller or there are more or fewer of them, and when `to` has taken steps of its own; nothing is
    /// changed then.
    pub fn grow(&mut self, from: ParamId, to: ParamId, shape: &[usize]) -> Result<()> {
        self.stepper.grow(OPERATION, from, to, shape)
    }

    /// Says that of a parameter, which keeps its id, those values are left that have these indices along each side, as of a
    /// layer that has lost channels. They keep their moments and their `t`. A parameter that has not moved yet may shrink
    /// too.
    ///
    /// # Errors
    /// When the indices are not ascending and at least one along each side; nothing is changed then.
    pub fn shrink(&mut self, id: ParamId, kept: &[Vec<usize>]) -> Result<()> {
        self.stepper.shrink(OPERATION, id, kept)
    }

    /// Has a parameter begin anew, with moments of zero and `t = 1`, as where its values are drawn anew.
    pub fn forget(&mut self, id: ParamId) {
        self.stepper.forget(id);
    }

    /// Whether the last step was skipped (0 or 1), and how many were since the state began; `[2]`, on the device of
    /// the first parameter and not tracked, to be read with a [`Readback`](crate::Readback). `None` before the first
    /// step.
    pub fn skipped(&self) -> Option<Tensor<1>> {
        self.stepper.skipped()
    }
}

optimizer!(Adam);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_errors_that_name_them() {
        let right = AdamConfig::default();
        let bad = [
            (
                "beta1",
                AdamConfig {
                    beta1: 1.0,
                    ..right
                },
            ),
            (
                "beta2",
                AdamConfig {
                    beta2: -0.1,
                    ..right
                },
            ),
            (
                "beta2",
                AdamConfig {
                    beta2: 1.0 - 1e-9,
                    ..right
                },
            ),
            (
                "epsilon",
                AdamConfig {
                    epsilon: 0.0,
                    ..right
                },
            ),
            (
                "epsilon",
                AdamConfig {
                    epsilon: f64::NAN,
                    ..right
                },
            ),
            (
                "weight_decay",
                AdamConfig {
                    weight_decay: -1.0,
                    ..right
                },
            ),
            (
                "clip_norm",
                AdamConfig {
                    clip_norm: Some(0.0),
                    ..right
                },
            ),
            (
                "clip_norm",
                AdamConfig {
                    clip_norm: Some(f64::INFINITY),
                    ..right
                },
            ),
        ];
        for (name, config) in bad {
            let error = Adam::new(config).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(name),
                "{error}"
            );
        }
        let mut adam = Adam::new(right).unwrap();
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60, 1e60] {
            assert!(
                adam.set_loss_scale(scale).unwrap_err().is_bad_input(),
                "{scale}"
            );
        }
        assert!(adam.set_loss_scale(65536.0).is_ok() && adam.skipped().is_none());
    }
}
