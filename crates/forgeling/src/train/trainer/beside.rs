//! What a run of training keeps beside the model.

use std::collections::BTreeMap;

use serde_json::Value;

use super::state::State;
use super::{Progress, Run, Source, Trainable, TrainerConfig, Validation};
use crate::error::Result;
use crate::train::{
    Checkpoint, EarlyStopping, Ema, EmaRecord, Goal, HardwareManager, OptimizerRecord, Verdict,
    weights,
};

/// What a run keeps beside the model that takes the steps.
pub(super) struct Beside<M> {
    pub ema: Option<Ema<M>>,
    stopping: Option<EarlyStopping>,
    /// The best model that was validated.
    best: Option<M>,
    /// Whether validation has not become better for too long.
    pub stopped: bool,
}

impl<M: Trainable> Beside<M> {
    pub fn new(config: &TrainerConfig, model: &M) -> Result<Self> {
        let ema = config.ema.map(|config| Ema::new(config, model));
        Ok(Self {
            ema: ema.transpose()?,
            stopping: config.early_stopping.map(EarlyStopping::new).transpose()?,
            best: None,
            stopped: false,
        })
    }

    /// What is validated, and left behind.
    pub fn result<'a>(&'a self, model: &'a M) -> &'a M {
        self.ema.as_ref().map_or(model, Ema::module)
    }

    /// What is left behind.
    pub fn into_result(self, model: M) -> M {
        let last = self.ema.map_or(model, |ema| ema.module().clone());
        self.best.unwrap_or(last)
    }

    /// Takes notice of a validation of what `model` comes to.
    pub fn observe(&mut self, model: &M, validation: &Validation) {
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        let metric = metric(validation, Some(stopping.config().goal));
        match stopping.observe(metric.unwrap_or(f64::NAN)) {
            Verdict::Improved => self.best = Some(self.result(model).clone()),
            Verdict::Wait => {}
            Verdict::Stop => self.stopped = true,
        }
    }

    /// Puts what a run has beside model and trainer into their checkpoint.
    pub async fn save(
        &self,
        checkpoint: &mut Checkpoint,
        progress: &Progress,
        run: &Run<'_, impl Source, M>,
    ) -> Result<()> {
        let goal = self.stopping.map(|stopping| stopping.config().goal);
        let validation = progress.kept().validation;
        checkpoint.metric = validation.and_then(|found| metric(&found, goal));
        checkpoint.set_section("source", &run.source.state())?;
        let held_out = run.validation.iter();
        let states = held_out.map(|held| (&held.name, held.source.state()));
        checkpoint.set_section("validation", &states.collect::<BTreeMap<_, _>>())?;
        if let Some(ema) = &self.ema {
            let record = ema.state().await?;
            checkpoint.set_section("average", &record.updates)?;
            checkpoint.tensors.insert("average".into(), record.tensors);
        }
        if let Some(stopping) = &self.stopping {
            checkpoint.set_section("stopping", &stopping.state())?;
        }
        if let Some(best) = &self.best {
            let best = weights::collect(best).await?;
            checkpoint.tensors.insert("best".into(), best);
        }
        run.parts.save(checkpoint).await
    }

    /// Takes a checkpoint in; gives what the engine needs of it. After an error the run cannot go on.
    pub fn load(
        &mut self,
        mut checkpoint: Checkpoint,
        model: &mut M,
        manager: &mut HardwareManager,
        progress: &mut Progress,
        run: &mut Run<'_, impl Source, M>,
        again: bool,
    ) -> Result<OptimizerRecord> {
        let state = State::read(&mut checkpoint, model, manager)?;
        if let Some(ema) = &mut self.ema {
            ema.load_state(EmaRecord {
                updates: checkpoint.section("average")?,
                tensors: checkpoint.take_tensors("average")?,
            })?;
        }
        if let Some(stopping) = &mut self.stopping {
            stopping.load_state(checkpoint.section("stopping")?)?;
            // A run that had stopped has stopped.
            self.stopped = stopping.state().waited >= stopping.config().patience;
        }
        self.best = match checkpoint.take_tensors("best") {
            Ok(tensors) if self.stopping.is_some() => Some(weights::load(model.clone(), tensors)?),
            _ => None,
        };
        // Batches that are trained on over and over are read again from the start.
        if !again {
            run.source.resume(&checkpoint.section("source")?)?;
        }
        let states: BTreeMap<String, Value> = checkpoint.section("validation")?;
        for held in &mut run.validation {
            // A set that is new begins.
            if let Some(state) = states.get(&held.name) {
                held.source.resume(state)?;
            }
        }
        run.parts
            .load(&mut checkpoint, manager.device().tensors())?;
        if let Some(scaler) = state.scaler {
            manager.restore_scaler(scaler);
        }
        (*model, *progress) = (state.model, state.progress);
        Ok(state.optimizer)
    }
}

/// What tells how good a model is.
fn metric(validation: &Validation, goal: Option<Goal>) -> Option<f64> {
    match goal {
        Some(Goal::Maximize) => validation.accuracy,
        _ => Some(validation.loss),
    }
}
