//! One training step on the hardware that was asked for.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use serde::Serialize;

use super::hardware::HardwareReport;
use super::micro_batch::even_parts;
use super::objective::{Batch, Outcome, Trainable, count_right};
use super::parts::gradients;
use super::pending::{Pending, variances};
use super::{AnyOptimizer, HardwareConfig, LossScaler, Objective, ResolvedPrecision};
use crate::device::profile::{self, Phase};
use crate::device::{Device, Ledger, Readback};
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{Normalization, Pass, absorb};
use crate::ops::store_as;

const OPERATION: &str = "train_step";

/// Sees, and may change, the gradients of a step, neither scaled nor clipped.
pub(crate) type See<'a, M> = dyn FnMut(&M, &mut GradientsParams) -> Result<()> + 'a;

/// The smallest loss scale that a run is worth going on with: below it, it is not the scale that makes gradients
/// infinite.
const SMALLEST_SCALE: f64 = 1.0 / 1024.0;

/// Opens the device of a [`HardwareConfig`] and takes training steps on it: the forward pass in its precision, the
/// scaled backward pass, accumulation over micro-batches, and the optimizer's step.
///
/// A loop of your own:
///
/// ```
/// use burn::tensor::{Tensor, TensorData};
/// use forgeling::nn::Network;
/// use forgeling::nn::graph::Shape;
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::train::{HardwareConfig, HardwareManager, AnyOptimizer, OptimizerConfig, Predictions};
///
/// # pollster::block_on(async {
/// let mut manager = HardwareManager::open(HardwareConfig::default()).await?;
/// let config = MlpConfig { input: Shape::Values(2), hidden: vec![32], classes: 2 };
/// let mut model = Network::new(&config.graph()?, 0, manager.device());
/// let mut optimizer = AnyOptimizer::new(OptimizerConfig::default())?;
/// let points = TensorData::new(vec![0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [4, 2]);
/// for _ in 0..100 {
///     let forward = manager.forward(|pass| {
///         let logits = model.forward_rows(pass.values(points.clone()), pass)?;
///         Predictions::cross_entropy(pass.output(logits), vec![0, 1, 1, 0])
///     })?;
///     manager.backward(forward, &model)?;
///     let report = manager.step(&mut optimizer, 0.03, &mut model).await?;
///     assert!(report.loss.is_finite());
/// }
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct HardwareManager {
    config: HardwareConfig,
    device: Device,
    precision: ResolvedPrecision,
    scaler: Option<LossScaler>,
    /// In place of the scaler's.
    fixed_scale: Option<f64>,
    /// Optimizer steps before the next one.
    steps: usize,
    ledger: Option<Ledger>,
    /// Bytes of parameters and moments.
    held: u64,
    /// Bytes that others keep from one step to the next.
    beside: u64,
    pending: Pending,
    /// Logits of the last step.
    answers: Vec<f32>,
}

/// A forward pass that waits for its backward pass.
pub struct Forward<'a> {
    outcome: Outcome,
    pass: Pass<'a>,
}

impl Forward<'_> {
    /// What it came to.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepReport {
    /// Mean loss over the whole batch, before the step.
    pub loss: f64,
    /// Fraction of the batch's predictions that are right, where classes are told apart.
    pub accuracy: Option<f64>,
    /// Whether the step was skipped because a scaled gradient, or a batch norm's variance, was not finite; the model is
    /// then as it was.
    pub skipped: bool,
    /// What the loss was multiplied with for the backward pass.
    pub loss_scale: f64,
}

impl HardwareManager {
    /// Opens the device of a configuration.
    ///
    /// # Errors
    /// When the configuration is out of range, and as [`Device::open`].
    pub async fn open(config: HardwareConfig) -> Result<Self> {
        let device = Device::open(config.device).await?;
        Self::on(device, config)
    }

    /// Takes a device that is open already; the configuration's choice of one is not looked at.
    ///
    /// # Errors
    /// When the configuration is out of range.
    pub fn on(device: Device, config: HardwareConfig) -> Result<Self> {
        config.validate()?;
        let ledger = config.memory_budget;
        let ledger = ledger.map(|budget| Ledger::new(&device, budget));
        let precision = ResolvedPrecision::new(config.precision, &device);
        let scaler = LossScaler::new(config.loss_scaler)?;
        Ok(Self {
            scaler: precision.scaled.then_some(scaler),
            ledger: ledger.transpose()?,
            fixed_scale: None,
            steps: 0,
            held: 0,
            beside: 0,
            precision,
            device,
            config,
            pending: Pending::default(),
            answers: Vec::new(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &HardwareConfig {
        &self.config
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How the precision asked for is had on this device.
    pub fn precision(&self) -> &ResolvedPrecision {
        &self.precision
    }

    /// The account of what training holds on the device, where the configuration has a budget.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// What the configuration came to.
    pub fn report(&self) -> HardwareReport {
        HardwareReport {
            device: self.device.info().name.clone(),
            precision: self.precision.clone(),
            gradient_checkpointing: self.config.gradient_checkpointing,
            micro_batch: self.config.micro_batch,
            memory_budget: self.ledger.as_ref().map(Ledger::budget),
            layout: "channels last between our kernels",
        }
    }

    /// What scales the losses, where activations are f16.
    pub fn scaler(&self) -> Option<&LossScaler> {
        self.scaler.as_ref()
    }

    /// Goes on with a scaler that was saved. Without effect where losses are not scaled.
    pub fn restore_scaler(&mut self, scaler: LossScaler) {
        if let Some(own) = &mut self.scaler {
            *own = scaler;
        }
    }

    /// What the loss is multiplied with in the next backward pass.
    pub fn loss_scale(&self) -> f64 {
        let own = self.scaler.as_ref().map_or(1.0, LossScaler::scale);
        self.fixed_scale.unwrap_or(own)
    }

    /// Scales losses with this, whatever the precision; for a replica, whose scaler is elsewhere.
    pub(crate) fn scale_with(&mut self, scale: f64) {
        self.fixed_scale = Some(scale);
    }

    /// Tells the next passes how many optimizer steps there were.
    pub(crate) fn after_steps(&mut self, steps: usize) {
        self.steps = steps;
    }

    /// How many optimizer steps there were, as far as was reported.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Runs `loss` in a pass that trains: in this precision, with batch statistics, with checkpoints if so configured.
    ///
    /// # Errors
    /// Those of `loss`.
    pub fn forward<'a>(
        &self,
        loss: impl FnOnce(&mut Pass<'a>) -> Result<Outcome>,
    ) -> Result<Forward<'a>> {
        let mut pass = Pass::new(Normalization::Batch, &self.device.autodiff())
            .computing_in(self.precision.dtype())
            .checkpointing(self.config.gradient_checkpointing)
            .after_steps(self.steps);
        let _counted = self.ledger.as_ref().map(Ledger::enter);
        let _phase = profile::phase(Phase::Forward);
        let outcome = store_as(self.precision.packed(), || loss(&mut pass))?;
        Ok(Forward { outcome, pass })
    }

    /// Adds the gradients of a forward pass over a whole batch to those of the next step.
    ///
    /// # Errors
    /// As [`Pass::backward`].
    pub fn backward<M: Trainable>(&mut self, forward: Forward<'_>, model: &M) -> Result<()> {
        self.backward_part(forward, model, 1.0)
    }

    /// As [`backward`](Self::backward), of a pass over a part of the batch: `share` is the part's number of examples
    /// over the batch's. The sum over all parts is the gradient of the batch's mean loss, but for batch norm, which
    /// knows the examples of its part only.
    ///
    /// # Errors
    /// As [`Pass::backward`].
    pub fn backward_part<M: Trainable>(
        &mut self,
        forward: Forward<'_>,
        model: &M,
        share: f64,
    ) -> Result<()> {
        let _phase = profile::phase(Phase::Backward);
        let counted = self.ledger.as_ref().map(Ledger::enter);
        let Forward { outcome, mut pass } = forward;
        let statistics = pass.take_statistics();
        let factor = share * self.loss_scale();
        let scaled = if factor == 1.0 {
            outcome.loss.clone()
        } else {
            outcome.loss.clone() * factor
        };
        let loss = outcome.loss.without_autodiff();
        // Blocks that are computed once more store what they keep as the others do.
        let packed = self.precision.packed();
        let gradients = store_as(packed, || pass.backward(scaled, model))?;
        if let Some(ledger) = &self.ledger {
            ledger.check("backward")?;
        }
        let pending = &mut self.pending;
        pending.gradients = Some(match pending.gradients.take() {
            None => gradients,
            Some(earlier) => {
                let mut sum = GradientsAccumulator::new();
                sum.accumulate(model, earlier);
                sum.accumulate(model, gradients);
                sum.grads()
            }
        });
        pending.losses.push((loss, share));
        pending.predictions.extend(outcome.predictions);
        pending.statistics.push(statistics);
        drop(counted);
        Ok(())
    }

    /// The forward and backward passes of a step on all of these batches, whose examples count alike, with at most
    /// `micro_batch` examples in a pass.
    ///
    /// # Errors
    /// When there is no example, and as [`forward`](Self::forward) and [`backward`](Self::backward); nothing is left for
    /// the next step then.
    pub fn passes<M: Trainable, O: Objective<M>>(
        &mut self,
        model: &M,
        objective: &O,
        batches: &[O::Batch],
        micro_batch: usize,
    ) -> Result<()> {
        let examples: usize = batches.iter().map(Batch::len).sum();
        if examples == 0 {
            return Err(Error::invalid(OPERATION, "a step on no example"));
        }
        self.hold(model.num_params());
        let mut pass = |part: &O::Batch| {
            let forward = self.forward(|pass| objective.forward(model, part, pass))?;
            self.backward_part(forward, model, part.len() as f64 / examples as f64)
        };
        let mut all = || {
            for batch in batches {
                if batch.len() <= micro_batch {
                    pass(batch)?;
                    continue;
                }
                for part in batch.split(&even_parts(batch.len(), micro_batch)) {
                    pass(&part)?;
                }
            }
            Ok(())
        };
        let result = all();
        if result.is_err() {
            self.clear();
        }
        result
    }

    /// What the backward passes since the last step have left, which is then gone.
    pub(crate) fn take_pending(&mut self) -> Pending {
        std::mem::take(&mut self.pending)
    }

    /// Forgets the backward passes since the last step.
    pub fn clear(&mut self) {
        self.pending = Pending::default();
    }

    /// Moves `model` by the gradients of the backward passes since the last step, and reads what the step came to, in
    /// one wait. `rate` is the learning rate.
    ///
    /// A gradient that is not finite leaves the model as it was, and so does a batch norm's variance: the loss does not
    /// show it, but the running statistics would never be finite again. Where losses are scaled, the scale is then
    /// halved and the report says [`skipped`](StepReport::skipped).
    ///
    /// # Errors
    /// When there was no backward pass, when the device fails, and when the loss, a gradient or a variance is not finite
    /// and no smaller scale can help; the model is then as it was.
    pub async fn step<M: Trainable>(
        &mut self,
        optimizer: &mut AnyOptimizer,
        rate: f64,
        model: &mut M,
    ) -> Result<StepReport> {
        self.step_seen(optimizer, rate, model, None).await
    }

    /// As [`step`](Self::step); `see` is given the gradients first, and an error of it is one of the step.
    pub(crate) async fn step_seen<M: Trainable>(
        &mut self,
        optimizer: &mut AnyOptimizer,
        rate: f64,
        model: &mut M,
        see: Option<&mut See<'_, M>>,
    ) -> Result<StepReport> {
        let (ledger, before) = (self.ledger.clone(), optimizer.clone());
        let step = self.take_step(optimizer, &before, rate, model, see);
        let report = match ledger {
            None => step.await,
            Some(ledger) => ledger.attach(step).await,
        };
        match &report {
            Ok(_) => {
                self.steps += 1;
                self.hold(model.num_params() * (1 + optimizer.moments()));
            }
            Err(_) => *optimizer = before,
        }
        report
    }

    /// Says what is kept from one step to the next, at least so many numbers: what is dropped or replaced where no
    /// ledger is entered makes the account drift.
    fn hold(&mut self, numbers: usize) {
        if let Some(ledger) = &self.ledger {
            self.held = self.held.max(4 * numbers as u64);
            ledger.set_held(self.held + self.beside);
        }
    }

    /// The logits that the last step's accuracy was counted from, where classes are told apart.
    pub(crate) fn take_answers(&mut self) -> Option<Vec<f32>> {
        let answers = std::mem::take(&mut self.answers);
        (!answers.is_empty()).then_some(answers)
    }

    /// Says how many bytes others keep on the device from one step to the next.
    pub(crate) fn hold_beside(&mut self, bytes: u64) {
        if bytes != self.beside {
            self.beside = bytes;
            self.hold(0);
        }
    }

    async fn take_step<M: Trainable>(
        &mut self,
        optimizer: &mut AnyOptimizer,
        before: &AnyOptimizer,
        rate: f64,
        model: &mut M,
        see: Option<&mut See<'_, M>>,
    ) -> Result<StepReport> {
        let Pending {
            gradients,
            losses,
            predictions,
            statistics,
        } = self.take_pending();
        let Some(mut gradients) = gradients else {
            return Err(Error::invalid(
                OPERATION,
                "no backward pass before the step",
            ));
        };
        let loss_scale = self.loss_scale();
        let mut left = loss_scale;
        if let Some(see) = see {
            if loss_scale != 1.0 {
                let factor = Tensor::full([1], 1.0 / loss_scale, self.device.tensors());
                gradients::scale(model, &mut gradients, &factor);
                left = 1.0;
            }
            see(model, &mut gradients)?;
        }
        optimizer.set_loss_scale(left)?;
        // Before anything is read, so that there is one wait for all; the model is replaced once the step is good.
        let stepping = profile::phase(Phase::Step);
        let moved = optimizer.step(rate, model.clone(), gradients);
        let variances = variances(&statistics);
        let moved = absorb(moved, statistics.into_iter().flatten().collect())?;
        drop(stepping);
        let mut trip = Readback::new();
        let shares: Vec<f64> = losses.iter().map(|(_, share)| *share).collect();
        for (loss, _) in losses {
            trip = trip.with(loss);
        }
        let mut labels = Vec::new();
        for prediction in predictions {
            trip = trip.with(prediction.logits);
            labels.push(prediction.labels);
        }
        let Some(skipped) = optimizer.skipped() else {
            return Err(Error::invalid(OPERATION, "no parameter has a gradient"));
        };
        let reading = profile::phase(Phase::Readback);
        let trip = trip.with(skipped);
        let trip = variances.into_iter().fold(trip, Readback::with);
        let mut read = trip.run_all().await?.into_iter();
        drop(reading);
        if let Some(ledger) = &self.ledger {
            ledger.check(OPERATION)?;
        }
        let loss = shares
            .iter()
            .map(|share| share * f64::from(next(&mut read)[0]))
            .sum::<f64>();
        let rows = labels.iter().map(Vec::len).sum::<usize>();
        let mut right = 0;
        self.answers.clear();
        for labels in &labels {
            let logits = next(&mut read);
            right += count_right(&logits, labels);
            self.answers.extend(logits);
        }
        let overflow = next(&mut read)[0] > 0.0;
        let sound = loss.is_finite() && read.flatten().all(f32::is_finite);
        let report = StepReport {
            loss,
            accuracy: (rows > 0).then(|| right as f64 / rows as f64),
            skipped: overflow || !sound,
            loss_scale,
        };
        self.judge(&report)?;
        if !report.skipped {
            *model = moved;
        } else if !overflow {
            // It took the step, and must not have.
            *optimizer = before.clone();
        }
        Ok(report)
    }

    /// Tells the scaler, and whether the run can go on.
    pub(crate) fn judge(&mut self, report: &StepReport) -> Result<()> {
        let scale = self.scaler.as_mut().map(|scaler| {
            scaler.update(report.skipped);
            scaler.scale()
        });
        if report.skipped && scale.is_none_or(|scale| scale < SMALLEST_SCALE) {
            let what = if report.loss.is_finite() {
                "a gradient or a batch norm's variance is not finite"
            } else {
                "the loss is not finite"
            };
            return Err(Error::new(ErrorKind::Diverged, OPERATION, what)
                .expected("a smaller learning rate, and inputs that are finite")
                .got(format!("a loss of {}", report.loss)));
        }
        Ok(())
    }
}

fn next(values: &mut impl Iterator<Item = Vec<f32>>) -> Vec<f32> {
    values.next().expect("one for each tensor of the trip")
}
