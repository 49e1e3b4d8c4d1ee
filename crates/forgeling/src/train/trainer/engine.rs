//! Who takes the steps.

use burn::optim::GradientsParams;

use super::{Objective, TrainEvent, Trainable};
use crate::error::Result;
use crate::train::hardware_manager::See;
use crate::train::micro_batch::fewer;
use crate::train::parts::{Parts, StepContext, Taken, Takes, WithTerms, gradients};
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

/// What goes into a step beside its examples, and what of it the parts are to see.
pub(crate) struct Around<'s, 'p, M, B> {
    pub at: StepContext<'s, B>,
    pub parts: &'s mut Parts<'p, M, B>,
    /// The model's outputs for the step's examples before it, where it is known.
    pub answers: Option<Vec<f32>>,
}

/// Takes the steps of a training loop: one device, several, or several processes.
pub(crate) trait Engine<M: Trainable, O: Objective<M>> {
    /// Begins with a model and, where it was saved, the state of the optimizer. The parts have theirs.
    async fn begin(
        &mut self,
        core: &mut Core,
        model: &mut M,
        objective: &O,
        optimizer: Option<OptimizerRecord>,
        parts: &mut Parts<'_, M, O::Batch>,
    ) -> Result<()>;

    /// One step on all of these batches. What happens on the way goes to `events`. After an error the model is as it was.
    async fn step(
        &mut self,
        core: &mut Core,
        model: &mut M,
        objective: &O,
        batches: &[O::Batch],
        around: &mut Around<'_, '_, M, O::Batch>,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport>;

    /// What it is.
    fn takes(&self) -> Takes;

    /// Tells the parts that a task has ended, and that another begins.
    fn task(
        &mut self,
        core: &mut Core,
        model: &mut M,
        parts: &mut Parts<'_, M, O::Batch>,
        ended: Option<usize>,
        begun: Option<usize>,
    ) -> Result<()> {
        self.gather(core, model)?;
        parts.task(ended, begun, model)
    }

    /// Brings model and optimizer up to date, where steps are taken on replicas.
    fn gather(&mut self, core: &mut Core, model: &mut M) -> Result<()>;

    /// Brings the parts up to date, where replicas have their own.
    fn gather_parts(&mut self, _core: &Core, _parts: &mut Parts<'_, M, O::Batch>) -> Result<()> {
        Ok(())
    }

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
        _objective: &O,
        optimizer: Option<OptimizerRecord>,
        _parts: &mut Parts<'_, M, O::Batch>,
    ) -> Result<()> {
        optimizer.map_or(Ok(()), |record| core.optimizer.load_state(model, record))
    }

    async fn step(
        &mut self,
        core: &mut Core,
        model: &mut M,
        objective: &O,
        batches: &[O::Batch],
        around: &mut Around<'_, '_, M, O::Batch>,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport> {
        let largest = batches.iter().map(Batch::len).max().unwrap_or(1);
        let (at, parts) = (around.at, &mut *around.parts);
        let changes = parts.changes();
        let before = changes
            .model
            .then(|| (model.clone(), core.optimizer.clone()));
        let mut taken = None;
        let report = loop {
            let micro = core.micro_batch.unwrap_or(largest).min(largest);
            let objective = WithTerms {
                objective,
                terms: parts.terms(),
                at,
            };
            let passed = core.manager.passes(model, &objective, batches, micro);
            let mut see = |model: &M, gradients: &mut GradientsParams| -> Result<()> {
                parts.rule(&at, model, gradients)?;
                taken = changes.model.then(|| gradients::copy(model, gradients));
                Ok(())
            };
            let stepped = match passed {
                Ok(()) => {
                    let (optimizer, rate) = (&mut core.optimizer, at.learning_rate);
                    let see: Option<&mut See<'_, M>> = changes.any().then_some(&mut see);
                    core.manager.step_seen(optimizer, rate, model, see).await
                }
                Err(problem) => Err(problem),
            };
            let problem = match stepped {
                Ok(report) => break report,
                Err(problem) => problem,
            };
            let examples = fewer(problem, micro, core.manager.device())?;
            core.micro_batch = Some(examples);
            let step = core.steps;
            events.push(TrainEvent::MicroBatch { step, examples });
        };
        around.answers = core.manager.take_answers();
        if let Some((before, optimizer)) = before.filter(|_| !report.skipped) {
            let taken = Taken {
                gradients: &taken.unwrap_or_default(),
                before: &before,
            };
            let after = parts.after(&at, &taken, model, &mut core.optimizer);
            if after.is_err() {
                core.optimizer = optimizer;
                *model = before;
            }
            after?;
        }
        Ok(report)
    }

    fn takes(&self) -> Takes {
        Takes::One
    }

    fn gather(&mut self, _core: &mut Core, _model: &mut M) -> Result<()> {
        Ok(())
    }
}
