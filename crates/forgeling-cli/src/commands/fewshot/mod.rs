//! Few-shot learning: one file for each command.

mod classify;
mod compare;
mod eval;
mod feature_cache;
mod learning;
pub(super) mod sections;
mod train;

use forgeling::data::tasks::EpisodeList;
use forgeling::data::{Dataset, Queries, Shots, Ways};
use forgeling::meta::{Evaluation, Learner, LearnerConfig};
use forgeling::{Error, Result};

use crate::args::{Common, EpisodeArgs, Fewshot};
use crate::output::{Output, TestProgress};

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
        ways(args.ways)?,
        Shots::new(args.shots)?,
        Queries::new(args.queries)?,
    ))
}

/// Classes of a task that can be got wrong.
fn ways(count: usize) -> Result<Ways> {
    let ways = Ways::new(count)?;
    if count == 1 {
        return Err(Error::invalid(
            "episode",
            "one class is no task: whatever is answered is right",
        )
        .expected("at least 2 classes")
        .got(count));
    }
    Ok(ways)
}

/// Answers the episodes of a list, with progress on standard error.
async fn evaluate(
    model: &Learner,
    data: &dyn Dataset,
    list: &EpisodeList,
    transductive: bool,
) -> Result<Evaluation> {
    let progress = TestProgress::new(list.episodes().len());
    let watch = |done| progress.update(done);
    let evaluation = model
        .evaluate_list_watched(data, list, transductive, watch)
        .await;
    progress.finish();
    evaluation
}

/// Below so many episodes, an interval of the normal distribution is too narrow.
const ENOUGH: usize = 30;

/// For example `98.31 % ± 0.24 (600 episodes, not transductive: running statistics)`.
pub(super) fn describe(evaluation: &Evaluation, config: &LearnerConfig) -> String {
    let statistics = match (evaluation.transductive, config.keeps_running_statistics()) {
        (true, _) => "transductive: the queries' own statistics",
        (false, true) => "not transductive: running statistics",
        (false, false) => "not transductive: the support's statistics",
    };
    format!(
        "{} ({} episodes{}, {statistics})",
        accuracy(evaluation.accuracy, evaluation.ci95),
        evaluation.episodes,
        if evaluation.episodes < ENOUGH {
            ", too few for a sure interval"
        } else {
            ""
        },
    )
}

/// For example `98.31 % ± 0.24`. Episodes that all come out alike have no interval, rather than one of no width.
fn accuracy(accuracy: f64, ci95: f64) -> String {
    let (accuracy, ci95) = (100.0 * accuracy, 100.0 * ci95);
    if ci95 >= 0.005 {
        format!("{accuracy:.2} % ± {ci95:.2}")
    } else if ci95 > 0.0 {
        format!("{accuracy:.2} %, ± less than 0.01")
    } else {
        format!("{accuracy:.2} %, the same in every episode")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_never_of_no_width() {
        let said = |ci95: f64| accuracy(0.98312, ci95);
        assert_eq!(said(0.0024), "98.31 % ± 0.24");
        assert_eq!(said(1e-6), "98.31 %, ± less than 0.01");
        assert_eq!(said(0.0), "98.31 %, the same in every episode");
    }
}
