//! Whole runs of training on several devices.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use burn::tensor::{Int, Tensor, TensorData};

use super::{
    Collective, Contribution, DataParallel, Distributed, ParallelConfig, ParallelEvent,
    ParallelStep, Work,
};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::train::{
    AnyOptimizer, Around, Batch, Core, Engine, HardwareConfig, HardwareManager, Objective,
    OptimizerRecord, Predictions, Run, Source, StepReport, TrainEvent, TrainSummary, Trainable,
    Trainer, fewer,
};

const OPERATION: &str = "train_step";

impl Trainer {
    /// As [`fit`](Self::fit), on several devices at once, each with a replica of the model and a thread of its own:
    /// [`DataParallel`]. The first of them should be the model's. A device that fails is dropped
    /// ([`TrainEvent::DeviceDropped`]), and training goes on without it.
    ///
    /// What a page cannot do: there it is an error.
    ///
    /// # Errors
    /// As [`fit`](Self::fit) and [`DataParallel::new`], when the run has a [part](crate::train::parts) that changes steps,
    /// and when replicas come to differ.
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
        let mut engine = Devices {
            devices: devices.to_vec(),
            config,
            replicas: None,
            work: None,
        };
        self.fit_with(&mut engine, model, objective, run, on_event)
            .await
    }

    /// As [`fit`](Self::fit), as one rank of several processes, each with a device: [`Distributed`]. All ranks are to have
    /// the same configuration, data and seeds. Rank 0 saves checkpoints; all ranks go on from them, so they must all see
    /// the same folder.
    ///
    /// Gives the collective back, which is needed to end.
    ///
    /// # Errors
    /// As [`fit`](Self::fit) and [`Distributed::step`]: when one rank fails, all have an error. When the run has a
    /// [part](crate::train::parts) that changes steps.
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
        let mut engine = Rank {
            first: collective.rank() == 0,
            config,
            state: State::Waiting(Some(collective)),
        };
        let summary = self
            .fit_with(&mut engine, model, objective, run, on_event)
            .await?;
        Ok((summary, engine.into_collective()?))
    }
}

/// What a replica does with its share: the passes of an objective, in the precision of a configuration.
struct Passes<O> {
    objective: O,
    hardware: HardwareConfig,
    /// What losses are scaled with, as bits.
    scale: AtomicU64,
    /// Optimizer steps before the next one.
    steps: AtomicUsize,
    /// The most examples of a pass, halved where memory does not suffice.
    micro_batch: AtomicUsize,
}

impl<O> Passes<O> {
    fn new(objective: O, manager: &HardwareManager) -> Self {
        Self {
            objective,
            micro_batch: AtomicUsize::new(manager.config().micro_batch.unwrap_or(usize::MAX)),
            hardware: manager.config().clone(),
            scale: AtomicU64::new(1.0_f64.to_bits()),
            steps: AtomicUsize::new(0),
        }
    }

    fn scale(&self) -> f64 {
        f64::from_bits(self.scale.load(Ordering::Relaxed))
    }

    /// Scales losses and counts steps as `manager` does; gives the scale if it is another one than before, which the replicas'
    /// optimizers have to know.
    fn follow(&self, manager: &HardwareManager) -> Option<f64> {
        self.steps.store(manager.steps(), Ordering::Relaxed);
        let scale = manager.loss_scale();
        let before = self.scale.swap(scale.to_bits(), Ordering::Relaxed);
        (before != scale.to_bits()).then_some(scale)
    }
}

/// Batches of one step, as one that can be dealt out.
#[derive(Clone)]
struct Together<B>(Vec<B>);

impl<B: Batch> Batch for Together<B> {
    fn len(&self) -> usize {
        self.0.iter().map(Batch::len).sum()
    }

    fn part(&self, range: Range<usize>) -> Self {
        let mut parts = Vec::new();
        let mut first = 0;
        for batch in &self.0 {
            let (from, to) = (range.start.max(first), range.end.min(first + batch.len()));
            if from < to {
                parts.push(batch.part(from - first..to - first));
            }
            first += batch.len();
        }
        Self(parts)
    }
}

impl<M, O> Work<M, Together<O::Batch>> for Passes<O>
where
    M: Trainable,
    O: Objective<M> + Send + Sync + 'static,
{
    fn contribute(
        &self,
        model: &M,
        share: Together<O::Batch>,
        device: &Device,
    ) -> Result<Contribution> {
        let mut manager = HardwareManager::on(device.clone(), self.hardware.clone())?;
        manager.scale_with(self.scale());
        manager.after_steps(self.steps.load(Ordering::Relaxed));
        loop {
            let micro = self.micro_batch.load(Ordering::Relaxed).min(share.len());
            match manager.passes(model, &self.objective, &share.0, micro) {
                Ok(()) => break,
                Err(problem) => {
                    let examples = fewer(problem, micro, device)?;
                    self.micro_batch.fetch_min(examples, Ordering::Relaxed);
                }
            }
        }
        let pending = manager.take_pending();
        let Some(gradients) = pending.gradients else {
            return Err(Error::invalid(OPERATION, "no parameter has a gradient"));
        };
        let losses = pending.losses.into_iter();
        let loss = losses.map(|(loss, part)| loss * part).reduce(|a, b| a + b);
        Ok(Contribution {
            gradients,
            loss: loss.expect("a pass at least"),
            metrics: right(&pending.predictions).into_iter().collect(),
            examples: share.len(),
            // Of several passes the last one's.
            statistics: pending
                .statistics
                .into_iter()
                .next_back()
                .unwrap_or_default(),
        })
    }
}

/// The fraction of predictions that are right, `[1]`, where there are some.
fn right(predictions: &[Predictions]) -> Option<Tensor<1>> {
    let rows: usize = predictions.iter().map(|some| some.labels.len()).sum();
    let right = predictions.iter().map(|some| {
        let labels: Vec<i32> = some.labels.iter().map(|&label| label as i32).collect();
        let rows = labels.len();
        let device = some.logits.device();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [rows]), &device);
        let best = some.logits.clone().argmax(1).reshape([rows]);
        best.equal(labels).float().sum()
    });
    let right = right.reduce(|a, b| a + b)?;
    Some(right / rows as f64)
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

/// Several devices of this process.
struct Devices<M: Trainable + 'static, O> {
    devices: Vec<Device>,
    config: ParallelConfig,
    replicas: Option<DataParallel<M, AnyOptimizer>>,
    work: Option<Arc<Passes<O>>>,
}

fn not_begun() -> Error {
    Error::invalid(
        OPERATION,
        "the replicas have failed; begin anew from a checkpoint",
    )
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
        optimizer: Option<OptimizerRecord>,
    ) -> Result<()> {
        let fresh = &core.optimizer;
        let mut replicas = DataParallel::new(model, fresh, &self.devices, self.config)?;
        if let Some(record) = optimizer {
            replicas.change(move |model: M, optimizer, _| {
                optimizer.load_state(&model, record.clone())?;
                Ok(model)
            })?;
        }
        self.replicas = Some(replicas);
        Ok(())
    }

    async fn step(
        &mut self,
        core: &mut Core,
        _model: &mut M,
        objective: &O,
        batches: &[O::Batch],
        around: &mut Around<'_, '_, M, O::Batch>,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport> {
        let replicas = self.replicas.as_mut().ok_or_else(not_begun)?;
        let work = self
            .work
            .get_or_insert_with(|| Arc::new(Passes::new(objective.clone(), &core.manager)))
            .clone();
        if let Some(scale) = work.follow(&core.manager) {
            replicas.change(move |model, optimizer, _| {
                optimizer.set_loss_scale(scale)?;
                Ok(model)
            })?;
        }
        let rate = around.at.learning_rate;
        let step = replicas.step(&work, &Together(batches.to_vec()), rate)?;
        judge(&step, core, events)
    }

    fn several(&self) -> Option<&'static str> {
        Some("replicas on several devices")
    }

    fn gather(&mut self, core: &mut Core, model: &mut M) -> Result<()> {
        let replicas = self.replicas.as_ref().ok_or_else(not_begun)?;
        core.optimizer = replicas.optimizer()?;
        *model = replicas.model()?;
        Ok(())
    }
}

/// One of several processes.
struct Rank<M, O, C> {
    first: bool,
    config: ParallelConfig,
    state: State<M, O, C>,
}

enum State<M, O, C> {
    Waiting(Option<C>),
    Training(Box<Distributed<M, AnyOptimizer, C>>, Option<Passes<O>>),
}

impl<M: Trainable, O, C: Collective> Rank<M, O, C> {
    fn into_collective(self) -> Result<C> {
        match self.state {
            State::Waiting(collective) => collective.ok_or_else(not_begun),
            State::Training(replica, _) => Ok(replica.into_collective()),
        }
    }
}

impl<M, O, C> Engine<M, O> for Rank<M, O, C>
where
    M: Trainable + 'static,
    O: Objective<M> + Clone + Send + Sync + 'static,
    O::Batch: 'static,
    C: Collective,
{
    async fn begin(
        &mut self,
        core: &mut Core,
        model: &mut M,
        optimizer: Option<OptimizerRecord>,
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
        self.state = State::Training(Box::new(replica), None);
        Ok(())
    }

    async fn step(
        &mut self,
        core: &mut Core,
        _model: &mut M,
        objective: &O,
        batches: &[O::Batch],
        around: &mut Around<'_, '_, M, O::Batch>,
        events: &mut Vec<TrainEvent>,
    ) -> Result<StepReport> {
        let State::Training(replica, work) = &mut self.state else {
            return Err(not_begun());
        };
        let work = work.get_or_insert_with(|| Passes::new(objective.clone(), &core.manager));
        if let Some(scale) = work.follow(&core.manager) {
            replica.change(|model, optimizer| {
                optimizer.set_loss_scale(scale)?;
                Ok(model)
            })?;
        }
        let batch = Together(batches.to_vec());
        let read = |range: Range<usize>| Ok(batch.part(range));
        let step = replica.step(work, batch.len(), read, around.at.learning_rate)?;
        judge(&step, core, events)
    }

    fn several(&self) -> Option<&'static str> {
        Some("one rank of several")
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
