//! One file for each command.

mod classify;
mod devices;
mod eval;
mod tour;
mod train;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use forgeling::data::{Queries, Shots, Ways};
use forgeling::meta::Evaluation;
use forgeling::{Device, Result};

use crate::args::{Command, Common, EpisodeArgs, Fewshot};
use crate::output::Output;

pub async fn run(command: Command, common: &Common, output: &Output) -> Result<()> {
    match command {
        Command::Tour(tour) => tour::run(&tour, common, output).await,
        Command::Devices => devices::run(common, output).await,
        Command::Fewshot(Fewshot::Train(train)) => train::run(&train, common, output).await,
        Command::Fewshot(Fewshot::Eval(eval)) => eval::run(&eval, common, output).await,
        Command::Fewshot(Fewshot::Classify(classify)) => {
            classify::run(&classify, common, output).await
        }
    }
}

/// Opens the device that was asked for and says why it is that one.
async fn open(common: &Common, output: &Output) -> Result<Device> {
    let device = Device::open(common.device).await?;
    output.line(format_args!("Device: {}", device.reason()));
    Ok(device)
}

fn episode(args: EpisodeArgs) -> Result<(Ways, Shots, Queries)> {
    Ok((
        Ways::new(args.ways)?,
        Shots::new(args.shots)?,
        Queries::new(args.queries)?,
    ))
}

/// For example `98.31 % ± 0.24 (600 episodes, running statistics)`.
fn describe(evaluation: &Evaluation) -> String {
    format!(
        "{:.2} % ± {:.2} ({} episodes, {})",
        100.0 * evaluation.accuracy,
        100.0 * evaluation.ci95,
        evaluation.episodes,
        if evaluation.transductive {
            "transductive batch statistics"
        } else {
            "running statistics"
        }
    )
}

/// Breaks a training loop after Ctrl-C, so that what was learned can be saved.
fn unless_interrupted() -> impl Fn() -> ControlFlow<()> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    // Fails only when a handler is there already, which then is ours.
    let _ = ctrlc::set_handler(|| {
        // A second Ctrl-C means it.
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    || {
        if INTERRUPTED.load(Ordering::SeqCst) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
