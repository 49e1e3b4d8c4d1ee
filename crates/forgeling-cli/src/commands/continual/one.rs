//! One run, which is gone on with where it was stopped, and not repeated.

use std::fs;
use std::path::{Path, PathBuf};

use forgeling::continual::{Accuracies, Ended, Experiment, Outcome, RunEvent, StrategyName};
use forgeling::train::model_file::write_atomically;
use forgeling::train::{Checkpoints as _, HardwareConfig, HardwareManager, TrainEvent};
use forgeling::{Device, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::same_run::{ANEW, SameRun, check_identity};
use super::super::{saving, unless_interrupted};
use crate::output::{Output, RunProgress};

const OPERATION: &str = "continual";
const OUTCOME: &str = "outcome.json";

/// A run of a strategy with a seed.
pub struct One {
    pub strategy: StrategyName,
    pub seed: u64,
    pub experiment: Experiment,
    /// Everything that decides the result, by name.
    pub identity: Map<String, Value>,
    /// Of checkpoints and outcome.
    pub folder: PathBuf,
}

/// A run that came to its end.
#[derive(Debug, Clone)]
pub struct Done {
    pub seed: u64,
    pub outcome: Outcome,
}

/// What is kept of a run.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of the program that made it.
    version: String,
    run: Value,
    outcome: Outcome,
}

/// The folder of a run.
pub fn folder(out: &Path, strategy: StrategyName, seed: u64) -> PathBuf {
    out.join(format!("{strategy}-seed{seed}"))
}

/// Moves folders that are there to a new one in `out`, `old-1` or the next number that is free, and gives that.
pub fn set_aside<'a>(
    out: &Path,
    folders: impl Iterator<Item = &'a Path>,
) -> Result<Option<PathBuf>> {
    let mut aside = None;
    for folder in folders.filter(|folder| folder.exists()) {
        let to = match &aside {
            Some(aside) => aside,
            None => aside.insert(free_folder(out)?),
        };
        let name = folder.file_name().unwrap_or_default();
        let moved = fs::rename(folder, to.join(name));
        moved.map_err(|error| Error::io(OPERATION, folder, &error))?;
    }
    Ok(aside)
}

fn free_folder(out: &Path) -> Result<PathBuf> {
    let mut number = 1;
    loop {
        let folder = out.join(format!("old-{number}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(Error::io(OPERATION, &folder, &error)),
        }
    }
}

impl One {
    /// Batches from the stream.
    pub fn batches(&self) -> Result<usize> {
        Ok(self
            .experiment
            .stream()?
            .ends()
            .last()
            .copied()
            .unwrap_or(0))
    }

    fn outcome(&self) -> PathBuf {
        self.folder.join(OUTCOME)
    }

    /// Whether what the run writes can be written, and whether what is there is of it.
    pub fn check(&self) -> Result<()> {
        if self.kept()?.is_none() {
            // The model, two moments, and as much again for what the strategy keeps.
            let values = self.experiment.graph().counts().all();
            saving::try_file(&self.outcome())?;
            saving::try_model(&self.folder.join("checkpoint-trial"), 6 * values)?;
            self.checkpoints()?.latest()?;
        }
        Ok(())
    }

    fn checkpoints(&self) -> Result<SameRun> {
        SameRun::open(&self.folder, Value::Object(self.identity.clone()))
    }

    /// What this very run came to, if it was finished before.
    fn kept(&self) -> Result<Option<Outcome>> {
        let path = self.outcome();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(OPERATION, &path, &error)),
        };
        let kept: Kept = serde_json::from_str(&text).map_err(|error| {
            let message = format!("the outcome cannot be read: {error}; {ANEW}");
            Error::bad_data(OPERATION, message).path(&path)
        })?;
        check_identity("outcome is", &path, Some(&kept.run), &self.identity)?;
        Ok(Some(kept.outcome))
    }

    /// Takes the run to its end, unless that was done before. Ctrl-C stops after the step.
    pub async fn run(
        &self,
        device: &Device,
        hardware: &HardwareConfig,
        output: &Output,
    ) -> Result<Done> {
        let (strategy, seed) = (self.strategy, self.seed);
        let outcome = match self.kept()? {
            Some(outcome) => {
                output.line(format_args!(
                    "{strategy}, seed {seed}: done before, {}",
                    said(&outcome.accuracies)
                ));
                outcome
            }
            None => {
                let outcome = self.train(device, hardware, output).await?;
                let kept = Kept {
                    version: env!("CARGO_PKG_VERSION").into(),
                    run: Value::Object(self.identity.clone()),
                    outcome,
                };
                write_atomically(&self.outcome(), json!(kept).to_string().as_bytes())?;
                output.line(format_args!(
                    "{strategy}, seed {seed}: {}, in {:.0} s",
                    said(&kept.outcome.accuracies),
                    kept.outcome.seconds
                ));
                kept.outcome
            }
        };
        // A process that was killed may have left them.
        self.checkpoints()?.clear()?;
        Ok(Done { seed, outcome })
    }

    async fn train(
        &self,
        device: &Device,
        hardware: &HardwareConfig,
        output: &Output,
    ) -> Result<Outcome> {
        let (strategy, seed) = (self.strategy, self.seed);
        let manager = HardwareManager::on(device.clone(), hardware.clone())?;
        let mut checkpoints = self.checkpoints()?;
        let progress = RunProgress::new(self.batches()?, &strategy.to_string(), seed);
        // What steps of its own are far from the stream's is shown beside these.
        let single_pass = matches!(
            strategy,
            StrategyName::Gdumb | StrategyName::Slda | StrategyName::Rff | StrategyName::Ncm
        );
        let interrupted = unless_interrupted();
        let line = |text: std::fmt::Arguments<'_>| progress.aside(|| output.line(text));
        let ended = self.experiment.run(manager, Some(&mut checkpoints), |event| {
            match event {
                RunEvent::Training(TrainEvent::Step(step)) if single_pass => progress.beside(step),
                RunEvent::Training(TrainEvent::Step(step)) => progress.step(step),
                RunEvent::Learned { batches, .. } => progress.batch(batches),
                RunEvent::Training(TrainEvent::Resumed { step, damaged, .. }) => {
                    for problem in damaged {
                        line(format_args!("Not used: {problem}"));
                    }
                    line(format_args!("Going on after step {step}."));
                }
                RunEvent::Training(TrainEvent::Skipped { step, loss_scale }) => line(format_args!(
                    "Step {step} was skipped: a gradient was not finite; losses are scaled with {loss_scale} now."
                )),
                _ => {}
            }
            interrupted()
        });
        let ended = ended.await;
        progress.finish();
        match ended? {
            Ended::Finished(outcome) => Ok(*outcome),
            Ended::Asked(steps) => Err(Error::new(
                ErrorKind::Cancelled,
                OPERATION,
                format!(
                    "{strategy}, seed {seed}, was stopped after {steps} steps and saved; the same command goes on"
                ),
            )),
        }
    }
}

/// For example `accuracy 91.2 %`.
fn said(accuracies: &Accuracies) -> String {
    let chance = match accuracies.at_chance {
        true => ", at chance",
        false => "",
    };
    format!("accuracy {:.2} %{chance}", 100.0 * accuracies.average)
}
