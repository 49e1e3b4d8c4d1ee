//! Training on a user's examples.

use std::ops::ControlFlow;

use burn::module::Module;
use serde::Serialize;

use super::calibrate::FOLDS;
use super::config::FineTuneConfig;
use super::distances::HeldOut;
use super::support::Support;
use super::tuned::{SupportLoss, Tuned};
use crate::data::ImageShape;
use crate::device::{Device, Readback};
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{Normalization, Pass};
use crate::train::{
    Batches, EarlyStopping, EarlyStoppingConfig, HardwareConfig, HardwareManager, Objective,
    OptimizerConfig, Paced, Precision, Run, Schedule, TrainEvent, Trainer, TrainerConfig,
    Validation, Verdict,
};

const OPERATION: &str = "fine_tune";

/// An epoch of a fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FineTuneEvent {
    /// Whether a part of the examples is held out, to find the number of epochs; otherwise all are trained on.
    pub searching: bool,
    /// Epochs so far.
    pub epoch: usize,
    /// The most epochs of this part.
    pub epochs: usize,
    /// Mean cross entropy of the examples that are trained on, before their steps.
    pub loss: f64,
    /// Mean cross entropy of the examples that are held out, after the epoch.
    pub held_out_loss: Option<f64>,
    /// Part of the examples held out that are classified rightly, after the epoch.
    pub held_out_accuracy: Option<f64>,
}

/// What a fine-tuning came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FineTuneSummary {
    /// Epochs on all examples; 0 where the held-out examples said that no training is best.
    pub epochs: usize,
    /// Mean cross entropy of all examples in the last epoch, before its steps; `None` without an epoch.
    pub loss: Option<f64>,
    /// Part of the held-out examples that were classified rightly after so many epochs, if there were any.
    pub held_out_accuracy: Option<f64>,
    /// Whether the search ended, or without one the training, before the configured number of epochs.
    pub stopped_early: bool,
}

/// What stays the same in the parts of a fine-tuning.
pub(super) struct FineTuning<'a> {
    pub support: &'a Support,
    pub config: &'a FineTuneConfig,
    pub shape: ImageShape,
    pub device: &'a Device,
}

/// A part of a fine-tuning, when it is over.
struct Part {
    epochs: usize,
    loss: Option<f64>,
    stopped_early: bool,
}

/// The best epoch on examples that are held out.
struct Best {
    epochs: usize,
    found: Validation,
    stopped_early: bool,
}

impl FineTuning<'_> {
    /// Trains what `start` makes of the examples with these places.
    ///
    /// # Errors
    /// When the loss is not finite, when `on_event` asks to stop, and when the device fails.
    pub async fn run(
        &self,
        start: impl Fn(&[usize]) -> Tuned,
        on_event: &mut impl FnMut(&FineTuneEvent) -> ControlFlow<()>,
        pace: &impl AsyncFn() -> Result<()>,
    ) -> Result<(Tuned, FineTuneSummary)> {
        let all = self.support.all();
        let Some((trained, held)) = self.support.held_out(self.config) else {
            let mut model = start(&all);
            let limit = self.config.epochs;
            let part = self
                .train(&mut model, &all, limit, true, on_event, pace)
                .await?;
            let summary = FineTuneSummary {
                epochs: part.epochs,
                loss: part.loss,
                held_out_accuracy: None,
                stopped_early: part.stopped_early,
            };
            return Ok((model, summary));
        };
        let best = self
            .search(start(&trained), &trained, &held, on_event, pace)
            .await?;
        let mut model = start(&all);
        let loss = match best.epochs {
            0 => None,
            epochs => {
                let part = self
                    .train(&mut model, &all, epochs, false, on_event, pace)
                    .await?;
                part.loss
            }
        };
        let summary = FineTuneSummary {
            epochs: best.epochs,
            loss,
            held_out_accuracy: best.found.accuracy,
            stopped_early: best.stopped_early,
        };
        Ok((model, summary))
    }

    /// What is said of examples by models that were trained for so many epochs on others: in `used` folds of 5.
    ///
    /// # Errors
    /// When the device fails. A fold whose training diverges is left out.
    pub async fn held_out(
        &self,
        start: impl Fn(&[usize]) -> Tuned,
        epochs: usize,
        used: usize,
        pace: &impl AsyncFn() -> Result<()>,
    ) -> Result<HeldOut> {
        let objective = SupportLoss { shape: self.shape };
        let mut found = HeldOut::default();
        for (rest, held) in self.support.folds(FOLDS).into_iter().take(used) {
            let mut model = start(&rest);
            if epochs > 0 {
                let mut unseen = |_: &FineTuneEvent| ControlFlow::Continue(());
                let trained = self.train(&mut model, &rest, epochs, false, &mut unseen, pace);
                match trained.await {
                    Err(error) if error.kind() == ErrorKind::Diverged => continue,
                    trained => trained?,
                };
            }
            let frozen = model.valid();
            let mut pass = Pass::new(Normalization::Running, self.device.tensors());
            let outcome = objective.forward(&frozen, &self.support.samples(&held), &mut pass)?;
            if let Some(predictions) = outcome.predictions {
                let [logits] = Readback::new().with(predictions.logits).run().await?;
                found.logits.extend(logits);
                found.labels.extend(predictions.labels);
            }
        }
        Ok(found)
    }

    /// After how many epochs the held-out loss is the smallest.
    async fn search(
        &self,
        mut model: Tuned,
        trained: &[usize],
        held: &[usize],
        on_event: &mut impl FnMut(&FineTuneEvent) -> ControlFlow<()>,
        pace: &impl AsyncFn() -> Result<()>,
    ) -> Result<Best> {
        let objective = SupportLoss { shape: self.shape };
        let limit = self.config.epochs;
        let stopping = EarlyStoppingConfig {
            patience: self.config.patience,
            ..Default::default()
        };
        let mut trainer = self.trainer(limit, Some(stopping))?;
        let mut source = Batches::new(self.support.batches(trained, self.config.seed));
        let mut validation = Batches::new(self.support.batches(held, self.config.seed));
        let found = trainer
            .validate(&model, &objective, &mut validation)
            .await?;
        let mut best = Best {
            epochs: 0,
            found,
            stopped_early: false,
        };
        let mut asked = ControlFlow::Continue(());
        let mut last = (0, 0.0);
        let mut source = Paced::new(&mut source, pace);
        let mut validation = Paced::new(&mut validation, pace);
        let run = Run::on(&mut source).validated_on("held out", &mut validation);
        let summary = trainer.fit(&mut model, &objective, run, |event| {
            match event {
                TrainEvent::Epoch { epoch, loss, .. } => last = (*epoch, *loss),
                TrainEvent::Validated { validation, .. } => {
                    if validation.loss < best.found.loss {
                        (best.epochs, best.found) = (last.0, *validation);
                    }
                    asked = on_event(&FineTuneEvent {
                        searching: true,
                        epoch: last.0,
                        epochs: limit,
                        loss: last.1,
                        held_out_loss: Some(validation.loss),
                        held_out_accuracy: validation.accuracy,
                    });
                }
                _ => {}
            }
            asked
        });
        best.stopped_early = summary.await?.epochs < limit;
        if asked.is_break() {
            return Err(cancelled());
        }
        Ok(best)
    }

    /// Trains on the examples with these places; `converging` says whether to stop when the loss no longer falls.
    async fn train(
        &self,
        model: &mut Tuned,
        places: &[usize],
        limit: usize,
        converging: bool,
        on_event: &mut impl FnMut(&FineTuneEvent) -> ControlFlow<()>,
        pace: &impl AsyncFn() -> Result<()>,
    ) -> Result<Part> {
        /// An improvement, as a part of the loss.
        const LEAST: f64 = 0.01;
        /// Added to the loss, so that below it nothing is an improvement.
        const NOTHING: f64 = 0.01;
        let objective = SupportLoss { shape: self.shape };
        let mut trainer = self.trainer(limit, None)?;
        let mut source = Batches::new(self.support.batches(places, self.config.seed));
        let mut stopping = EarlyStopping::new(EarlyStoppingConfig {
            patience: self.config.patience,
            min_delta: LEAST,
            ..Default::default()
        })?;
        let (mut asked, mut last) = (false, None);
        let mut source = Paced::new(&mut source, pace);
        let run = Run::on(&mut source);
        let summary = trainer.fit(model, &objective, run, |event| {
            let TrainEvent::Epoch { epoch, loss, .. } = event else {
                return ControlFlow::Continue(());
            };
            last = Some(*loss);
            asked = on_event(&FineTuneEvent {
                searching: false,
                epoch: *epoch,
                epochs: limit,
                loss: *loss,
                held_out_loss: None,
                held_out_accuracy: None,
            })
            .is_break();
            // Of a logarithm, a difference is a part.
            let over = converging && stopping.observe((loss + NOTHING).ln()) == Verdict::Stop;
            if asked || over {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let epochs = summary.await?.epochs;
        if asked {
            return Err(cancelled());
        }
        Ok(Part {
            epochs,
            loss: last,
            stopped_early: epochs < limit,
        })
    }

    fn trainer(&self, epochs: usize, stopping: Option<EarlyStoppingConfig>) -> Result<Trainer> {
        let config = TrainerConfig {
            epochs: Some(epochs),
            optimizer: OptimizerConfig::Adam(self.config.adam()),
            schedule: Schedule::Constant {
                rate: self.config.learning_rate,
            },
            early_stopping: stopping,
            ..Default::default()
        };
        let hardware = HardwareConfig {
            // A few examples: half precision would save nothing.
            precision: Precision::F32,
            ..Default::default()
        };
        let manager = HardwareManager::on(self.device.clone(), hardware)?;
        Trainer::new(config, manager)
    }
}

fn cancelled() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        OPERATION,
        "stopped before it was over",
    )
}
