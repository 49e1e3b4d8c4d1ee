//! Pruning in steps, with fine-tuning between.

use std::ops::ControlFlow;

use burn::optim::{GradientsAccumulator, GradientsParams};
use serde::{Deserialize, Serialize};

use super::{Criterion, OPERATION, PruningConfig, PruningPlan};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Network, Normalization, Pass};
use crate::train::parts::Method;
use crate::train::{
    AnyOptimizer, HardwareManager, Objective, Run, Source, TrainEvent, TrainSummary, Trainer,
    TrainerConfig,
};

/// How [`prune_gradually`] prunes and trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradualConfig {
    /// What is removed in all.
    pub pruning: PruningConfig,
    /// In so many steps, 1 to 100. Default 4: a short budget does best with 3 to 5 steps and a high learning rate (Wang et al.,
    /// *Why is the State of Neural Network Pruning so Confusing?*, 2023, arXiv 2301.05219).
    pub steps: usize,
    /// The training after each step: limits and schedule begin anew with every step, what the optimizer keeps goes on.
    /// Default an epoch.
    pub training: TrainerConfig,
    /// Batches whose gradients the Taylor criterion sees, from the source. Default 8.
    pub gradient_batches: usize,
}

impl Default for GradualConfig {
    fn default() -> Self {
        Self {
            pruning: PruningConfig::default(),
            steps: 4,
            training: TrainerConfig {
                epochs: Some(1),
                ..Default::default()
            },
            gradient_batches: 8,
        }
    }
}

impl GradualConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        /// More than any schedule that leaves time to train.
        const MOST: usize = 100;
        self.pruning.validate()?;
        self.training.validate()?;
        for (name, count) in [
            ("steps", self.steps),
            ("gradient_batches", self.gradient_batches),
        ] {
            if !(1..=MOST).contains(&count) {
                return Err(Error::invalid(OPERATION, format!("{name} is out of range"))
                    .expected(format!("1 to {MOST}"))
                    .got(count));
            }
        }
        if !self.training.is_limited() {
            return Err(Error::invalid(OPERATION, "fine-tuning has no end")
                .expected("a limit of epochs, steps, examples or seconds"));
        }
        Ok(())
    }

    /// Which fraction is removed after each step: `fraction (1 - (1 - i / steps)^3)` for `i` from 1 on, most of it while the
    /// network can still make up for it. Zhu and Gupta, *To prune, or not to prune*, 2017 (arXiv 1710.01878).
    pub fn fractions(&self) -> Vec<f64> {
        let all = self.pruning.target.fraction();
        let left = |step: usize| (self.steps - step) as f64 / self.steps as f64;
        (1..=self.steps)
            .map(|step| all * (1.0 - left(step).powi(3)))
            .collect()
    }
}

/// A step of [`prune_gradually`].
#[derive(Debug, Clone, PartialEq)]
pub struct PruningStep {
    /// The fraction that was to be gone by then, of the network before the first step.
    pub fraction: f64,
    /// What went.
    pub plan: PruningPlan,
    /// The training that followed.
    pub training: TrainSummary,
}

/// What happens while [`prune_gradually`] works.
#[derive(Debug)]
pub enum PruningEvent<'a> {
    /// A step is about to be taken: which one, counted from 1, and what goes.
    Planned(usize, &'a PruningPlan),
    /// In the training after it.
    Training(&'a TrainEvent),
}

/// Removes a part of a network in steps, and trains what is left after each of them. Channels are compared anew at every step,
/// the target and the floors count from the network as it was given, and what the optimizer keeps goes on with the channels
/// that stay. `method` takes part in every training, such as a [`Distillation`](crate::train::Distillation) from the original.
/// `ControlFlow::Break` stops training, and with it all that would follow.
///
/// Pruning is no [part](crate::train::parts) of one run of the trainer, as a part that runs after a step cannot wait for the
/// device to tell scores, and what a run keeps beside the model (averages, the best model so far, replicas on other devices,
/// checkpoints) is of the shapes that the model had at first. So each step is a run of its own.
///
/// # Errors
/// As [`PruningPlan::of`] and [`Trainer::fit`]. The network is then the one of the last step that was taken, whole.
pub async fn prune_gradually<O, S>(
    network: &mut Network,
    manager: HardwareManager,
    objective: &O,
    source: &mut S,
    mut method: Option<&mut dyn Method<Network, O::Batch>>,
    config: &GradualConfig,
    mut on_event: impl FnMut(&PruningEvent<'_>) -> ControlFlow<()>,
) -> Result<Vec<PruningStep>>
where
    O: Objective<Network>,
    S: Source<Batch = O::Batch>,
{
    config.validate()?;
    let original = network.graph().clone();
    let mut optimizer = AnyOptimizer::new(config.training.optimizer)?;
    let mut manager = manager;
    let mut steps = Vec::with_capacity(config.steps);
    for (index, fraction) in config.fractions().into_iter().enumerate() {
        let pruning = PruningConfig {
            target: config.pruning.target.with_fraction(fraction),
            ..config.pruning.clone()
        };
        let gradients = match pruning.criterion {
            Criterion::Taylor => {
                let count = config.gradient_batches;
                let device = manager.device();
                Some(source_gradients(network, objective, source, count, device).await?)
            }
            _ => None,
        };
        let plan = PruningPlan::since(&original, network, &pruning, gradients.as_ref()).await?;
        drop(gradients);
        if on_event(&PruningEvent::Planned(index + 1, &plan)).is_break() {
            break;
        }
        *network = plan.apply_training(network, &mut optimizer)?;
        let mut trainer = Trainer::going_on(config.training.clone(), manager, optimizer)?;
        let mut run = Run::on(source);
        if let Some(method) = &mut method {
            run = run.with_method(&mut **method);
        }
        let mut stopped = false;
        let tell = |event: &TrainEvent| {
            let told = on_event(&PruningEvent::Training(event));
            stopped |= told.is_break();
            told
        };
        let training = trainer.fit(network, objective, run, tell).await?;
        steps.push(PruningStep {
            fraction,
            plan,
            training,
        });
        if stopped {
            break;
        }
        (manager, optimizer) = trainer.into_parts();
    }
    Ok(steps)
}

/// As [`loss_gradients`], of the next batches of a source, which is then where it was.
///
/// # Errors
/// As there, and when the data cannot be read.
pub async fn source_gradients<O, S>(
    network: &Network,
    objective: &O,
    source: &mut S,
    count: usize,
    device: &Device,
) -> Result<GradientsParams>
where
    O: Objective<Network>,
    S: Source<Batch = O::Batch>,
{
    let batches = upcoming_batches(source, count).await?;
    loss_gradients(network, objective, &batches, device)
}

/// The next batches of a source, which is then where it was: so many, or fewer where the source has none.
///
/// # Errors
/// When the data cannot be read.
pub async fn upcoming_batches<S: Source>(source: &mut S, count: usize) -> Result<Vec<S::Batch>> {
    let state = source.state();
    let (mut batches, mut ends) = (Vec::with_capacity(count), 0);
    // An epoch may end before there are so many, and one without a batch has none.
    while batches.len() < count && ends < 2 {
        match source.next().await? {
            Some(batch) => {
                batches.push(batch);
                ends = 0;
            }
            None => ends += 1,
        }
    }
    source.resume(&state)?;
    Ok(batches)
}

/// The sum over batches of the gradients of the mean loss, in f32 and with running statistics, which stay as they are: what
/// [`Criterion::Taylor`] needs.
///
/// # Errors
/// When there is no batch, when one does not fit the network, and when the network is not trained.
pub fn loss_gradients<O: Objective<Network>>(
    network: &Network,
    objective: &O,
    batches: &[O::Batch],
    device: &Device,
) -> Result<GradientsParams> {
    let mut sum = GradientsAccumulator::new();
    for batch in batches {
        let mut pass = Pass::new(Normalization::Running, &device.autodiff());
        let outcome = objective.forward(network, batch, &mut pass)?;
        sum.accumulate(network, pass.backward(outcome.loss, network)?);
    }
    match batches.is_empty() {
        true => Err(Error::invalid(OPERATION, "no batch to take gradients of")),
        false => Ok(sum.grads()),
    }
}
