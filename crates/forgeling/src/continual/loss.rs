//! The loss on new examples.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::head::mask;
use super::{ContinualBatch, Head};
use crate::error::Result;
use crate::nn::{Network, Pass};
use crate::ops::softmax_cross_entropy;
use crate::train::{Objective, Outcome, Predictions};

/// What the loss on new examples counts in training, beside what is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewWeight {
    /// 1.
    #[default]
    One,
    /// 1 / k, where k is the number of contexts so far: one more than the largest context of the batch; 1 where contexts are
    /// not told. Van de Ven's, beside [`ReplayWeight::ByContext`](super::ReplayWeight::ByContext).
    ByContext,
    /// 0: a part of the run makes the whole loss.
    Zero,
}

/// Which outputs new examples count for in training, of those that the [`Head`] leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewMask {
    /// All of them.
    #[default]
    Active,
    /// Those of the classes in the batch and those of classes that were never trained on before, so that new examples do not
    /// push old classes away: the asymmetric cross entropy of ER-ACE (Caccia et al., "New insights on reducing abrupt
    /// representation change in online continual learning", ICLR 2022, arXiv 2104.05025). Needs
    /// [`Head::progress`] in the run, which keeps which classes came.
    ///
    /// Mammoth takes all outputs from the largest label that came on for those that never came, which is wrong for classes
    /// that come in another order than that of their labels, and masks nothing in the first context.
    CurrentClasses,
}

/// The mean softmax cross entropy on the examples of a batch, over the outputs that count:
///
/// `L = w · −1/N sum_i log softmax(masked(z_i))[y_i]`
///
/// In a test `w = 1` and the mask is the head's, and a class that is not there yet has a loss of 1e30.
///
/// Predictions, from which accuracy is counted, are what the head [answers](Head::answers). In training they are the
/// outputs that count in training, which differs for [`HeadKind::MaskedAtTest`](super::HeadKind::MaskedAtTest) alone: a
/// buffer keeps them, and DER learns them by all outputs.
#[derive(Debug, Clone)]
pub struct ContinualLoss {
    /// Which outputs count.
    pub head: Head,
    /// What it counts in training.
    pub weight: NewWeight,
    /// Which of the head's outputs count in training.
    pub mask: NewMask,
}

impl ContinualLoss {
    /// With weight 1, over all outputs that the head leaves.
    pub fn new(head: Head) -> Self {
        Self {
            head,
            weight: NewWeight::One,
            mask: NewMask::Active,
        }
    }

    /// The mean cross entropy of masked outputs.
    fn cross_entropy(
        &self,
        logits: Tensor<2>,
        batch: &ContinualBatch,
        step: usize,
        training: bool,
    ) -> Result<Tensor<1>> {
        let labels = &batch.images.labels;
        let mut masked = self.head.masked(logits, batch);
        if training && self.mask == NewMask::CurrentClasses {
            self.head.note(labels, step);
            let mut counts = self.head.came_before(step);
            counts.iter_mut().for_each(|came| *came = !*came);
            for label in labels {
                counts[*label] = true;
            }
            masked = mask(masked, |_, output| counts[output]);
        }
        let loss = softmax_cross_entropy(masked, labels)?;
        Ok(match self.weight {
            NewWeight::ByContext if training => loss / contexts_of(batch).unwrap_or(1) as f64,
            _ => loss,
        })
    }
}

/// How many contexts there are up to the last one of a batch, if they are told.
pub(super) fn contexts_of(batch: &ContinualBatch) -> Option<usize> {
    batch.contexts.iter().max().map(|context| context + 1)
}

impl Objective<Network> for ContinualLoss {
    type Batch = ContinualBatch;

    fn forward<'m>(
        &self,
        model: &'m Network,
        batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Outcome> {
        let head = &self.head;
        let logits = head.logits(model, batch, pass)?;
        let training = logits.is_tracked();
        head.check_labels(batch, training)?;
        let untracked = logits.clone().without_autodiff();
        let predictions = Predictions {
            logits: match training {
                true => head.masked(untracked, batch),
                false => head.answers(untracked, batch),
            },
            labels: batch.images.labels.clone(),
        };
        let loss = if training && self.weight == NewWeight::Zero {
            // What norms find counts where the loss is made.
            drop(pass.take_statistics());
            Tensor::zeros([1], &logits.device())
        } else {
            self.cross_entropy(logits, batch, pass.step(), training)?
        };
        Ok(Outcome {
            loss,
            predictions: Some(predictions),
        })
    }
}

#[cfg(test)]
mod tests;
