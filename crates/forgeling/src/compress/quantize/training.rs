//! Training that sees the rounding.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::{LearnedScales, OPERATION};
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::nn::graph::Layer;
use crate::train::parts::Method;
use crate::train::{
    HardwareManager, Objective, Run, Source, TrainEvent, TrainSummary, Trainer, TrainerConfig,
};

/// How [`train_quantized`] trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuantizedTraining {
    /// The training. Default three epochs of Adam at 1e-4.
    pub training: TrainerConfig,
    /// The rate at which scales are trained; see [`LearnedScales`]. Default 0.001.
    pub scale_rate: f64,
    /// Epochs after which scales stay as they are, so that weights can settle on their steps. Default 2.
    pub learning_epochs: usize,
}

impl Default for QuantizedTraining {
    fn default() -> Self {
        Self {
            training: TrainerConfig {
                epochs: Some(3),
                schedule: crate::train::Schedule::Constant { rate: 1e-4 },
                ..Default::default()
            },
            scale_rate: 1e-3,
            learning_epochs: 2,
        }
    }
}

/// Trains a network in 8 bits, as [`quantize`](super::quantize) gives it, further: forward passes round weights and
/// activations, gradients go through as if they did not, and scales are trained, too. What is trained is what the network then
/// computes: nothing is converted afterwards. `method` takes part, such as a
/// [`Distillation`](crate::train::Distillation) from the network in f32.
///
/// # Errors
/// As [`Trainer::fit`]; when the network has no layer in 8 bits, or a number is out of range.
pub async fn train_quantized<O, S>(
    network: &mut Network,
    manager: HardwareManager,
    objective: &O,
    source: &mut S,
    method: Option<&mut dyn Method<Network, O::Batch>>,
    config: &QuantizedTraining,
    on_event: impl FnMut(&TrainEvent) -> ControlFlow<()>,
) -> Result<TrainSummary>
where
    O: Objective<Network>,
    S: Source<Batch = O::Batch>,
{
    let mut nodes = network.graph().nodes().iter();
    if !nodes.any(|node| matches!(node.layer, Layer::Quantize(_))) {
        return Err(Error::invalid(OPERATION, "no layer works in 8 bits")
            .expected("a network that was quantized"));
    }
    let mut scales = LearnedScales::new(config.scale_rate, config.learning_epochs)?;
    let mut trainer = Trainer::new(config.training.clone(), manager)?;
    let mut run = Run::on(source).with_method(&mut scales);
    if let Some(method) = method {
        run = run.with_method(method);
    }
    let mut trained = LearnedScales::tracked(network.clone(), true);
    let summary = trainer.fit(&mut trained, objective, run, on_event).await?;
    *network = LearnedScales::tracked(trained, false);
    Ok(summary)
}
