//! Whole runs of training on several devices.
//!
//! - `passes`: what a replica does with its share.
//! - `devices`: replicas with threads of this process.
//! - `rank`: one of several processes.

mod devices;
mod passes;
mod rank;

use std::ops::ControlFlow;

use self::devices::Devices;
use self::rank::Rank;
use super::{Collective, ParallelConfig, ParallelEvent, ParallelStep};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::train::{
    Core, Objective, Run, Source, StepReport, TrainEvent, TrainSummary, Trainable, Trainer,
};

const OPERATION: &str = "train_step";

impl Trainer {
    /// As [`fit`](Self::fit), on several devices at once, each with a replica of the model and a thread of its own:
    /// [`DataParallel`](super::DataParallel). The first of them should be the model's. A device that fails is dropped
    /// ([`TrainEvent::DeviceDropped`]), and training goes on without it.
    ///
    /// What a page cannot do: there it is an error.
    ///
    /// # Errors
    /// As [`fit`](Self::fit) and [`DataParallel::new`](super::DataParallel::new), when the run has a method that changes steps and gives no
    /// [replica](crate::train::parts::Method::on_replica), or a replay buffer that keeps the model's answers, and when
    /// replicas come to differ.
    pub async fn fit_on_devices<M, O, S>(
        &mut self,
        devices: &[Device],
        config: ParallelConfig,
        model: &mut M,
        objective: &O,
        run: Run<'_, S, M>,
        on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<TrainSummary>
    where
        M: Trainable + 'static,
        O: Objective<M> + Clone + Send + Sync + 'static,
        O::Batch: 'static,
        S: Source<Batch = O::Batch>,
    {
        let mut engine = Devices::new(devices.to_vec(), config);
        self.fit_with(&mut engine, model, objective, run, on_event)
            .await
    }

    /// As [`fit`](Self::fit), as one rank of several processes, each with a device: [`Distributed`](super::Distributed). All ranks are to have
    /// the same configuration, data, seeds and methods. Rank 0 saves checkpoints; all ranks go on from them, so they must all see
    /// the same folder.
    ///
    /// Gives the collective back, which is needed to end.
    ///
    /// # Errors
    /// As [`fit`](Self::fit) and [`Distributed::step`](super::Distributed::step): when one rank fails, all have an error. When the run has a replay
    /// buffer that keeps the model's answers.
    pub async fn fit_as_rank<M, O, S, C>(
        &mut self,
        collective: C,
        config: ParallelConfig,
        model: &mut M,
        objective: &O,
        run: Run<'_, S, M>,
        on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<(TrainSummary, C)>
    where
        M: Trainable + 'static,
        O: Objective<M> + Clone + Send + Sync + 'static,
        O::Batch: 'static,
        S: Source<Batch = O::Batch>,
        C: Collective,
    {
        let mut engine = Rank::new(collective, config);
        let summary = self
            .fit_with(&mut engine, model, objective, run, on_event)
            .await?;
        Ok((summary, engine.into_collective()?))
    }
}

/// What a step on replicas came to, with its events; the scaler takes note of it.
fn judge(step: &ParallelStep, core: &mut Core, events: &mut Vec<TrainEvent>) -> Result<StepReport> {
    let all = step.events.iter();
    events.extend(all.filter_map(|event| told(event, core.steps)));
    let report = StepReport {
        loss: step.loss,
        accuracy: step.metrics.first().copied(),
        skipped: !step.finite,
        loss_scale: core.manager.loss_scale(),
    };
    core.manager.judge(&report)?;
    Ok(report)
}

/// As the trainer tells it.
fn told(event: &ParallelEvent, step: usize) -> Option<TrainEvent> {
    match event {
        ParallelEvent::Dropped {
            device,
            name,
            reason,
            remaining,
            ..
        } => Some(TrainEvent::DeviceDropped {
            step,
            device: *device,
            name: name.clone(),
            reason: reason.clone(),
            remaining: *remaining,
        }),
        ParallelEvent::Planned { parts } => Some(TrainEvent::Shares {
            step,
            parts: parts.clone(),
        }),
        ParallelEvent::Synchronized { .. } => None,
    }
}

fn not_begun() -> Error {
    Error::invalid(
        OPERATION,
        "the replicas have failed; begin anew from a checkpoint",
    )
}
