//! Who takes the steps.

use super::{Objective, TrainEvent, Trainable};
use crate::error::Result;
use crate::train::micro_batch::fewer;
use crate::train::{AnyOptimizer, Batch, HardwareManager, OptimizerRecord, StepReport};

/// What steps are taken with.
#[derive(Debug)]
pub(crate) struct Core {
    pub manager: HardwareManager,
    pub optimizer: AnyOptimizer,
    /// The most examples in one pass, once memory has not sufficed.
    pub micro_batch: Option<usize>,
    /// Steps so far.
    pub steps: usize,
}

/// Takes the steps of a training loop: one device, several, or several processes.
pub(crate) trait Engine<M: Trainable, O: Objective<M>> {
    /// Begins with a model and, where it was saved, the state of the optimizer.
    async fn begin(
        &mut self,
        core: &mut Core,
        model: &mut M,
        optimizer: Option<OptimizerRecord>,
    ) -> Result<()>;

    /// One step on all of these batches. What happens on the way goes to `events`. After an error the model is as it was.
    async fn step(
        &mut self,
        core: &mut Core,
        model: &mut M,
        objective: &O,
        batches: &[O::Batch],
        rate: f64,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport>;

    /// Brings model and optimizer up to date, where steps are taken on replicas.
    fn gather(&mut self, core: &mut Core, model: &mut M) -> Result<()>;

    /// Whether this process writes checkpoints.
    fn writes(&self) -> bool {
        true
    }
}

/// One device.
pub(crate) struct Single;

impl<M: Trainable, O: Objective<M>> Engine<M, O> for Single {
    async fn begin(
        &mut self,
        core: &mut Core,
        model: &mut M,
        optimizer: Option<OptimizerRecord>,
    ) -> Result<()> {
        optimizer.map_or(Ok(()), |record| core.optimizer.load_state(model, record))
    }

    async fn step(
        &mut self,
        core: &mut Core,
        model: &mut M,
        objective: &O,
        batches: &[O::Batch],
        rate: f64,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport> {
        let largest = batches.iter().map(Batch::len).max().unwrap_or(1);
        loop {
            let micro = core.micro_batch.unwrap_or(largest).min(largest);
            let passed = core.manager.passes(model, objective, batches, micro);
            let stepped = match passed {
                Ok(()) => {
                    let step = core.manager.step(&mut core.optimizer, rate, model);
                    step.await
                }
                Err(problem) => Err(problem),
            };
            let problem = match stepped {
                Ok(report) => return Ok(report),
                Err(problem) => problem,
            };
            let examples = fewer(problem, micro, core.manager.device())?;
            core.micro_batch = Some(examples);
            let step = core.steps;
            events.push(TrainEvent::MicroBatch { step, examples });
        }
    }

    fn gather(&mut self, _core: &mut Core, _model: &mut M) -> Result<()> {
        Ok(())
    }
}
