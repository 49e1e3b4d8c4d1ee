//! How a model does on data it is not trained on.

use super::{OPERATION, Source, Trainer, Validation};
use crate::device::Readback;
use crate::error::{Error, Result};
use crate::nn::{Normalization, Pass};
use crate::train::micro_batch::even_parts;
use crate::train::objective::{Batch, Objective, Trainable};
use crate::train::parts::Predictor;
use crate::train::score::{Scored, Tally, balanced_accuracy, tally};

impl Trainer {
    /// Mean loss and accuracy of `model` over an epoch of `source`, with running statistics and without gradients.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub async fn validate<M: Trainable, O: Objective<M>>(
        &self,
        model: &M,
        objective: &O,
        source: &mut impl Source<Batch = O::Batch>,
    ) -> Result<Validation> {
        let scored = self.score(model, objective, source).await?;
        Ok(scored.validation)
    }

    /// As [`validate`](Self::validate), with how many examples of each class were classified correctly.
    ///
    /// # Errors
    /// When the data cannot be read or do not fit the model, when there are none, and when the device fails.
    pub async fn score<M: Trainable, O: Objective<M>>(
        &self,
        model: &M,
        objective: &O,
        source: &mut impl Source<Batch = O::Batch>,
    ) -> Result<Scored> {
        self.score_by(None, model, objective, source).await
    }

    /// As [`score`](Self::score), with classes told apart by a predictor, if there is one.
    pub(super) async fn score_by<M: Trainable, O: Objective<M>>(
        &self,
        predictor: Option<&dyn Predictor<M, O::Batch>>,
        model: &M,
        objective: &O,
        source: &mut impl Source<Batch = O::Batch>,
    ) -> Result<Scored> {
        let frozen = model.valid();
        let (mut loss, mut examples) = (0.0, 0);
        let mut classes: Vec<Tally> = Vec::new();
        let limit = self.config.fast_dev_run.unwrap_or(usize::MAX);
        let mut batches = 0;
        let mut next = source.next().await?;
        if next.is_none() {
            // A trial of a few batches may have left nothing but the end of its epoch.
            next = source.next().await?;
        }
        while let Some(batch) = next {
            let micro = self.core.micro_batch.unwrap_or(batch.len()).max(1);
            for part in batch.split(&even_parts(batch.len(), micro)) {
                let mut pass =
                    Pass::new(Normalization::Running, self.core.manager.device().tensors())
                        .computing_in(self.core.manager.precision().dtype());
                let mut outcome = objective.forward(&frozen, &part, &mut pass)?;
                if let (Some(predictor), Some(found)) = (predictor, &mut outcome.predictions) {
                    let scores = predictor.predict(&frozen, &part, &mut pass)?;
                    found.logits = pass.output(scores);
                }
                let mut trip = Readback::new().with(outcome.loss);
                let labels = outcome.predictions.map(|predictions| {
                    trip = std::mem::take(&mut trip).with(predictions.logits);
                    predictions.labels
                });
                let read = trip.run_all().await?;
                loss += part.len() as f64 * f64::from(read[0][0]);
                examples += part.len();
                if let Some(labels) = labels {
                    tally(&mut classes, &read[1], &labels);
                }
            }
            batches += 1;
            if batches >= limit {
                break;
            }
            next = source.next().await?;
        }
        if examples == 0 {
            return Err(Error::invalid(OPERATION, "nothing to validate on"));
        }
        let sum = |count: fn(&Tally) -> usize| classes.iter().map(count).sum::<usize>();
        let (right, rows) = (sum(|class| class.right), sum(|class| class.total));
        let validation = Validation {
            loss: loss / examples as f64,
            accuracy: (rows > 0).then(|| right as f64 / rows as f64),
            balanced_accuracy: balanced_accuracy(classes.iter().copied()),
            examples,
        };
        Ok(Scored {
            validation,
            classes,
        })
    }
}
