//! A run goes on from checkpoints, and saves them.

use std::ops::ControlFlow;

use super::beside::Beside;
use super::{Engine, OPERATION, Run, Source, TrainEvent, Trainer};
use crate::error::{Error, Result};
use crate::train::OptimizerRecord;
use crate::train::objective::{Objective, Trainable};

impl Trainer {
    /// Goes on from the latest checkpoint, if there is one.
    pub(super) fn resume<M: Trainable, S: Source>(
        &mut self,
        model: &mut M,
        beside: &mut Beside<M>,
        run: &mut Run<'_, S, M>,
        on_event: &mut impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<Option<OptimizerRecord>> {
        let Some(checkpoints) = &mut run.checkpoints else {
            return Ok(None);
        };
        let (latest, damaged) = checkpoints.latest()?;
        let Some(checkpoint) = latest else {
            // To begin anew would be to replace what may still be mended.
            return match damaged.is_empty() {
                true => Ok(None),
                false => Err(Error::bad_data(OPERATION, "every checkpoint is damaged")
                    .expected("one that is whole, or none at all")
                    .got(damaged.join("; "))),
            };
        };
        let (manager, progress) = (&mut self.core.manager, &mut self.progress);
        let again = self.config.overfit_batches.is_some();
        let record = beside.load(checkpoint, model, manager, progress, run, again)?;
        let _ = on_event(&TrainEvent::Resumed {
            step: self.progress.steps(),
            epoch: self.progress.epochs(),
            damaged,
        });
        Ok(Some(record))
    }

    /// Saves a checkpoint of a model that has been gathered, where there are some.
    pub(super) async fn save<M: Trainable, O: Objective<M>, S: Source<Batch = O::Batch>>(
        &self,
        engine: &mut impl Engine<M, O>,
        model: &M,
        beside: &Beside<M>,
        run: &mut Run<'_, S, M>,
        on_event: &mut impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<()> {
        let step = self.progress.steps();
        if run.checkpoints.is_none() || step == 0 || !engine.writes() {
            return Ok(());
        }
        engine.gather_parts(&self.core, &mut run.parts)?;
        let mut checkpoint = self.state(model).await?;
        beside.save(&mut checkpoint, &self.progress, run).await?;
        let Some(checkpoints) = &mut run.checkpoints else {
            return Ok(());
        };
        let place = checkpoints.save(&checkpoint)?;
        let _ = on_event(&TrainEvent::Saved { step, place });
        Ok(())
    }
}
