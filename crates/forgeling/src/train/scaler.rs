//! The scale of the loss in mixed precision.

use serde::{Deserialize, Serialize};

use super::optimizer::{check, positive};
use crate::error::{Error, Result};

const OPERATION: &str = "loss_scaler";
/// The smallest and the largest scale whose reciprocal f32 holds as a normal number too: 2^-126 and 2^126.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;
const LARGEST: f64 = 1.0 / SMALLEST;

/// The numbers of a [`LossScaler`] that stay the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossScalerConfig {
    /// The scale of the first step. Default 65,536.
    pub init_scale: f64,
    /// What the scale is multiplied with after enough good steps. Default 2.
    pub growth_factor: f64,
    /// What it is multiplied with after an overflow. Default 0.5.
    pub backoff_factor: f64,
    /// Good steps, one after the other, after which it grows. Default 2,000.
    pub growth_interval: u32,
}

impl Default for LossScalerConfig {
    fn default() -> Self {
        Self {
            init_scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
        }
    }
}

impl LossScalerConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When the first scale is not between 2^-126 and 2^126, the growth factor is not above 1 and held by f32, the
    /// backoff factor is not between 0 and 1, both excluded, or the interval is zero.
    pub fn validate(&self) -> Result<()> {
        let (growth, backoff) = (self.growth_factor, self.backoff_factor);
        let checks = [
            (
                "init_scale",
                self.init_scale,
                in_range(self.init_scale),
                "2^-126 to 2^126",
            ),
            (
                "growth_factor",
                growth,
                growth > 1.0 && positive(growth),
                "a number above 1",
            ),
            (
                "backoff_factor",
                backoff,
                backoff > 0.0 && backoff < 1.0,
                "a number between 0 and 1",
            ),
            (
                "growth_interval",
                f64::from(self.growth_interval),
                self.growth_interval > 0,
                "at least 1 step",
            ),
        ];
        check(OPERATION, &checks)
    }
}

fn in_range(scale: f64) -> bool {
    (SMALLEST..=LARGEST).contains(&scale)
}

/// What of a [`LossScaler`] changes, for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScalerState {
    /// The present scale.
    pub scale: f32,
    /// Good steps since it last changed.
    pub good_steps: u32,
}

/// Chooses what the loss is multiplied with, so that small gradients do not vanish in half precision and large ones
/// do not overflow: after an overflow `scale = backoff_factor * scale`, after
/// [`growth_interval`](LossScalerConfig::growth_interval) steps without one `scale = growth_factor * scale`, rounded to
/// f32 each time. Micikevicius et al., *Mixed Precision Training*, 2018 (arXiv 1710.03740), section 3.2. The sequence
/// of scales is that of PyTorch's `GradScaler`, except at the ends: here the scale stays between 2^-126 and 2^126, so
/// that the scale and its reciprocal are normal numbers of f32. There it sinks to zero, and grows up to 2^127.
///
/// Whether a step overflowed is what the optimizer found: the first number of
/// [`Adam::skipped`](super::Adam::skipped). Without waiting for it, give it to [`update_late`](Self::update_late).
///
/// ```
/// use forgeling::train::{LossScaler, LossScalerConfig};
///
/// let mut scaler = LossScaler::new(LossScalerConfig { growth_interval: 2, ..Default::default() })?;
/// let mut scales = Vec::new();
/// for overflow in [true, false, false, false] {
///     scales.push(scaler.scale());
///     scaler.update(overflow);
/// }
/// assert_eq!(scales, [65536.0, 32768.0, 32768.0, 65536.0]);
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScaler {
    config: LossScalerConfig,
    state: LossScalerState,
}

impl LossScaler {
    /// A scaler before its first step.
    ///
    /// # Errors
    /// As [`LossScalerConfig::validate`].
    pub fn new(config: LossScalerConfig) -> Result<Self> {
        config.validate()?;
        let state = LossScalerState {
            scale: config.init_scale as f32,
            good_steps: 0,
        };
        Ok(Self { config, state })
    }

    /// The configuration.
    pub fn config(&self) -> &LossScalerConfig {
        &self.config
    }

    /// What the loss of the next step is multiplied with, a number that f32 holds; its gradients are divided by it with
    /// [`Adam::set_loss_scale`](super::Adam::set_loss_scale).
    pub fn scale(&self) -> f64 {
        f64::from(self.state.scale)
    }

    /// Takes notice of a step that was run with the present scale: whether a gradient was not finite.
    pub fn update(&mut self, overflow: bool) {
        let state = &mut self.state;
        if overflow {
            let less = f64::from(state.scale) * self.config.backoff_factor;
            state.scale = (less as f32).max(f32::MIN_POSITIVE);
            state.good_steps = 0;
            return;
        }
        state.good_steps += 1;
        if state.good_steps >= self.config.growth_interval {
            let more = (f64::from(state.scale) * self.config.growth_factor) as f32;
            // As in PyTorch, a scale that would leave the range stays what it is.
            if in_range(f64::from(more)) {
                state.scale = more;
            }
            state.good_steps = 0;
        }
    }

    /// Takes notice of a step whose outcome is known only after later ones were begun. `scale` is what
    /// [`scale`](Self::scale) gave for that step.
    ///
    /// A step that was run with another scale than the present one says nothing about the present one, and changes
    /// nothing: its overflow was met by the backoff already, and it counts for no growth. So the scales follow each
    /// other as they would with [`update`](Self::update) at once, each held for as many counted steps. What a delay of
    /// `d` steps costs are the `d` steps begun before a change was known.
    ///
    /// Outcomes must come in the order of their steps.
    pub fn update_late(&mut self, scale: f64, overflow: bool) {
        if scale == self.scale() {
            self.update(overflow);
        }
    }

    /// What changes, for a checkpoint.
    pub fn state(&self) -> LossScalerState {
        self.state
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// When the scale is not between 2^-126 and 2^126, or the good steps are not fewer than the interval; nothing is
    /// changed then.
    pub fn load_state(&mut self, state: LossScalerState) -> Result<()> {
        if !in_range(f64::from(state.scale)) {
            return Err(Error::bad_data(OPERATION, "the scale is out of range")
                .expected("2^-126 to 2^126")
                .got(state.scale));
        }
        if state.good_steps >= self.config.growth_interval {
            return Err(Error::bad_data(
                OPERATION,
                "more good steps than there are in an interval",
            )
            .expected(format!("fewer than {}", self.config.growth_interval))
            .got(state.good_steps));
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(config: LossScalerConfig) -> LossScaler {
        LossScaler::new(config).unwrap()
    }

    #[test]
    fn numbers_out_of_range_are_errors_that_name_them() {
        let right = LossScalerConfig::default();
        let with_scale = |init_scale| LossScalerConfig {
            init_scale,
            ..right
        };
        let with_growth = |growth_factor| LossScalerConfig {
            growth_factor,
            ..right
        };
        let with_backoff = |backoff_factor| LossScalerConfig {
            backoff_factor,
            ..right
        };
        let bad = [
            ("init_scale", with_scale(0.0)),
            ("init_scale", with_scale(f64::NAN)),
            ("init_scale", with_scale(1e-40)),
            ("init_scale", with_scale(2e38)),
            ("growth_factor", with_growth(1.0)),
            ("growth_factor", with_growth(f64::INFINITY)),
            ("backoff_factor", with_backoff(1.0)),
            ("backoff_factor", with_backoff(0.0)),
            (
                "growth_interval",
                LossScalerConfig {
                    growth_interval: 0,
                    ..right
                },
            ),
        ];
        for (name, config) in bad {
            let error = LossScaler::new(config).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(name),
                "{error}"
            );
        }
    }

    #[test]
    fn the_scale_and_its_reciprocal_stay_normal() {
        let mut scaler = scaler(LossScalerConfig {
            growth_interval: 1,
            growth_factor: 1000.0,
            ..Default::default()
        });
        for overflow in [true, false] {
            for _ in 0..400 {
                scaler.update(overflow);
                let scale = scaler.scale() as f32;
                assert!(scale.is_normal() && (1.0 / scale).is_normal(), "{scale}");
            }
        }
    }

    #[test]
    fn a_state_goes_on_and_a_wrong_one_changes_nothing() {
        let mut scaler = scaler(LossScalerConfig {
            growth_interval: 5,
            ..Default::default()
        });
        for overflow in [false, true, false, false, false] {
            scaler.update(overflow);
        }
        let text = serde_json::to_string(&scaler.state()).unwrap();
        let mut other = LossScaler::new(scaler.config).unwrap();
        other
            .load_state(serde_json::from_str(&text).unwrap())
            .unwrap();
        assert_eq!(other, scaler);
        for (scale, good_steps) in [(0.0, 0), (f32::NAN, 0), (f32::INFINITY, 0), (1.0, 5)] {
            let state = LossScalerState { scale, good_steps };
            assert!(other.load_state(state).unwrap_err().is_bad_input());
            assert_eq!(other, scaler);
        }
    }
}
