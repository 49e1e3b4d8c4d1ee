//! One training step on the hardware that was asked for.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use serde::Serialize;

use super::objective::{Outcome, Predictions, Trainable, count_right};
use super::{AnyOptimizer, HardwareConfig, LossScaler, ResolvedPrecision};
use crate::device::{Device, Readback};
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{BatchStatistics, Normalization, Pass};

const OPERATION: &str = "train_step";

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
/// use forgeling::nn::{Mlp, MlpConfig};
/// use forgeling::train::{HardwareConfig, HardwareManager, AnyOptimizer, OptimizerConfig, Predictions};
///
/// # pollster::block_on(async {
/// let mut manager = HardwareManager::open(HardwareConfig::default()).await?;
/// let config = MlpConfig { inputs: 2, hidden: vec![32], classes: 2, ..Default::default() };
/// let mut model = Mlp::new(&config, &manager.device().autodiff())?;
/// let mut optimizer = AnyOptimizer::new(OptimizerConfig::default())?;
/// let points = TensorData::new(vec![0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [4, 2]);
/// for _ in 0..100 {
///     let forward = manager.forward(|pass| {
///         let logits = model.forward_with(pass.values(points.clone()), pass)?;
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
    pending: Pending,
}

/// What backward passes have left for the next step.
#[derive(Default)]
struct Pending {
    gradients: Option<GradientsParams>,
    /// Each pass's loss with its part of the whole.
    losses: Vec<(Tensor<1>, f64)>,
    predictions: Vec<Predictions>,
    /// Of each pass.
    statistics: Vec<Vec<BatchStatistics>>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("passes", &self.losses.len())
            .finish_non_exhaustive()
    }
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
    /// Whether the step was skipped because a scaled gradient was not finite; the model is then as it was.
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
        if config.micro_batch == Some(0) {
            return Err(
                Error::invalid("hardware_config", "no example in a micro-batch")
                    .expected("micro_batch of at least 1"),
            );
        }
        let precision = ResolvedPrecision::new(config.precision, &device);
        let scaler = LossScaler::new(config.loss_scaler)?;
        Ok(Self {
            scaler: precision.scaled.then_some(scaler),
            precision,
            device,
            config,
            pending: Pending::default(),
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
        self.scaler.as_ref().map_or(1.0, LossScaler::scale)
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
            .checkpointing(self.config.gradient_checkpointing);
        let outcome = loss(&mut pass)?;
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
        let Forward { outcome, mut pass } = forward;
        let statistics = pass.take_statistics();
        let factor = share * self.loss_scale();
        let scaled = if factor == 1.0 {
            outcome.loss.clone()
        } else {
            outcome.loss.clone() * factor
        };
        let loss = outcome.loss.without_autodiff();
        let gradients = pass.backward(scaled, model)?;
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
        Ok(())
    }

    /// Forgets the backward passes since the last step.
    pub fn clear(&mut self) {
        self.pending = Pending::default();
    }

    /// Moves `model` by the gradients of the backward passes since the last step, and reads what the step came to, in
    /// one wait. `rate` is the learning rate.
    ///
    /// A gradient that is not finite leaves the model as it was. Where losses are scaled, the scale is then halved and
    /// the report says [`skipped`](StepReport::skipped).
    ///
    /// # Errors
    /// When there was no backward pass, when the device fails, and when the loss or a gradient is not finite and no
    /// smaller scale can help; the model is then as it was.
    pub async fn step<M: Trainable>(
        &mut self,
        optimizer: &mut AnyOptimizer,
        rate: f64,
        model: &mut M,
    ) -> Result<StepReport> {
        let Pending {
            gradients,
            losses,
            predictions,
            statistics,
        } = std::mem::take(&mut self.pending);
        let Some(gradients) = gradients else {
            return Err(Error::invalid(
                OPERATION,
                "no backward pass before the step",
            ));
        };
        let loss_scale = self.loss_scale();
        optimizer.set_loss_scale(loss_scale)?;
        // Before anything is read, so that there is one wait for all; the model is replaced once the step is good.
        let moved = optimizer.step(rate, model.clone(), gradients);
        let moved = statistics.into_iter().fold(moved, Trainable::absorb);
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
        let mut read = trip.with(skipped).run_all().await?.into_iter();
        let loss = shares
            .iter()
            .map(|share| share * f64::from(next(&mut read)[0]))
            .sum::<f64>();
        let rows = labels.iter().map(Vec::len).sum::<usize>();
        let right = labels
            .iter()
            .map(|labels| count_right(&next(&mut read), labels))
            .sum::<usize>();
        let overflow = next(&mut read)[0] > 0.0;
        let report = StepReport {
            loss,
            accuracy: (rows > 0).then(|| right as f64 / rows as f64),
            skipped: overflow || !loss.is_finite(),
            loss_scale,
        };
        self.judge(&report)?;
        if !report.skipped {
            *model = moved;
        }
        Ok(report)
    }

    /// Tells the scaler, and whether the run can go on.
    fn judge(&mut self, report: &StepReport) -> Result<()> {
        let scale = self.scaler.as_mut().map(|scaler| {
            scaler.update(report.skipped);
            scaler.scale()
        });
        if report.skipped && scale.is_none_or(|scale| scale < SMALLEST_SCALE) {
            let what = if report.loss.is_finite() {
                "a gradient is not finite"
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
