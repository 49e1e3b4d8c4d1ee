//! How much the examples of a context depend on each parameter of a network.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use super::by_parameter::{ByParameter, each};
use super::dense::Dense;
use super::penalty::nothing_trained;
use crate::continual::examples::Examples;
use crate::continual::{ContinualBatch, Head, Scenario};
use crate::data::Split;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::{Network, Normalization, Pass};
use crate::train::Batch;

const OPERATION: &str = "importance";
/// Examples of a pass through dense layers, so that a context need not fit into memory.
pub(super) const PASS: usize = 256;

/// What of a gradient counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Each number squared.
    Squares,
    /// The magnitude of each number.
    Magnitudes,
}

impl Of {
    pub fn each<const D: usize>(self, gradient: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Squares => gradient.square(),
            Self::Magnitudes => gradient.abs(),
        }
    }
}

/// How much the functions whose gradients are looked at change with the logits that count: for logits
/// `[examples, active]` that are not tracked and the examples that they are of, one or several tensors of that shape. Each
/// stands for one function, such as a cross entropy with one of the labels. Examples come in their order.
pub(super) type Slopes<'a> =
    &'a mut dyn FnMut(Tensor<2>, &ContinualBatch) -> Result<Vec<Tensor<2>>>;

/// Looks at the examples to train on of a context. Nothing of the network changes, also not the statistics of norms, of
/// which the running ones are used; everything is in f32 and stays on the device.
pub(super) struct Look<'a> {
    network: &'a Network,
    head: &'a Head,
    context: usize,
    examples: Examples,
    of: Of,
    /// The network's.
    device: TensorDevice,
    /// Examples of a pass.
    most: usize,
}

impl<'a> Look<'a> {
    /// # Errors
    /// When there is no such context, or nothing of the network is trained.
    pub fn new(
        network: &'a Network,
        head: &'a Head,
        scenario: &Scenario,
        context: usize,
        of: Of,
    ) -> Result<Self> {
        // An empty range would be no error.
        let last = scenario.labels(context).map(|_| context + 1)?;
        let mut device = None;
        each(network, None, |parameter| {
            if parameter.trained {
                device.get_or_insert_with(|| parameter.value.device());
            }
        });
        Ok(Self {
            device: device.ok_or_else(nothing_trained)?,
            network,
            head,
            context,
            examples: Examples::of(scenario, Split::Train, context..last)?,
            of,
            most: PASS,
        })
    }

    /// With at most so many examples in a pass, which changes nothing but rounding.
    #[cfg(test)]
    pub fn by(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// How many examples there are.
    pub fn count(&self) -> usize {
        self.examples.count()
    }

    /// Which outputs count for the examples.
    pub fn active(&self) -> Range<usize> {
        self.head.active(Some(self.context))
    }

    /// The mean over these examples of what their own gradients have, summed over the functions of an example.
    ///
    /// # Errors
    /// When there is no example, the examples do not fit the network, and those of `slopes`.
    pub fn single(&self, numbers: &[usize], slopes: Slopes<'_>) -> Result<ByParameter> {
        match Dense::of(self.network) {
            Some(dense) => self.single_dense(&dense, numbers, slopes),
            None => self.single_each(numbers, slopes),
        }
    }

    fn single_dense(
        &self,
        dense: &Dense,
        numbers: &[usize],
        slopes: Slopes<'_>,
    ) -> Result<ByParameter> {
        let mut sums = ByParameter::default();
        for part in numbers.chunks(self.most) {
            let batch = self.batch(part)?;
            let mut passed = dense.forward(&batch.images)?;
            let all = passed.outputs.dims();
            let logits = self.counting(passed.outputs.clone())?;
            for slope in slopes(logits, &batch)? {
                passed.backward(self.with_rest(slope, all), self.of);
            }
            passed.add_to(&mut sums, self.of);
        }
        mean(sums, numbers.len())
    }

    /// As [`single`](Self::single), one example after the other.
    pub(super) fn single_each(&self, numbers: &[usize], slopes: Slopes<'_>) -> Result<ByParameter> {
        let mut sums = ByParameter::default();
        for part in numbers.chunks(self.most) {
            let all = self.batch(part)?;
            for place in 0..part.len() {
                let batch = all.part(place..place + 1);
                let mut forward = Some(self.forward(&batch)?);
                let logits = forward.as_ref().map(|(logits, _)| logits.clone().inner());
                let Some(logits) = logits else { continue };
                for slope in slopes(logits, &batch)? {
                    let forward = match forward.take() {
                        Some(forward) => forward,
                        // A backward pass uses up its forward pass.
                        None => self.forward(&batch)?,
                    };
                    self.add_gradient(forward, slope, &mut sums)?;
                }
            }
        }
        mean(sums, numbers.len())
    }

    /// The mean over mini-batches of these examples of what the mini-batch's mean gradient has.
    ///
    /// # Errors
    /// As [`single`](Self::single).
    pub fn batched(
        &self,
        numbers: &[usize],
        size: usize,
        slopes: Slopes<'_>,
    ) -> Result<ByParameter> {
        let (mut sums, mut batches) = (ByParameter::default(), 0);
        for part in numbers.chunks(size.max(1)) {
            let batch = self.batch(part)?;
            let (logits, pass) = self.forward(&batch)?;
            let mut slopes = slopes(logits.clone().inner(), &batch)?.into_iter();
            let first = slopes.next().ok_or_else(nothing)?;
            let slope = slopes.fold(first, |sum, slope| sum + slope) / part.len() as f64;
            self.add_gradient((logits, pass), slope, &mut sums)?;
            batches += 1;
        }
        mean(sums, batches)
    }

    fn batch(&self, numbers: &[usize]) -> Result<ContinualBatch> {
        let mut batch = self.examples.batch(numbers.iter().copied(), false)?;
        batch.contexts = vec![self.context; numbers.len()];
        Ok(batch)
    }

    /// The logits that count, tracked.
    fn forward(&self, batch: &ContinualBatch) -> Result<(Tensor<2>, Pass<'a>)> {
        let mut pass = Pass::new(Normalization::Running, &self.device);
        let logits = self.head.logits(self.network, batch, &mut pass)?;
        Ok((self.counting(logits)?, pass))
    }

    /// What the functions with these slopes have of gradients.
    fn add_gradient(
        &self,
        (logits, pass): (Tensor<2>, Pass<'a>),
        slope: Tensor<2>,
        sums: &mut ByParameter,
    ) -> Result<()> {
        let loss = (logits * Tensor::from_inner(slope)).sum();
        let gradients = pass.backward(loss, self.network)?;
        let gradients = ByParameter::gradients(self.network, &gradients);
        for (name, gradient) in gradients.iter() {
            sums.add(name, self.of.each(gradient.clone()));
        }
        Ok(())
    }

    /// Of the logits of all outputs those that count.
    fn counting(&self, logits: Tensor<2>) -> Result<Tensor<2>> {
        let ([rows, outputs], active) = (logits.dims(), self.active());
        if active.is_empty() || active.end > outputs {
            let message = "the network has not the outputs that the head counts";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("outputs {active:?}"))
                .got(format!("{outputs} outputs")));
        }
        Ok(logits.slice([0..rows, active]))
    }

    /// Slopes of all outputs, `[rows, outputs]`: those that do not count change nothing.
    fn with_rest(&self, slope: Tensor<2>, [rows, outputs]: [usize; 2]) -> Tensor<2> {
        let (device, active) = (slope.device(), self.active());
        let zeros = |width: usize| Tensor::<2>::zeros([rows, width], &device);
        let mut parts = vec![slope];
        if active.start > 0 {
            parts.insert(0, zeros(active.start));
        }
        if active.end < outputs {
            parts.push(zeros(outputs - active.end));
        }
        match parts.len() {
            1 => parts.remove(0),
            _ => Tensor::cat(parts, 1),
        }
    }
}

/// 1 at the place of each row's label, of the outputs that count, as a tensor beside `logits`.
pub(super) fn one_hot(
    logits: &Tensor<2>,
    active: &Range<usize>,
    labels: &[usize],
) -> Result<Tensor<2>> {
    let width = active.len();
    let mut values = vec![0.0f32; labels.len() * width];
    for (row, &label) in values.chunks_exact_mut(width.max(1)).zip(labels) {
        if !active.contains(&label) {
            let message = "a label is none of the outputs that count";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("one of {active:?}"))
                .got(label));
        }
        row[label - active.start] = 1.0;
    }
    let data = TensorData::new(values, [labels.len(), width]);
    Ok(Tensor::from_data(data, &logits.device()))
}

fn nothing() -> Error {
    Error::invalid(OPERATION, "there is no example to look at")
}

fn mean(sums: ByParameter, count: usize) -> Result<ByParameter> {
    match count {
        0 => Err(nothing()),
        _ => Ok(sums.map(|_, sum| sum / count as f64)),
    }
}
