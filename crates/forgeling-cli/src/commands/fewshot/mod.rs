//! Few-shot learning: one file for each command.

mod classify;
mod eval;
mod train;

use forgeling::Result;
use forgeling::data::{Queries, Shots, Ways};
use forgeling::meta::Evaluation;

use crate::args::{Common, EpisodeArgs, Fewshot};
use crate::output::Output;

pub async fn run(command: &Fewshot, common: &Common, output: &Output) -> Result<()> {
    match command {
        Fewshot::Train(args) => train::run(args, common, output).await,
        Fewshot::Eval(args) => eval::run(args, common, output).await,
        Fewshot::Classify(args) => classify::run(args, common, output).await,
    }
}

fn episode(args: EpisodeArgs) -> Result<(Ways, Shots, Queries)> {
    Ok((
        Ways::new(args.ways)?,
        Shots::new(args.shots)?,
        Queries::new(args.queries)?,
    ))
}

/// For example `98.31 % ± 0.24 (600 episodes, running statistics)`.
pub(super) fn describe(evaluation: &Evaluation) -> String {
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
