//! The training loop.
//!
//! - [`TrainerConfig`]: how long, with what.
//! - [`Source`]: where batches come from; [`Run`]: that, validation, checkpoints and [parts](super::parts).
//! - [`TrainEvent`]: what is reported.
//! - `engine`: who takes the steps.
//! - `handed_on`: what one trainer hands on to the next.
//! - `progress`: how far a run has come.
//! - `beside`: what a run keeps beside the model.
//! - `state`: what of trainer and model is in a checkpoint.
//! - `saving`: goes on from checkpoints, and saves them.
//! - `validate`: how a model does on other data.
//! - `anomaly`: which part of a model gave the first value that is not finite.

mod anomaly;
mod beside;
mod config;
mod engine;
mod event;
mod handed_on;
mod progress;
mod run;
mod saving;
mod source;
mod state;
mod validate;

use std::ops::ControlFlow;

pub use anomaly::first_anomaly;
pub use config::TrainerConfig;
pub(crate) use engine::{Around, Core, Engine};
pub use event::{EpochMeans, Step, StopReason, TrainEvent, TrainSummary, Validation};
pub use run::Run;
pub use source::{Batches, Epochs, MixedEpochs, Paced, Source};

use self::beside::Beside;
use self::engine::Single;
use self::progress::{Kept, Progress, Spent};
use super::objective::{Batch, Objective, Trainable};
use super::parts::{Parts, StepContext, WithTerms};
use super::{AnyOptimizer, HardwareManager};
use crate::device::profile::{self, Phase};
use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "fit";

/// Takes training steps, one after the other, on any model and objective. Between two steps the model is whole: it can be
/// evaluated, saved or left as it is.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use forgeling::data::{Glyphs, Loader, LoaderConfig, Split, Subset};
/// use forgeling::nn::Network;
/// use forgeling::nn::zoo::Conv4Config;
/// use forgeling::train::{
///     CrossEntropy, Epochs, HardwareConfig, HardwareManager, Run, Trainer, TrainerConfig,
/// };
///
/// # pollster::block_on(async {
/// let glyphs = Subset::first(Glyphs::new(1, Split::Train, 5)?, 20)?;
/// let loader = Loader::new(std::sync::Arc::new(glyphs), LoaderConfig { batch_size: 10, ..Default::default() })?;
/// let manager = HardwareManager::open(HardwareConfig::default()).await?;
/// let graph = Conv4Config { filters: 4, ..Default::default() }.graph()?.with_outputs(5)?;
/// let mut model = Network::new(&graph, 0, manager.device());
/// let config = TrainerConfig { steps: Some(2), ..Default::default() };
/// let mut trainer = Trainer::new(config, manager)?;
/// let mut source = Epochs::of(loader);
/// let summary = trainer
///     .fit(&mut model, &CrossEntropy, Run::on(&mut source), |event| {
///         println!("{event:?}");
///         ControlFlow::Continue(())
///     })
///     .await?;
/// assert_eq!(summary.steps, 2);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Trainer {
    config: TrainerConfig,
    core: Core,
    progress: Progress,
}

impl Trainer {
    /// A trainer before its first step.
    ///
    /// # Errors
    /// When the configuration is out of range.
    pub fn new(config: TrainerConfig, manager: HardwareManager) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            core: Core {
                optimizer: AnyOptimizer::new(config.optimizer)?,
                micro_batch: manager.config().micro_batch,
                manager,
                steps: 0,
            },
            progress: Progress::new(),
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// What it trains on.
    pub fn manager(&self) -> &HardwareManager {
        &self.core.manager
    }

    /// Steps so far, skipped ones included.
    pub fn steps(&self) -> usize {
        self.progress.steps()
    }

    /// Examples so far.
    pub fn examples(&self) -> usize {
        self.progress.examples()
    }

    /// The most examples of a pass, where that was asked for or memory has not sufficed for more.
    pub fn micro_batch(&self) -> Option<usize> {
        self.core.micro_batch
    }

    /// Mean loss and accuracy of the last steps that were not skipped.
    pub fn recent(&self) -> (f64, Option<f64>) {
        self.progress.recent()
    }

    /// The run so far.
    pub fn summary(&self, reason: StopReason) -> TrainSummary {
        self.progress.summary(reason)
    }

    /// Takes one step on all of these batches, whose examples count alike.
    ///
    /// # Errors
    /// When there is no example, when a batch does not fit the model, when memory does not suffice for a single example,
    /// when the device fails, and when the loss, a gradient or a batch norm's variance is not finite. The model is then as
    /// it was before the step.
    pub async fn step_on<M: Trainable, O: Objective<M>>(
        &mut self,
        model: &mut M,
        objective: &O,
        batches: &[O::Batch],
    ) -> Result<Step> {
        let (mut parts, mut events) = (Parts::none(), Vec::new());
        let mut around = self.around(&mut parts, batches, None);
        self.advance(
            &mut Single,
            model,
            objective,
            batches,
            &mut around,
            &mut events,
        )
        .await
    }

    /// The next step, before it is taken.
    fn around<'s, 'p, M, B>(
        &self,
        parts: &'s mut Parts<'p, M, B>,
        batches: &[B],
        replayed: Option<&'s B>,
    ) -> Around<'s, 'p, M, B>
    where
        B: Batch,
    {
        let at = StepContext {
            step: self.progress.steps(),
            epoch: self.progress.epochs(),
            task: self.progress.task(),
            learning_rate: self.config.schedule.rate(self.progress.steps()),
            examples: batches.iter().map(Batch::len).sum(),
            replayed,
        };
        Around {
            at,
            parts,
            answers: None,
        }
    }

    async fn advance<M: Trainable, O: Objective<M>>(
        &mut self,
        engine: &mut impl Engine<M, O>,
        model: &mut M,
        objective: &O,
        batches: &[O::Batch],
        around: &mut Around<'_, '_, M, O::Batch>,
        events: &mut Vec<TrainEvent>,
    ) -> Result<Step> {
        let examples: usize = batches.iter().map(Batch::len).sum();
        if examples == 0 {
            return Err(Error::invalid(OPERATION, "a step on no example"));
        }
        let core = &mut self.core;
        core.steps = self.progress.steps();
        core.manager.after_steps(core.steps);
        let stepped = engine.step(core, model, objective, batches, around, events);
        let report = match stepped.await {
            Err(problem) if problem.is_diverged() => {
                engine.gather(core, model)?;
                engine.gather_parts(core, around.parts)?;
                let objective = &WithTerms {
                    objective,
                    terms: around.parts.terms(),
                    at: around.at,
                };
                return Err(self.explain(problem, model, objective, batches).await);
            }
            stepped => stepped?,
        };
        let rate = around.at.learning_rate;
        Ok(self.progress.add(batches.len(), examples, rate, &report))
    }

    /// Adds to an error which part of the model gave the first value that is not finite.
    async fn explain<M: Trainable, O: Objective<M>>(
        &self,
        problem: Error,
        model: &M,
        objective: &O,
        batches: &[O::Batch],
    ) -> Error {
        for batch in batches {
            let found = first_anomaly(&self.core.manager, model, objective, batch).await;
            if let Ok(Some(name)) = found {
                let step = self.progress.steps() + 1;
                let what = format!("{name} is not finite at step {step}");
                let error = Error::new(ErrorKind::Diverged, problem.operation(), what);
                return error
                    .expected(problem.expectation().unwrap_or("finite values"))
                    .got(problem.found().unwrap_or("others"));
            }
        }
        problem
    }

    /// Trains `model` until a limit of the configuration, calling `on_event` for everything that happens;
    /// `ControlFlow::Break` after a step or an epoch stops it there. With checkpoints, a run that was stopped, killed or
    /// has come to its limit goes on where its latest checkpoint is: the same model, objective, data and configuration
    /// give what one run would have given, on the CPU bit for bit.
    ///
    /// The model that is left behind is the last one; with [`ema`](TrainerConfig::ema), the average; with
    /// [`early_stopping`](TrainerConfig::early_stopping), the best of those that were validated.
    ///
    /// # Errors
    /// When the configuration sets no limit, as [`step_on`](Self::step_on), when the data cannot be read or an epoch
    /// has no batch, and when a checkpoint cannot be written, is of another model or another run, or when there are
    /// checkpoints but none is whole. Where one cannot be written, the model that is left behind is the last one.
    pub async fn fit<M, O, S>(
        &mut self,
        model: &mut M,
        objective: &O,
        run: Run<'_, S, M>,
        on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<TrainSummary>
    where
        M: Trainable,
        O: Objective<M>,
        S: Source<Batch = O::Batch>,
    {
        self.fit_with(&mut Single, model, objective, run, on_event)
            .await
    }

    /// As [`fit`](Self::fit), with steps taken by `engine`.
    pub(crate) async fn fit_with<M, O, S>(
        &mut self,
        engine: &mut impl Engine<M, O>,
        model: &mut M,
        objective: &O,
        mut run: Run<'_, S, M>,
        mut on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<TrainSummary>
    where
        M: Trainable,
        O: Objective<M>,
        S: Source<Batch = O::Batch>,
    {
        if !self.config.is_limited() {
            return Err(Error::invalid(OPERATION, "training has no end")
                .expected("a limit of epochs, steps, examples or seconds"));
        }
        if self.config.fast_dev_run.is_some() {
            run.checkpoints = None;
        }
        run.check(engine.takes())?;
        let mut beside = Beside::new(&self.config, model)?;
        let record = self.resume(model, &mut beside, &mut run, &mut on_event)?;
        let parts = &mut run.parts;
        let begun = engine.begin(&mut self.core, model, objective, record, parts);
        begun.await?;
        self.core.manager.hold_beside(run.parts.bytes());
        let mut kept: Vec<O::Batch> = Vec::new();
        let reason = loop {
            if beside.stopped {
                break StopReason::Converged;
            }
            if self.progress.finished(&self.config) {
                break StopReason::Finished;
            }
            let (mut batches, mut task) = (Vec::new(), None);
            let mut over = false;
            let reading = profile::phase(Phase::Data);
            while batches.len() < self.config.accumulate && !over {
                match self
                    .next_batch(run.source, &mut kept, batches.len())
                    .await?
                {
                    Some(batch) => {
                        batches.push(batch);
                        task = run.source.task();
                    }
                    None => over = true,
                }
            }
            drop(reading);
            if !batches.is_empty() {
                let before = self.progress.task();
                if before != task {
                    self.change_task(engine, model, before, task, &mut run)?;
                }
                let mut events = Vec::new();
                let replayed = run.replayed()?;
                let mut around = self.around(&mut run.parts, &batches, replayed.as_ref());
                let step = self
                    .advance(engine, model, objective, &batches, &mut around, &mut events)
                    .await?;
                let answers = around.answers;
                run.remember(&batches, self.progress.task(), answers.as_deref())?;
                events.push(if step.skipped {
                    TrainEvent::Skipped {
                        step: step.step,
                        loss_scale: self.core.manager.loss_scale(),
                    }
                } else {
                    TrainEvent::Step(step)
                });
                let broken = events.iter().any(|event| on_event(event).is_break());
                if let Some(ema) = beside.ema.as_mut().filter(|_| !step.skipped) {
                    engine.gather(&mut self.core, model)?;
                    ema.update(model)?;
                }
                if broken {
                    break StopReason::Asked;
                }
                let steps = step.step;
                let now = |every: Option<usize>| every.is_some_and(|every| steps % every == 0);
                if now(self.config.validate_every) {
                    engine.gather(&mut self.core, model)?;
                    self.look(model, objective, &mut beside, &mut run, &mut on_event)
                        .await?;
                }
                if now(self.config.checkpoint_every) && !over {
                    engine.gather(&mut self.core, model)?;
                    self.save(engine, model, &beside, &mut run, &mut on_event)
                        .await?;
                }
            }
            if over {
                if self.progress.batches() == 0 {
                    return Err(Error::invalid(OPERATION, "an epoch without a batch"));
                }
                let event = self.progress.end_epoch();
                let broken = on_event(&event).is_break();
                let ended = self.progress.task().filter(|_| run.source.ends_task());
                if ended.is_some() {
                    self.change_task(engine, model, ended, None, &mut run)?;
                }
                engine.gather(&mut self.core, model)?;
                run.parts.end_epoch(self.progress.epochs(), model)?;
                if self.config.validate_every.is_none() || ended.is_some() {
                    self.look(model, objective, &mut beside, &mut run, &mut on_event)
                        .await?;
                }
                if broken {
                    break StopReason::Asked;
                }
                if !self.progress.finished(&self.config) {
                    self.save(engine, model, &beside, &mut run, &mut on_event)
                        .await?;
                }
            }
        };
        let mut saved = engine.gather(&mut self.core, model);
        if saved.is_ok() {
            saved = engine.gather_parts(&self.core, &mut run.parts);
        }
        if saved.is_ok() {
            saved = self
                .save(engine, model, &beside, &mut run, &mut on_event)
                .await;
        }
        // What was learned is there for the caller to keep, also where it could not be saved.
        *model = beside.into_result(model.clone());
        saved?;
        let step = self.progress.steps();
        let _ = on_event(&TrainEvent::Stopped { step, reason });
        Ok(self.progress.summary(reason))
    }

    /// Tells the parts that a task has ended, and that another begins.
    fn change_task<M: Trainable, O: Objective<M>, S: Source<Batch = O::Batch>>(
        &mut self,
        engine: &mut impl Engine<M, O>,
        model: &mut M,
        ended: Option<usize>,
        begun: Option<usize>,
        run: &mut Run<'_, S, M>,
    ) -> Result<()> {
        engine.task(&mut self.core, model, &mut run.parts, ended, begun)?;
        self.core.manager.hold_beside(run.parts.bytes());
        self.progress.begin_task(begun);
        Ok(())
    }

    /// The next batch of the source, or of those that are trained on over and over; `None` at the end of an epoch.
    async fn next_batch<S: Source>(
        &self,
        source: &mut S,
        kept: &mut Vec<S::Batch>,
        pending: usize,
    ) -> Result<Option<S::Batch>>
    where
        S::Batch: Clone,
    {
        let place = self.progress.batches() + pending;
        if self.config.fast_dev_run.is_some_and(|limit| place >= limit) {
            return Ok(None);
        }
        let Some(limit) = self.config.overfit_batches else {
            return source.next().await;
        };
        while kept.len() < limit.min(place + 1) {
            match source.next().await? {
                Some(batch) => kept.push(batch),
                None => break,
            }
        }
        Ok(kept.get(place).filter(|_| place < limit).cloned())
    }

    /// Validates, if there is something to validate on.
    async fn look<M, O, S>(
        &mut self,
        model: &M,
        objective: &O,
        beside: &mut Beside<M>,
        run: &mut Run<'_, S, M>,
        on_event: &mut impl FnMut(&TrainEvent) -> ControlFlow<()>,
    ) -> Result<()>
    where
        M: Trainable,
        O: Objective<M>,
        S: Source<Batch = O::Batch>,
    {
        let (step, mut judged) = (self.progress.steps(), None);
        for place in 0..run.validation.len() {
            let judges = run.judges(&run.validation[place].name);
            let held_out = &mut run.validation[place];
            let predictor = run.parts.predictor();
            let model = beside.result(model);
            let scored = self.score_by(predictor, model, objective, held_out).await?;
            let validation = scored.validation;
            if judges {
                self.progress.validated(validation);
            }
            let set = run.validation[place].name.clone();
            let _ = on_event(&TrainEvent::Validated {
                step,
                set,
                judges,
                validation,
            });
            if judges {
                judged = Some(validation);
            }
        }
        if let Some(validation) = judged {
            beside.observe(model, &validation);
        }
        Ok(())
    }
}
