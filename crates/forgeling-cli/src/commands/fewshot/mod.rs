//! Few-shot learning: one file for each command.

mod classify;
mod compare;
mod eval;
mod learning;
mod sections;
mod train;

use forgeling::Result;
use forgeling::data::{Queries, Shots, Ways};
use forgeling::meta::{Evaluation, LearnerConfig};

use crate::args::{Common, EpisodeArgs, Fewshot};
use crate::output::Output;

pub async fn run(command: &Fewshot, common: &Common, output: &Output) -> Result<()> {
    match command {
        Fewshot::Train(args) => train::run(args, common, output).await,
        Fewshot::Compare(args) => compare::run(args, common, output).await,
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

/// For example `98.31 % ± 0.24 (600 episodes, not transductive: running statistics)`.
pub(super) fn describe(evaluation: &Evaluation, config: &LearnerConfig) -> String {
    let statistics = match (evaluation.transductive, config.keeps_running_statistics()) {
        (true, _) => "transductive: the queries' own statistics",
        (false, true) => "not transductive: running statistics",
        (false, false) => "not transductive: the support's statistics",
    };
    format!(
        "{:.2} % ± {:.2} ({} episodes, {statistics})",
        100.0 * evaluation.accuracy,
        100.0 * evaluation.ci95,
        evaluation.episodes,
    )
}
