//! What one trainer hands on to the next, as where a network has changed its shapes between two runs.

use super::{Trainer, TrainerConfig};
use crate::error::Result;
use crate::train::{AnyOptimizer, HardwareManager};

impl Trainer {
    /// A trainer before its first step, whose optimizer goes on from what it has kept, with its own numbers in the place of
    /// the configuration's.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn going_on(
        config: TrainerConfig,
        manager: HardwareManager,
        optimizer: AnyOptimizer,
    ) -> Result<Self> {
        let mut trainer = Self::new(config, manager)?;
        trainer.core.optimizer = optimizer;
        Ok(trainer)
    }

    /// What takes the steps, and what moves the parameters.
    pub fn into_parts(self) -> (HardwareManager, AnyOptimizer) {
        (self.core.manager, self.core.optimizer)
    }
}
