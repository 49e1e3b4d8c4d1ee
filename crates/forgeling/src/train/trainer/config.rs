//! How long to train, with what, and what to do beside it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::{EarlyStoppingConfig, EmaConfig, OptimizerConfig, Schedule};

/// How a [`Trainer`](super::Trainer) trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Stop after so many times through the data; `None` for no limit. Default `None`.
    pub epochs: Option<usize>,
    /// Stop after so many steps; `None` for no limit. Default `None`.
    pub steps: Option<usize>,
    /// Stop after so many examples; `None` for no limit. Default `None`.
    pub examples: Option<usize>,
    /// Stop after so many seconds, those of earlier runs included; `None` for no limit. Default `None`.
    pub seconds: Option<f64>,
    /// What moves the parameters. Default Adam.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the steps. Default 1e-3, always.
    pub schedule: Schedule,
    /// Batches whose gradients make one step, each of which counts alike. Default 1.
    pub accumulate: usize,
    /// Validate after so many steps, and not after every epoch. Default `None`.
    pub validate_every: Option<usize>,
    /// Average the weights of all steps; the average is what is validated, and the model that training leaves behind.
    /// Default `None`.
    pub ema: Option<EmaConfig>,
    /// Stop when validation does not become better for long, and leave the model behind that was the best. The metric
    /// is the validation loss where the goal is to minimize, the validation accuracy otherwise. Default `None`.
    pub early_stopping: Option<EarlyStoppingConfig>,
    /// Save a checkpoint after so many steps, and not only after every epoch and at the end. Default `None`.
    pub checkpoint_every: Option<usize>,
    /// Try everything out on so many batches: one epoch of them, validation on as many, nothing saved. Default `None`.
    pub fast_dev_run: Option<usize>,
    /// Train on the first so many batches only, over and over: a network that cannot learn those by heart has a fault.
    /// Default `None`.
    pub overfit_batches: Option<usize>,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            epochs: None,
            steps: None,
            examples: None,
            seconds: None,
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::default(),
            accumulate: 1,
            validate_every: None,
            ema: None,
            early_stopping: None,
            checkpoint_every: None,
            fast_dev_run: None,
            overfit_batches: None,
        }
    }
}

impl TrainerConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        self.schedule.validate()?;
        self.ema.map_or(Ok(()), |ema| ema.validate())?;
        self.early_stopping
            .map_or(Ok(()), |stopping| stopping.validate())?;
        let counts = [
            ("epochs", self.epochs),
            ("steps", self.steps),
            ("examples", self.examples),
            ("accumulate", Some(self.accumulate)),
            ("validate_every", self.validate_every),
            ("checkpoint_every", self.checkpoint_every),
            ("fast_dev_run", self.fast_dev_run),
            ("overfit_batches", self.overfit_batches),
        ];
        for (name, count) in counts {
            if count == Some(0) {
                let problem = Error::invalid("trainer_config", format!("{name} is out of range"));
                return Err(problem.expected("at least 1").got(0));
            }
        }
        if let Some(seconds) = self.seconds
            && (seconds.is_nan() || seconds <= 0.0)
        {
            return Err(Error::invalid("trainer_config", "seconds is out of range")
                .expected("a positive number")
                .got(seconds));
        }
        Ok(())
    }

    /// Whether training has an end of its own.
    pub fn is_limited(&self) -> bool {
        let counts = [self.epochs, self.steps, self.examples, self.fast_dev_run];
        self.seconds.is_some() || counts.iter().any(Option::is_some)
    }
}
