//! One of several processes.

use std::cell::RefCell;
use std::ops::Range;

use burn::optim::GradientsParams;

use super::passes::{Passes, Together};
use super::{judge, not_begun};
use crate::device::Device;
use crate::error::Result;
use crate::parallel::{Collective, Contribution, Distributed, ParallelConfig, Work};
use crate::train::parts::{Changes, Parts, StepContext, Taken, Takes};
use crate::train::{
    AnyOptimizer, Around, Batch, Core, Engine, Objective, OptimizerRecord, StepReport, TrainEvent,
    Trainable,
};

/// One of several processes.
pub(super) struct Rank<M, O, C> {
    first: bool,
    config: ParallelConfig,
    state: State<M, O, C>,
}

enum State<M, O, C> {
    Waiting(Option<C>),
    Training(Box<Distributed<M, AnyOptimizer, C>>, Passes<O>),
}

impl<M: Trainable, O, C: Collective> Rank<M, O, C> {
    pub fn new(collective: C, config: ParallelConfig) -> Self {
        Self {
            first: collective.rank() == 0,
            config,
            state: State::Waiting(Some(collective)),
        }
    }

    pub fn into_collective(self) -> Result<C> {
        match self.state {
            State::Waiting(collective) => collective.ok_or_else(not_begun),
            State::Training(replica, _) => Ok(replica.into_collective()),
        }
    }
}

/// What this rank does in a step, with the methods of its run.
struct Step<'s, 'p, M, O: Objective<M>> {
    passes: &'s Passes<O>,
    parts: RefCell<&'s mut Parts<'p, M, O::Batch>>,
    at: StepContext<'s, O::Batch>,
}

impl<M, O> Work<M, Together<O::Batch>, AnyOptimizer> for Step<'_, '_, M, O>
where
    M: Trainable,
    O: Objective<M>,
{
    fn contribute(
        &self,
        model: &M,
        share: Together<O::Batch>,
        device: &Device,
    ) -> Result<Contribution> {
        let parts = self.parts.borrow();
        self.passes
            .contribute(&parts, self.at, model, share, device)
    }

    fn changes(&self) -> Changes {
        self.passes.changes
    }

    fn rule(&self, model: &M, gradients: &mut GradientsParams) -> Result<()> {
        self.parts.borrow_mut().rule(&self.at, model, gradients)
    }

    fn after(
        &self,
        taken: &Taken<'_, M>,
        model: &mut M,
        optimizer: &mut AnyOptimizer,
    ) -> Result<()> {
        let mut parts = self.parts.borrow_mut();
        parts.after(&self.at, taken, model, optimizer)
    }
}

impl<M, O, C> Engine<M, O> for Rank<M, O, C>
where
    M: Trainable + 'static,
    O: Objective<M> + Clone,
    C: Collective,
{
    async fn begin(
        &mut self,
        core: &mut Core,
        model: &mut M,
        objective: &O,
        optimizer: Option<OptimizerRecord>,
        parts: &mut Parts<'_, M, O::Batch>,
    ) -> Result<()> {
        let State::Waiting(collective) = &mut self.state else {
            return Err(not_begun());
        };
        let collective = collective.take().ok_or_else(not_begun)?;
        let (fresh, device) = (&core.optimizer, core.manager.device());
        let mut replica = Distributed::new(model, fresh, device, collective, self.config)?;
        if let Some(record) = optimizer {
            replica.change(|model, optimizer| {
                optimizer.load_state(&model, record)?;
                Ok(model)
            })?;
        }
        let passes = Passes::new(objective.clone(), &core.manager, parts.changes());
        self.state = State::Training(Box::new(replica), passes);
        Ok(())
    }

    async fn step(
        &mut self,
        core: &mut Core,
        _model: &mut M,
        _objective: &O,
        batches: &[O::Batch],
        around: &mut Around<'_, '_, M, O::Batch>,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport> {
        let State::Training(replica, passes) = &mut self.state else {
            return Err(not_begun());
        };
        if let Some(scale) = passes.follow(&core.manager) {
            replica.change(|model, optimizer| {
                optimizer.set_loss_scale(scale)?;
                Ok(model)
            })?;
        }
        let step = Step {
            passes,
            parts: RefCell::new(&mut *around.parts),
            at: around.at,
        };
        let batch = Together(batches.to_vec());
        let read = |range: Range<usize>| Ok(batch.part(range));
        let step = replica.step(&step, batch.len(), read, around.at.learning_rate)?;
        judge(&step, core, events)
    }

    fn takes(&self) -> Takes {
        Takes::Rank
    }

    fn gather(&mut self, core: &mut Core, model: &mut M) -> Result<()> {
        if let State::Training(replica, _) = &self.state {
            core.optimizer = replica.optimizer().clone();
            *model = replica.model().clone();
        }
        Ok(())
    }

    fn writes(&self) -> bool {
        self.first
    }
}
