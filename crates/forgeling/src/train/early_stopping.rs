//! When further training is of no use.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which values of a metric are good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Small ones, as of a loss. The default.
    #[default]
    Minimize,
    /// Large ones, as of an accuracy.
    Maximize,
}

impl Goal {
    /// Whether `value` is better than `other` by more than `margin`; never where one of them is NaN.
    pub fn better(self, value: f64, other: f64, margin: f64) -> bool {
        match self {
            Self::Minimize => value < other - margin,
            Self::Maximize => value > other + margin,
        }
    }
}

/// The numbers of [`EarlyStopping`] that stay the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStoppingConfig {
    /// Which values are good. Default small ones.
    pub goal: Goal,
    /// Values without improvement, one after the other, after which to stop. Default 10; 0 is as 1.
    pub patience: usize,
    /// By how much a value must be better than the best to be an improvement. Default 0.
    pub min_delta: f64,
}

impl Default for EarlyStoppingConfig {
    fn default() -> Self {
        Self {
            goal: Goal::Minimize,
            patience: 10,
            min_delta: 0.0,
        }
    }
}

impl EarlyStoppingConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When the smallest improvement is negative or not finite.
    pub fn validate(&self) -> Result<()> {
        if self.min_delta.is_finite() && self.min_delta >= 0.0 {
            return Ok(());
        }
        Err(
            Error::invalid("early_stopping", "min_delta is out of range")
                .expected("a number of at least 0")
                .got(self.min_delta),
        )
    }
}

/// What of [`EarlyStopping`] changes, for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStoppingState {
    /// The best value so far.
    pub best: Option<f64>,
    /// Values since then.
    pub waited: usize,
}

/// What is to be done after a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the best so far: keep this model.
    Improved,
    /// It is not, but there is patience left.
    Wait,
    /// It is not, and patience is at its end: stop, and take the model that was the best.
    Stop,
}

/// Tells when a metric, usually of validation examples, has not become better for long. A value improves where it is
/// better than the best so far by more than [`min_delta`](EarlyStoppingConfig::min_delta), as the first finite one does
/// always; one that is not finite never does. Prechelt, *Early Stopping, But When?*, 1998.
///
/// ```
/// use forgeling::train::{EarlyStopping, EarlyStoppingConfig, Verdict};
///
/// let config = EarlyStoppingConfig { patience: 2, ..Default::default() };
/// let mut stopping = EarlyStopping::new(config)?;
/// let verdicts = [0.9, 0.7, 0.8, 0.7].map(|loss| stopping.observe(loss));
/// assert_eq!(verdicts, [Verdict::Improved, Verdict::Improved, Verdict::Wait, Verdict::Stop]);
/// assert_eq!(stopping.state().best, Some(0.7));
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    config: EarlyStoppingConfig,
    state: EarlyStoppingState,
}

impl EarlyStopping {
    /// Before the first value.
    ///
    /// # Errors
    /// As [`EarlyStoppingConfig::validate`].
    pub fn new(config: EarlyStoppingConfig) -> Result<Self> {
        config.validate()?;
        let state = EarlyStoppingState::default();
        Ok(Self { config, state })
    }

    /// The configuration.
    pub fn config(&self) -> &EarlyStoppingConfig {
        &self.config
    }

    /// Takes notice of a value.
    pub fn observe(&mut self, value: f64) -> Verdict {
        let (goal, margin) = (self.config.goal, self.config.min_delta);
        let better = |best| goal.better(value, best, margin);
        if value.is_finite() && self.state.best.is_none_or(better) {
            self.state = EarlyStoppingState {
                best: Some(value),
                waited: 0,
            };
            return Verdict::Improved;
        }
        self.state.waited = self.state.waited.saturating_add(1);
        if self.state.waited >= self.config.patience {
            Verdict::Stop
        } else {
            Verdict::Wait
        }
    }

    /// What changes, for a checkpoint.
    pub fn state(&self) -> EarlyStoppingState {
        self.state
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// When its best value is not finite; nothing is changed then.
    pub fn load_state(&mut self, state: EarlyStoppingState) -> Result<()> {
        if let Some(best) = state.best.filter(|best| !best.is_finite()) {
            return Err(
                Error::bad_data("early_stopping", "the best value is not finite").got(best),
            );
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(config: EarlyStoppingConfig, values: &[f64]) -> String {
        let mut stopping = EarlyStopping::new(config).unwrap();
        let letter = |value: &f64| match stopping.observe(*value) {
            Verdict::Improved => 'i',
            Verdict::Wait => 'w',
            Verdict::Stop => 's',
        };
        values.iter().map(letter).collect()
    }

    #[test]
    fn patience_margin_and_goal() {
        let config = |goal, patience, min_delta| EarlyStoppingConfig {
            goal,
            patience,
            min_delta,
        };
        let (low, high) = (Goal::Minimize, Goal::Maximize);
        let values = [1.0, 0.9, 0.95, 0.89, 0.9, 0.9, 0.9];
        assert_eq!(verdicts(config(low, 3, 0.0), &values), "iiwiwws");
        assert_eq!(verdicts(config(low, 3, 0.05), &values), "iiwwsss");
        assert_eq!(verdicts(config(high, 2, 0.0), &values), "iwsssss");
        assert_eq!(verdicts(config(high, 0, 0.0), &[1.0, 2.0, 2.0]), "iis");
        // Many steps, each too small, are no improvement, but their sum is.
        assert_eq!(
            verdicts(config(low, 9, 0.25), &[1.0, 0.875, 0.75, 0.625]),
            "iwwi"
        );
    }

    #[test]
    fn values_that_are_not_finite_never_improve() {
        let config = EarlyStoppingConfig {
            patience: 3,
            ..Default::default()
        };
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        assert_eq!(
            verdicts(config, &[nan, -infinity, 2.0, infinity, nan, 1.0]),
            "wwiwwi"
        );
    }

    #[test]
    fn a_state_goes_on_and_a_wrong_one_changes_nothing() {
        let mut one = EarlyStopping::new(EarlyStoppingConfig::default()).unwrap();
        for value in [0.3, 0.1, 0.7] {
            one.observe(value);
        }
        let text = serde_json::to_string(&one.state()).unwrap();
        let mut other = EarlyStopping::new(one.config).unwrap();
        other
            .load_state(serde_json::from_str(&text).unwrap())
            .unwrap();
        assert_eq!(other, one);
        let wrong = EarlyStoppingState {
            best: Some(f64::NAN),
            waited: 0,
        };
        assert!(other.load_state(wrong).unwrap_err().is_bad_input());
        assert_eq!(other, one);
        for min_delta in [-1.0, f64::NAN] {
            let config = EarlyStoppingConfig {
                min_delta,
                ..Default::default()
            };
            assert!(EarlyStopping::new(config).unwrap_err().is_bad_input());
        }
    }
}
