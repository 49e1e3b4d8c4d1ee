//! Who takes the steps.

use burn::optim::GradientsParams;

use super::{Objective, TrainEvent, Trainable};
use crate::error::Result;
use crate::train::hardware_manager::See;
use crate::train::micro_batch::fewer;
use crate::train::parts::{Parts, StepContext, WithTerms, gradients};
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
    /// The gradients that the optimizer had, where a part comes after the step.
    pub gradients: Option<GradientsParams>,
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
        around: &mut Around<'_, '_, M, O::Batch>,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport>;

    /// What it is, where that is not one device: there are no parts that change steps then.
    fn several(&self) -> Option<&'static str> {
        None
    }

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
        around: &mut Around<'_, '_, M, O::Batch>,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport> {
        let largest = batches.iter().map(Batch::len).max().unwrap_or(1);
        let (at, seen) = (around.at, around.parts.want_gradients());
        let Parts {
            terms,
            rules,
            after,
            ..
        } = &mut *around.parts;
        let objective = &WithTerms {
            objective,
            terms,
            at,
        };
        let kept = &mut around.gradients;
        let mut see = |model: &M, gradients: &mut GradientsParams| -> Result<()> {
            for rule in &mut *rules {
                rule.apply(&at, model, gradients)?;
            }
            *kept = (!after.is_empty()).then(|| gradients::copy(model, gradients));
            Ok(())
        };
        loop {
            let micro = core.micro_batch.unwrap_or(largest).min(largest);
            let passed = core.manager.passes(model, objective, batches, micro);
            let stepped = match passed {
                Ok(()) => {
                    let (optimizer, rate) = (&mut core.optimizer, at.learning_rate);
                    let see: Option<&mut See<'_, M>> = if seen { Some(&mut see) } else { None };
                    core.manager.step_seen(optimizer, rate, model, see).await
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
