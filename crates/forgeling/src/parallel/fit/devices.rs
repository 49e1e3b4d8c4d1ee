//! Several devices of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::optim::GradientsParams;
use cubecl_environment::future::block_on;

use super::passes::{Passes, Together};
use super::{judge, not_begun};
use crate::device::Device;
use crate::error::Result;
use crate::parallel::{Contribution, DataParallel, ParallelConfig, Work};
use crate::train::parts::{Changes, Method, Parts, StepContext, Taken, Takes};
use crate::train::{
    AnyOptimizer, Around, Checkpoint, Core, Engine, Objective, OptimizerRecord, StepReport,
    TrainEvent, Trainable,
};

/// Several devices of this process.
pub(super) struct Devices<M: Trainable + 'static, O: Objective<M>> {
    devices: Vec<Device>,
    config: ParallelConfig,
    replicas: Option<DataParallel<M, AnyOptimizer>>,
    /// For each device.
    beside: Vec<Arc<Beside<M, O>>>,
}

/// What a replica has beside model and optimizer.
struct Beside<M, O: Objective<M>> {
    passes: Arc<Passes<O>>,
    own: Mutex<Own<M, O::Batch>>,
}

type Methods<M, B> = Vec<Box<dyn Method<M, B> + Send>>;

/// Replicas of the methods that change steps, and where the run is.
struct Own<M, B> {
    methods: Methods<M, B>,
    at: At<B>,
}

/// As [`StepContext`], with examples of its own.
struct At<B> {
    step: usize,
    epoch: usize,
    task: Option<usize>,
    learning_rate: f64,
    examples: usize,
    replayed: Option<B>,
}

impl<B: Clone> At<B> {
    fn of(at: &StepContext<'_, B>) -> Self {
        Self {
            step: at.step,
            epoch: at.epoch,
            task: at.task,
            learning_rate: at.learning_rate,
            examples: at.examples,
            replayed: at.replayed.cloned(),
        }
    }
}

impl<B> At<B> {
    fn context(&self) -> StepContext<'_, B> {
        StepContext {
            step: self.step,
            epoch: self.epoch,
            task: self.task,
            learning_rate: self.learning_rate,
            examples: self.examples,
            replayed: self.replayed.as_ref(),
        }
    }
}

fn lend<M, B>(methods: &mut Methods<M, B>) -> Parts<'_, M, B> {
    let methods = methods.iter_mut();
    Parts::of(methods.map(|method| &mut **method as _).collect())
}

/// Whether there are replicas of it.
fn is_replicated<M, B>(method: &dyn Method<M, B>) -> bool {
    method.on_replica().is_some()
}

impl<M, O: Objective<M>> Beside<M, O> {
    /// After a panic a replica is dropped, and nobody asks what it had.
    fn own(&self) -> MutexGuard<'_, Own<M, O::Batch>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn methods<R>(&self, act: impl FnOnce(&mut Parts<'_, M, O::Batch>) -> R) -> R {
        act(&mut lend(&mut self.own().methods))
    }
}

impl<M: Trainable, O: Objective<M>> Work<M, Together<O::Batch>, AnyOptimizer> for Beside<M, O> {
    fn contribute(
        &self,
        model: &M,
        share: Together<O::Batch>,
        device: &Device,
    ) -> Result<Contribution> {
        let Own { methods, at } = &mut *self.own();
        let parts = lend(methods);
        self.passes
            .contribute(&parts, at.context(), model, share, device)
    }

    fn changes(&self) -> Changes {
        self.passes.changes
    }

    fn rule(&self, model: &M, gradients: &mut GradientsParams) -> Result<()> {
        let Own { methods, at } = &mut *self.own();
        lend(methods).rule(&at.context(), model, gradients)
    }

    fn after(
        &self,
        taken: &Taken<'_, M>,
        model: &mut M,
        optimizer: &mut AnyOptimizer,
    ) -> Result<()> {
        let Own { methods, at } = &mut *self.own();
        lend(methods).after(&at.context(), taken, model, optimizer)
    }
}

impl<M: Trainable + 'static, O: Objective<M>> Devices<M, O> {
    pub fn new(devices: Vec<Device>, config: ParallelConfig) -> Self {
        Self {
            devices,
            config,
            replicas: None,
            beside: Vec::new(),
        }
    }

    fn replicas(&mut self) -> Result<&mut DataParallel<M, AnyOptimizer>> {
        self.replicas.as_mut().ok_or_else(not_begun)
    }
}

impl<M, O> Engine<M, O> for Devices<M, O>
where
    M: Trainable + 'static,
    O: Objective<M> + Clone + Send + Sync + 'static,
    O::Batch: 'static,
{
    async fn begin(
        &mut self,
        core: &mut Core,
        model: &mut M,
        objective: &O,
        optimizer: Option<OptimizerRecord>,
        parts: &mut Parts<'_, M, O::Batch>,
    ) -> Result<()> {
        let fresh = &core.optimizer;
        let mut replicas = DataParallel::new(model, fresh, &self.devices, self.config)?;
        if let Some(record) = optimizer {
            replicas.change(move |model: M, optimizer, _| {
                optimizer.load_state(&model, record.clone())?;
                Ok(model)
            })?;
        }
        let replicated = parts.only(is_replicated);
        let mut state = Checkpoint::new(0);
        replicated.save(&mut state).await?;
        let changes = parts.changes();
        let passes = Arc::new(Passes::new(objective.clone(), &core.manager, changes));
        let beside = |_: &Device| {
            let methods = parts.methods.iter();
            let own = Own {
                methods: methods.filter_map(|method| method.on_replica()).collect(),
                at: At {
                    step: 0,
                    epoch: 0,
                    task: None,
                    learning_rate: 0.0,
                    examples: 0,
                    replayed: None,
                },
            };
            Arc::new(Beside {
                passes: passes.clone(),
                own: Mutex::new(own),
            })
        };
        self.beside = self.devices.iter().map(beside).collect();
        let beside = self.beside.clone();
        replicas.each(move |place, replica| {
            let device = replica.device.tensors();
            beside[place].methods(|methods| methods.load(&mut state.clone(), device))
        })?;
        self.replicas = Some(replicas);
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
        for beside in &self.beside {
            beside.own().at = At::of(&around.at);
        }
        let passes = self.beside.first().map(|beside| beside.passes.clone());
        let beside = self.beside.clone();
        let replicas = self.replicas()?;
        if let Some(scale) = passes.and_then(|passes| passes.follow(&core.manager)) {
            replicas.change(move |model, optimizer, _| {
                optimizer.set_loss_scale(scale)?;
                Ok(model)
            })?;
        }
        let (batch, rate) = (Together(batches.to_vec()), around.at.learning_rate);
        let step = replicas.step_each(|place| beside[place].clone(), &batch, rate)?;
        judge(&step, core, events)
    }

    fn takes(&self) -> Takes {
        Takes::Replicas
    }

    fn task(
        &mut self,
        core: &mut Core,
        model: &mut M,
        parts: &mut Parts<'_, M, O::Batch>,
        ended: Option<usize>,
        begun: Option<usize>,
    ) -> Result<()> {
        let beside = self.beside.clone();
        self.replicas()?.each(move |place, replica| {
            beside[place].methods(|methods| methods.task(ended, begun, &replica.model))
        })?;
        self.gather(core, model)?;
        let mut others = parts.only(|method| !is_replicated(method));
        others.task(ended, begun, model)?;
        match (ended, &mut parts.replay) {
            (Some(task), Some(replay)) => replay.end_task(task),
            _ => Ok(()),
        }
    }

    fn gather(&mut self, core: &mut Core, model: &mut M) -> Result<()> {
        let replicas = self.replicas()?;
        core.optimizer = replicas.optimizer()?;
        *model = replicas.model()?;
        Ok(())
    }

    fn gather_parts(&mut self, core: &Core, parts: &mut Parts<'_, M, O::Batch>) -> Result<()> {
        let mut replicated = parts.only(is_replicated);
        if replicated.methods.is_empty() {
            return Ok(());
        }
        let beside = self.beside.clone();
        let mut state = self.replicas()?.first(move |place, _| {
            let mut state = Checkpoint::new(0);
            beside[place].methods(|methods| block_on(methods.save(&mut state)))?;
            Ok(state)
        })??;
        replicated.load(&mut state, core.manager.device().tensors())
    }
}
