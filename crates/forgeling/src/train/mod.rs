//! What every method trains with: events, schedules and model files.
//!
//! - [`Adam`], [`Sgd`]: the optimizers; [`Optimizer`]: what they have in common.
//! - [`MlpTrainer`]: a perceptron in training.
//! - [`StepEvent`]: what a training loop reports after each step.
//! - [`HalvingSchedule`]: the learning rate over time.
//! - [`weights`]: a module's values by name, and back.
//! - [`model_file`]: safetensors with a header of ours, written so that nothing is lost half-way.

mod adam;
mod mlp;
pub mod model_file;
mod optimizer;
mod sgd;
pub mod weights;

pub use adam::{Adam, AdamConfig};
pub use mlp::MlpTrainer;
pub use optimizer::Optimizer;
pub(crate) use optimizer::in_place_of;
use serde::{Deserialize, Serialize};
pub use sgd::{Sgd, SgdConfig};

use crate::error::{Error, Result};

/// What a training loop reports after each optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepEvent {
    /// Optimizer steps so far, this one included.
    pub step: usize,
    /// Episodes seen so far, this step's included.
    pub episode: usize,
    /// Mean cross entropy of the queries of this step, in nats.
    pub loss: f64,
    /// Fraction of this step's queries that were classified rightly.
    pub accuracy: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Episodes per second over the last steps, rendering included.
    pub episodes_per_second: f64,
    /// Seconds since the trainer began.
    pub seconds: f64,
}

/// `rate(episode) = initial * 0.5^floor(episode / every)`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HalvingSchedule {
    /// The rate at the start. Default 1e-3.
    pub initial: f64,
    /// Episodes after which it is halved. Default 2,000, as in the ProtoNet paper.
    pub every: usize,
}

impl Default for HalvingSchedule {
    fn default() -> Self {
        Self {
            initial: 1e-3,
            every: 2000,
        }
    }
}

impl HalvingSchedule {
    /// The learning rate for a step that begins after `episode` episodes.
    pub fn rate(&self, episode: usize) -> f64 {
        let halvings = (episode / self.every.max(1)).min(1000) as i32;
        self.initial * libm::exp2(f64::from(-halvings))
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When the rate is not positive and finite or the interval is zero.
    pub fn validate(&self) -> Result<()> {
        if !(self.initial.is_finite() && self.initial > 0.0) {
            return Err(
                Error::invalid("schedule", "the learning rate is out of range")
                    .expected("a positive number")
                    .got(self.initial),
            );
        }
        if self.every == 0 {
            return Err(Error::invalid("schedule", "the halving interval is zero")
                .expected("at least 1 episode"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_halves_at_every_interval() {
        let schedule = HalvingSchedule {
            initial: 0.8,
            every: 10,
        };
        let rates: Vec<f64> = [0, 9, 10, 19, 20, 35].map(|e| schedule.rate(e)).to_vec();
        assert_eq!(rates, [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]);
        assert!(
            HalvingSchedule {
                initial: f64::NAN,
                every: 1
            }
            .validate()
            .is_err()
        );
        assert!(
            HalvingSchedule {
                initial: 1.0,
                every: 0
            }
            .validate()
            .is_err()
        );
    }
}
