//! How a run of `forgeling train` ends: what is saved, and what is reported.

use std::path::Path;

use forgeling::nn::Network;
use forgeling::train::{
    MixedEpochs, SavedNetwork, Scored, SoftCrossEntropy, StopReason, TrainSummary, Trainer,
    Validation,
};
use forgeling::{Error, Result};

use super::train_watch::report_place;
use super::{saving, supervised};
use crate::args::Train;
use crate::output::Output;

/// Sees to it that what is learned can be saved.
pub fn try_places(args: &Train, values: u64) -> Result<()> {
    if let Some(out) = &args.out {
        saving::try_model(out, values)?;
    }
    if let Some(folder) = &args.report {
        saving::try_file(&report_place(folder))?;
    }
    if let Some(folder) = &args.checkpoint_dir {
        // The model, at most two moments, an average and the best so far. What is left of a trial that was killed is
        // removed with half-written checkpoints.
        let copies = 3 + u64::from(args.ema.is_some()) + u64::from(args.patience.is_some());
        saving::try_model(&folder.join("checkpoint-trial"), copies * values)?;
    }
    Ok(())
}

pub async fn save(model: &SavedNetwork, out: &Path) -> Result<()> {
    let bytes = model.to_bytes().await.map_err(|error| error.path(out))?;
    saving::save_model(out, &bytes)
}

/// The error that ended a run, and where the model is.
pub fn kept(problem: &Error, steps: usize, out: &Path) -> Error {
    let (message, out) = (problem.message(), out.display());
    let message = format!("{message}; the model after {steps} steps was saved to {out}");
    let error = Error::new(problem.kind(), problem.operation(), message);
    match problem.file() {
        Some(file) => error.path(file),
        None => error,
    }
}

/// How the model that is left behind does on what it is validated on.
pub async fn score(
    trainer: &Trainer,
    model: &Network,
    validation: &mut Option<MixedEpochs>,
) -> Result<Option<Scored>> {
    match validation {
        Some(source) => {
            let plain = SoftCrossEntropy::default();
            Ok(Some(trainer.score(model, &plain, source).await?))
        }
        None => Ok(None),
    }
}

/// For example `accuracy 90.9 %, balanced 50.0 %`; the latter where it is another.
pub fn accuracies(found: &Validation) -> String {
    let accuracy = found.accuracy.unwrap_or(0.0);
    let text = format!("accuracy {:.1} %", 100.0 * accuracy);
    match found.balanced_accuracy {
        Some(balanced) if (balanced - accuracy).abs() >= 5e-4 => {
            format!("{text}, balanced {:.1} %", 100.0 * balanced)
        }
        _ => text,
    }
}

/// Which model is left behind, and validated.
pub fn left_behind(args: &Train, summary: &TrainSummary) -> &'static str {
    // Before the first validation none is the best.
    let best = args.patience.is_some() && summary.validation.is_some();
    match (best, args.ema.is_some()) {
        (false, false) => "last",
        (false, true) => "average",
        (true, false) => "best",
        (true, true) => "best_average",
    }
}

/// Loss and accuracy of the last epoch that was gone through whole, otherwise of the last steps.
pub fn figures(summary: &TrainSummary) -> (f64, Option<f64>) {
    let steps = (summary.loss, summary.accuracy);
    let epoch = summary.last_epoch;
    epoch.map_or(steps, |epoch| (epoch.loss, epoch.accuracy))
}

pub fn tell_end(
    output: &Output,
    summary: &TrainSummary,
    validated: Option<(Validation, &str)>,
    peak: u64,
) {
    let percent = |accuracy: Option<f64>| 100.0 * accuracy.unwrap_or(0.0);
    let (loss, accuracy) = figures(summary);
    output.line(format_args!(
        "{} steps in {:.0} s ({:.0} images/s){}: {} loss {loss:.3}, accuracy {:.1} %{}; {} of memory at most.",
        summary.steps,
        summary.seconds,
        summary.examples_per_second,
        match summary.reason {
            StopReason::Asked => ", stopped",
            StopReason::Converged => ", no longer improving",
            _ => "",
        },
        match summary.last_epoch {
            Some(last) => format!("epoch {}", last.epoch),
            None => "last steps".into(),
        },
        percent(accuracy),
        validated.map_or(String::new(), |(found, model)| format!(
            "; validation{} loss {:.3}, {}",
            match model {
                "last" => String::new(),
                model => format!(" of the {} weights:", model.replace('_', " ")),
            },
            found.loss,
            accuracies(&found)
        )),
        supervised::readable(peak)
    ));
}
