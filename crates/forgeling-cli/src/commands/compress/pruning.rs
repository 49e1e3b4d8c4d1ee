//! Channels that go.

use std::ops::ControlFlow;

use forgeling::compress::{
    Criterion, GradualConfig, PruningEvent, PruningPlan, PruningStep, prune_gradually,
    source_gradients,
};
use forgeling::nn::Network;
use forgeling::train::parts::Method;
use forgeling::train::{
    CrossEntropy, Distillation, Epochs, HardwareManager, SavedNetwork, TrainEvent,
};
use forgeling::{Device, Result};

use crate::args::Compress;
use crate::commands::unless_interrupted;
use crate::output::Output;

/// What goes if all of it goes at once.
pub async fn first_plan(
    network: &Network,
    config: &GradualConfig,
    source: &mut Epochs,
    device: &Device,
) -> Result<PruningPlan> {
    let gradients = match config.pruning.criterion {
        Criterion::Taylor => {
            let count = config.gradient_batches;
            Some(source_gradients(network, &CrossEntropy, source, count, device).await?)
        }
        _ => None,
    };
    PruningPlan::of(network, &config.pruning, gradients.as_ref()).await
}

/// Removes and trains in turns.
pub async fn in_steps(
    args: &Compress,
    saved: &SavedNetwork,
    manager: HardwareManager,
    source: &mut Epochs,
    config: &GradualConfig,
    teacher: Option<&mut Distillation>,
    output: &Output,
) -> Result<(Network, Vec<PruningStep>)> {
    let method = teacher.map(|teacher| teacher as &mut dyn Method<_, _>);
    let interrupted = unless_interrupted();
    let mut network = saved.network.clone();
    let tell = |event: &PruningEvent<'_>| -> ControlFlow<()> {
        match event {
            PruningEvent::Planned(step, plan) => output.line(format_args!(
                "Step {step} of {}: {} of {} channels stay, {} trained values",
                args.steps, plan.after.channels, plan.before.channels, plan.after.values
            )),
            PruningEvent::Training(TrainEvent::Epoch {
                epoch,
                loss,
                accuracy,
                ..
            }) => output.line(format_args!(
                "  epoch {epoch}: loss {loss:.3}, accuracy {:.1} %",
                100.0 * accuracy.unwrap_or(0.0)
            )),
            PruningEvent::Training(_) => {}
        }
        interrupted()
    };
    let steps = prune_gradually(
        &mut network,
        manager,
        &CrossEntropy,
        source,
        method,
        config,
        tell,
    )
    .await?;
    if steps.len() < args.steps {
        output.line(format_args!(
            "Stopped after step {} of {}.",
            steps.len(),
            args.steps
        ));
    }
    Ok((network, steps))
}
