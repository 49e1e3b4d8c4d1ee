//! MAML++: what makes MAML train stably.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::super::functional::{Program, Weights};
use super::{Adapted, GradientMethod, InnerConfig, Learning, MetaLoss};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::BatchStatistics;
use crate::ops::Statistics;

/// The configuration of [`MamlPlusPlus`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MamlPlusPlusConfig {
    /// The inner steps. Default 3 at a rate of 0.1, where the learned rates begin.
    pub inner: InnerConfig,
    /// Optimizer steps over which the queries' loss after the earlier inner steps loses its weight. Default 1,000.
    pub multi_step: usize,
    /// Optimizer steps of first order before those of second order. Default 0; the paper proposes a third of all.
    pub first_order: usize,
}

impl Default for MamlPlusPlusConfig {
    fn default() -> Self {
        Self {
            inner: InnerConfig::default(),
            multi_step: 1000,
            first_order: 0,
        }
    }
}

/// MAML with
///
/// - the loss of the queries after every inner step, weighted: alike at first, then ever more the last one's,
/// - inner gradients of first order for the first optimizer steps, of second order after these,
/// - a learned rate for each parameter tensor and inner step,
/// - batch norm whose gamma and beta are learned for each inner step and not adapted.
///
/// Trained transductively, as in the paper, it keeps running statistics of the queries for each inner step, and an
/// evaluation that is not transductive normalizes with these. Otherwise queries are normalized as other methods do it,
/// with the statistics of their task's support, in training and after it.
///
/// Antoniou, Edwards and Storkey, *How to train your MAML*, 2018 (arXiv 1810.09502). The annealing of the meta-learning
/// rate that the paper proposes is a [`Schedule`](crate::train::Schedule).
#[derive(Module, Debug)]
pub struct MamlPlusPlus {
    /// `[parameters, steps]`
    pub rates: Param<Tensor<2>>,
    /// Gamma of each norm, `[steps, channels]`.
    pub gammas: Vec<Param<Tensor<2>>>,
    /// Beta of each norm, `[steps, channels]`.
    pub betas: Vec<Param<Tensor<2>>>,
    /// Running mean of each step's norms, `[channels]`, not trained.
    pub running_means: Vec<Param<Tensor<1>>>,
    /// Running variance of each step's norms, `[channels]`, not trained.
    pub running_variances: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    config: MamlPlusPlusConfig,
}

impl MamlPlusPlus {
    /// The method for a network's program.
    ///
    /// # Errors
    /// As [`InnerConfig::validate`].
    pub fn new(
        config: MamlPlusPlusConfig,
        program: &Program,
        device: &TensorDevice,
    ) -> Result<Self> {
        config.inner.validate()?;
        let InnerConfig { steps, rate, .. } = config.inner;
        let sizes = program.sizes();
        let channels: Vec<usize> = program
            .norms()
            .iter()
            .map(|norm| sizes[norm.start])
            .collect();
        let vectors = |value: f32| {
            let each = channels.iter();
            let each = each.map(|&c| Param::from_tensor(Tensor::full([steps, c], value, device)));
            each.collect()
        };
        let buffers = |value: f32| {
            let all = (0..steps).flat_map(|_| channels.iter());
            let all = all.map(|&c| Param::from_tensor(Tensor::full([c], value, device)));
            all.map(|buffer| buffer.set_require_grad(false)).collect()
        };
        Ok(Self {
            rates: Param::from_tensor(Tensor::full([sizes.len(), steps], rate, device)),
            gammas: vectors(1.0),
            betas: vectors(0.0),
            running_means: buffers(0.0),
            running_variances: buffers(1.0),
            config,
        })
    }

    /// What is learned for the steps goes on as that of the last one.
    fn known(&self, step: usize) -> usize {
        step.min(self.config.inner.steps - 1)
    }

    /// `weights` with the gamma and beta of a step.
    fn with_norms(&self, tasks: &Learning<'_>, weights: &Weights, step: usize) -> Weights {
        let mut weights = weights.clone();
        let row = |param: &Param<Tensor<2>>| {
            let row = param.val().narrow(0, self.known(step), 1);
            row.repeat_dim(0, tasks.len())
        };
        for (index, norm) in tasks.program().norms().into_iter().enumerate() {
            let tensors = weights.tensors_mut();
            tensors[norm.start] = row(&self.gammas[index]);
            tensors[norm.start + 1] = row(&self.betas[index]);
        }
        weights
    }

    /// The parameters before each inner step and after the last one, each with the norms of the step that it belongs to.
    fn path(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<(Vec<Weights>, Adapted)> {
        let first = tasks
            .training()
            .is_some_and(|done| done < self.config.first_order);
        let rates = self.rates.val();
        let mut weights = initial.clone();
        let mut path = Vec::new();
        let mut losses = Vec::new();
        for step in 0..tasks.steps(&self.config.inner) {
            let (loss, gradient) = tasks.gradient(&self.with_norms(tasks, &weights, step))?;
            losses.push(loss);
            let gradient = if first { gradient.detach() } else { gradient };
            let rates = rates.clone().narrow(1, self.known(step), 1);
            let mut parameter = 0;
            weights = weights.zip(&gradient, |weight, gradient| {
                parameter += 1;
                weight - gradient * rates.clone().narrow(0, parameter - 1, 1)
            });
            path.push(self.with_norms(tasks, &weights, step));
        }
        let weights = path.last().unwrap_or(initial).clone();
        Ok((path, Adapted { weights, losses }))
    }

    /// The weight of the queries' loss after each of so many inner steps, which add up to 1.
    fn importance(&self, steps: usize, done: usize) -> Vec<f64> {
        let each = 1.0 / steps as f64;
        // The least that an earlier step keeps, as in the authors' code.
        let least = 0.03 * each;
        let part = (done as f64 / self.config.multi_step.max(1) as f64).min(1.0);
        let earlier = (each * (1.0 - part)).max(least);
        let mut weights = vec![earlier; steps];
        weights[steps - 1] = 1.0 - earlier * (steps - 1) as f64;
        weights
    }
}

impl GradientMethod for MamlPlusPlus {
    fn adapt(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<Adapted> {
        Ok(self.path(tasks, initial)?.1)
    }

    fn answer(&self, tasks: &Learning<'_>, adapted: &Adapted) -> Result<Tensor<3>> {
        if tasks.is_transductive() || !tasks.is_trained_transductively() {
            return tasks.answer(&adapted.weights);
        }
        let norms = self.gammas.len();
        let last = self.known(adapted.losses.len().saturating_sub(1));
        let of = |buffers: &[Param<Tensor<1>>], norm: usize| {
            let vector = buffers[last * norms + norm].val();
            vector.repeat_dim(0, tasks.len())
        };
        let given: Vec<Statistics> = (0..norms)
            .map(|norm| Statistics {
                mean: of(&self.running_means, norm),
                variance: of(&self.running_variances, norm),
            })
            .collect();
        tasks.answer_with(&adapted.weights, Some(&given))
    }

    fn meta_loss(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<MetaLoss> {
        let (path, adapted) = self.path(tasks, initial)?;
        let importance = self.importance(path.len(), tasks.training().unwrap_or_default());
        let mut sum: Option<Tensor<1>> = None;
        let mut last = None;
        let mut statistics = Vec::new();
        for (weights, importance) in path.iter().zip(importance) {
            let (answers, found) = if tasks.is_transductive() {
                tasks.answer_and_statistics(weights)?
            } else {
                (tasks.answer(weights)?, Vec::new())
            };
            let loss = tasks.query_loss(answers.clone()) * importance;
            sum = Some(match sum {
                Some(sum) => sum + loss,
                None => loss,
            });
            let count = tasks.values_per_channel();
            for found in found {
                // Of each step in turn, norm by norm.
                let place = statistics.len() % self.running_means.len();
                let running = [&self.running_means[place], &self.running_variances[place]];
                let mean = mean_over_tasks(found, tasks.len());
                statistics.push(BatchStatistics::new(mean, count, running));
            }
            last = Some(answers);
        }
        let nothing = || Error::invalid("adapt", "no inner step");
        Ok(MetaLoss {
            loss: sum.ok_or_else(nothing)?,
            answers: last.ok_or_else(nothing)?,
            losses: adapted.losses,
            statistics,
        })
    }
}

/// The mean of all tasks' statistics, `[tasks * channels]` to `[channels]`.
fn mean_over_tasks(statistics: Statistics, tasks: usize) -> Statistics {
    let mean = |vector: Tensor<1>| {
        let [all] = vector.dims();
        let channels = all / tasks;
        let rows = vector.detach().reshape([tasks, channels]);
        rows.mean_dim(0).reshape([channels])
    };
    Statistics {
        mean: mean(statistics.mean),
        variance: mean(statistics.variance),
    }
}
