//! What norms find in a batch, and the running statistics that it goes into.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::ops::{Blend, Statistics, running_statistics};

/// Weight of a new batch in the running statistics; PyTorch's default.
const MOMENTUM: f32 = 0.1;

/// Where batch norm takes mean and variance from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// From the batch itself. In evaluation this is *transductive*: the queries see each other.
    Batch,
    /// From the running statistics gathered in training.
    Running,
}

/// Mean and biased variance of each channel over one batch, over how many values they were taken, and which norm found
/// them.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    statistics: Statistics,
    count: usize,
    /// The norm's running mean and variance.
    norm: [ParamId; 2],
    /// What is added to the mean: the bias of a convolution that was left out.
    bias: Option<Tensor<1>>,
}

impl BatchStatistics {
    /// What the norm with these running statistics, mean and variance, found in so many values.
    pub(crate) fn new(
        statistics: Statistics,
        count: usize,
        running: [&Param<Tensor<1>>; 2],
    ) -> Self {
        Self {
            statistics,
            count,
            norm: running.map(|param| param.id),
            bias: None,
        }
    }

    /// With the bias of the convolution before the norm, if it has one; it was left out since the norm takes it away again.
    pub(crate) fn with_bias(mut self, bias: Option<Tensor<1>>) -> Self {
        self.bias = bias.map(Tensor::detach);
        self
    }

    /// The variance of each channel. It is not finite where the activations, or their mean, go beyond what f32 holds:
    /// the norm then gives out its shift alone, and no loss would show it.
    pub(crate) fn variance(&self) -> Tensor<1> {
        self.statistics.variance.clone().without_autodiff()
    }

    /// Running statistics moved a tenth of the way.
    fn blended(self, running: Statistics) -> Statistics {
        let count = self.count as f32;
        let blend = Blend {
            momentum: MOMENTUM,
            correction: count / (count - 1.0).max(1.0),
        };
        let bias = self.bias.unwrap_or_else(|| running.mean.zeros_like());
        running_statistics(running, bias, self.statistics, blend)
    }

    /// The statistics as they are, the variance biased.
    fn replacing(self, _: Statistics) -> Statistics {
        let Statistics { mean, variance } = self.statistics;
        let mean = match self.bias {
            Some(bias) => mean + bias,
            None => mean,
        };
        Statistics { mean, variance }
    }
}

/// Moves running statistics a tenth of the way to those of one or more batches, in their order: each norm's own, whichever
/// module it is in.
///
/// # Errors
/// When some are of a norm that the module does not have.
pub fn absorb<M: Module>(module: M, found: Vec<BatchStatistics>) -> Result<M> {
    change(module, found, BatchStatistics::blended)
}

/// Puts the statistics of one batch in the place of the running ones, so that other images are normalized as this batch
/// was. For networks that were trained without running statistics.
///
/// # Errors
/// When some are of a norm that the module does not have.
pub fn normalizing_by<M: Module>(module: M, found: Vec<BatchStatistics>) -> Result<M> {
    change(module, found, BatchStatistics::replacing)
}

fn change<M: Module>(
    module: M,
    found: Vec<BatchStatistics>,
    next: impl Fn(BatchStatistics, Statistics) -> Statistics,
) -> Result<M> {
    if found.is_empty() {
        return Ok(module);
    }
    let ids = found.iter().flat_map(|batch| batch.norm);
    let mut there = Find(ids.map(|id| (id, None)).collect());
    module.visit(&mut there);
    let mut running = HashMap::with_capacity(there.0.len());
    for (id, value) in there.0 {
        let unknown = || {
            Error::invalid(
                "absorb",
                "statistics of a norm that the module does not have",
            )
            .expected("those of a pass through this module")
        };
        running.insert(id, value.ok_or_else(unknown)?);
    }
    for batch in found {
        let norm = batch.norm;
        let [mean, variance] = norm.map(|id| running[&id].clone());
        let moved = next(batch, Statistics { mean, variance });
        running.insert(norm[0], moved.mean);
        running.insert(norm[1], moved.variance);
    }
    Ok(module.map(&mut Replace(running)))
}

/// The running statistics of these parameters.
struct Find(HashMap<ParamId, Option<Tensor<1>>>);

impl ModuleVisitor for Find {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(place) = self.0.get_mut(&param.id) {
            let value = param.val();
            let length = value.shape().num_elements();
            *place = Some(value.reshape([length]));
        }
    }
}

struct Replace(HashMap<ParamId, Tensor<1>>);

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.remove(&param.id) {
            Some(value) => {
                param.map(|old| value.reshape(old.dims()).detach().set_require_grad(false))
            }
            None => param,
        }
    }
}
