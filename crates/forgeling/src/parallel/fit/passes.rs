//! What a replica does with its share.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use burn::tensor::{Int, Tensor, TensorData};

use super::OPERATION;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::parallel::Contribution;
use crate::train::parts::{Changes, Parts, StepContext, WithTerms, gradients};
use crate::train::{
    Batch, HardwareConfig, HardwareManager, Objective, Predictions, Trainable, fewer,
};

/// The passes of an objective, in the precision of a configuration.
pub(super) struct Passes<O> {
    objective: O,
    hardware: HardwareConfig,
    /// What losses are scaled with, as bits.
    scale: AtomicU64,
    /// Optimizer steps before the next one.
    steps: AtomicUsize,
    /// The most examples of a pass, halved where memory does not suffice.
    micro_batch: AtomicUsize,
    /// What methods do beside the optimizer: their gradients are not scaled.
    pub changes: Changes,
}

impl<O> Passes<O> {
    pub fn new(objective: O, manager: &HardwareManager, changes: Changes) -> Self {
        Self {
            objective,
            micro_batch: AtomicUsize::new(manager.config().micro_batch.unwrap_or(usize::MAX)),
            hardware: manager.config().clone(),
            scale: AtomicU64::new(1.0_f64.to_bits()),
            steps: AtomicUsize::new(0),
            changes,
        }
    }

    fn scale(&self) -> f64 {
        f64::from_bits(self.scale.load(Ordering::Relaxed))
    }

    /// Scales losses and counts steps as `manager` does; gives the scale if it is another one than before, and the replicas'
    /// optimizers have to know.
    pub fn follow(&self, manager: &HardwareManager) -> Option<f64> {
        self.steps.store(manager.steps(), Ordering::Relaxed);
        let scale = manager.loss_scale();
        let before = self.scale.swap(scale.to_bits(), Ordering::Relaxed);
        (before != scale.to_bits() && !self.changes.any()).then_some(scale)
    }

    /// The gradients of one share.
    pub fn contribute<M: Trainable>(
        &self,
        parts: &Parts<'_, M, O::Batch>,
        at: StepContext<'_, O::Batch>,
        model: &M,
        share: Together<O::Batch>,
        device: &Device,
    ) -> Result<Contribution>
    where
        O: Objective<M>,
    {
        let mut manager = HardwareManager::on(device.clone(), self.hardware.clone())?;
        manager.scale_with(self.scale());
        manager.after_steps(self.steps.load(Ordering::Relaxed));
        manager.hold_beside(parts.bytes());
        let objective = WithTerms {
            objective: &self.objective,
            terms: parts.terms(),
            at,
        };
        loop {
            let micro = self.micro_batch.load(Ordering::Relaxed).min(share.len());
            match manager.passes(model, &objective, &share.0, micro) {
                Ok(()) => break,
                Err(problem) => {
                    let examples = fewer(problem, micro, device)?;
                    self.micro_batch.fetch_min(examples, Ordering::Relaxed);
                }
            }
        }
        let pending = manager.take_pending();
        let Some(mut gradients) = pending.gradients else {
            return Err(Error::invalid(OPERATION, "no parameter has a gradient"));
        };
        if self.changes.any() && self.scale() != 1.0 {
            let factor = Tensor::full([1], 1.0 / self.scale(), device.tensors());
            gradients::scale(model, &mut gradients, &factor);
        }
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

/// Batches of one step, as one that can be dealt out.
#[derive(Clone)]
pub(super) struct Together<B>(pub Vec<B>);

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
