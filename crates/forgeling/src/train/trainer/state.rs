//! What of a trainer and its model changes in training, in a checkpoint.

use super::{Core, Kept, Progress, Spent, Trainable, Trainer};
use crate::error::Result;
use crate::train::{Checkpoint, HardwareManager, LossScaler, OptimizerRecord, weights};

/// What a trainer goes on from.
pub(super) struct State<M> {
    pub model: M,
    pub optimizer: OptimizerRecord,
    pub progress: Progress,
    pub scaler: Option<LossScaler>,
}

impl<M: Trainable> State<M> {
    /// That of a checkpoint, whose tensors of it are then gone.
    pub fn read(checkpoint: &mut Checkpoint, model: &M, manager: &HardwareManager) -> Result<Self> {
        let kept: Kept = checkpoint.section("progress")?;
        let spent: Spent = checkpoint.section("time")?;
        let optimizer = OptimizerRecord {
            summary: checkpoint.section("optimizer")?,
            moments: checkpoint.take_tensors("optimizer")?,
        };
        let model = weights::load(model.clone(), checkpoint.take_tensors("model")?)?;
        let saved = checkpoint.sections.contains_key("scaler");
        let mut scaler = manager.scaler().filter(|_| saved).copied();
        if let Some(scaler) = &mut scaler {
            scaler.load_state(checkpoint.section("scaler")?)?;
        }
        Ok(Self {
            model,
            optimizer,
            progress: Progress::resumed(kept, spent),
            scaler,
        })
    }
}

impl Trainer {
    /// A checkpoint of a model in training, without what a run has beside it.
    pub(crate) async fn state<M: Trainable>(&self, model: &M) -> Result<Checkpoint> {
        let Core {
            manager, optimizer, ..
        } = &self.core;
        let mut checkpoint = Checkpoint::new(self.progress.steps() as u64);
        checkpoint.set_section("progress", &self.progress.kept())?;
        checkpoint.set_section("time", &self.progress.spent())?;
        if let Some(scaler) = manager.scaler() {
            checkpoint.set_section("scaler", &scaler.state())?;
        }
        let optimizer = optimizer.state(model).await?;
        checkpoint.set_section("optimizer", &optimizer.summary)?;
        let tensors = &mut checkpoint.tensors;
        tensors.insert("model".into(), weights::collect(model).await?);
        tensors.insert("optimizer".into(), optimizer.moments);
        Ok(checkpoint)
    }

    /// Goes on from [`state`](Self::state) between two runs. After an error it cannot go on.
    pub(crate) fn load_state<M: Trainable>(
        &mut self,
        checkpoint: &mut Checkpoint,
        model: &mut M,
    ) -> Result<()> {
        let core = &mut self.core;
        let state = State::read(checkpoint, model, &core.manager)?;
        core.optimizer.load_state(&state.model, state.optimizer)?;
        if let Some(scaler) = state.scaler {
            core.manager.restore_scaler(scaler);
        }
        self.progress = state.progress;
        *model = state.model;
        Ok(())
    }
}
