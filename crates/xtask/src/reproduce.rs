//! Published experiments, run with the released command and recorded in `tests/results/NAME.json`.
//!
//! A run can be stopped and started again: a model that was trained is not trained anew, and every figure
//! already measured is kept.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::workspace::Workspace;

/// What to reproduce.
#[derive(Args)]
pub struct Options {
    /// The experiment.
    #[arg(value_enum)]
    name: Experiment,
    /// Folder that holds images_background_small1.zip and images_background_small2.zip of Omniglot.
    #[arg(long, value_name = "DIR", env = "FORGELING_OMNIGLOT")]
    data: PathBuf,
    /// Minutes of training.
    #[arg(long, value_name = "M", default_value_t = 10.0)]
    minutes: f64,
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

/// An experiment.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Experiment {
    /// ProtoNet on Omniglot's minimal split: five alphabets, tested on the characters of five others.
    OmniglotMinimal,
}

impl Experiment {
    const fn name(self) -> &'static str {
        match self {
            Self::OmniglotMinimal => "omniglot-minimal",
        }
    }
}

/// A figure of the table: ways, shots, and the least that this library promises, as a fraction.
const FIGURES: [(usize, usize, f64); 3] = [(5, 1, 0.93), (5, 5, 0.98), (20, 1, 0.80)];

/// Trains, evaluates and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let name = options.name.name();
    let data = std::path::absolute(&options.data)
        .map_err(|cause| Failure::file("resolve", &options.data, &cause))?;
    // A run of another length is another experiment: nothing of it is kept for this one.
    let folder = format!("{name}-{}-minutes", options.minutes);
    let work = workspace.target().join("reproduce").join(folder);
    if options.restart && work.exists() {
        fs::remove_dir_all(&work).map_err(|cause| Failure::file("remove", &work, &cause))?;
    }
    fs::create_dir_all(&work).map_err(|cause| Failure::file("create", &work, &cause))?;
    let source = |file: &str| format!("omniglot:{}", data.join(file).display());
    let (small1, small2) = (
        source("images_background_small1.zip"),
        source("images_background_small2.zip"),
    );
    let model = work.join("model.safetensors");

    let commit = commit(workspace)?;
    let trained = kept(&work.join("train.json"), &commit, || {
        forgeling(workspace)
            .args([
                "fewshot",
                "train",
                "--json",
                "--device",
                "cpu",
                "--data",
                &small1,
                "--rotations",
                "--augment",
            ])
            .args([
                "--ways",
                "20",
                "--shots",
                "1",
                "--queries",
                "5",
                "--filters",
                "64",
            ])
            .args(["--halve-every", "2000"])
            .args(["--minutes", &options.minutes.to_string(), "--out"])
            .arg(&model)
    })?;
    let mut rows = Vec::new();
    for (ways, shots, promised) in FIGURES {
        let figure = format!("{ways}-way {shots}-shot");
        let file = work.join(format!("eval-{ways}-{shots}.json"));
        let result = kept(&file, &commit, || {
            forgeling(workspace)
                .args([
                    "fewshot", "eval", "--json", "--device", "cpu", "--data", &small2,
                ])
                .args(["--exclude", &small1, "--episodes", "600"])
                .args([
                    "--ways",
                    &ways.to_string(),
                    "--shots",
                    &shots.to_string(),
                    "--model",
                ])
                .arg(&model)
        })?;
        eprintln!(
            "{figure}: {} ± {} (promised {promised})",
            result["accuracy"], result["ci95"]
        );
        rows.push(json!({
            "figure": figure,
            "value": result["accuracy"],
            "ci95": result["ci95"],
            "seeds": 1,
            "published": null,
            "promised": promised,
            "transductive": result["transductive"],
            "source": "no published figure for this split of the minimal background sets",
        }));
    }
    let record = json!({
        "rows": rows,
        "command": format!("cargo xtask reproduce {name} --minutes {} --data DIR", options.minutes),
        "date": date::today(),
        "commit": trained["commit"],
        "version": trained["version"],
        "device": trained["device"],
        "seconds": trained["seconds"],
        "episodes": trained["episodes"],
    });
    let path = workspace
        .root()
        .join("tests/results")
        .join(format!("{name}.json"));
    write(&path, &format!("{record:#}\n"))?;
    eprintln!("recorded in {}", path.display());
    Ok(())
}

/// The command as users have it, built like the rest of the workspace.
fn forgeling(workspace: &Workspace) -> Step {
    Step::cargo().dir(workspace.root()).args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "forgeling-cli",
        "--",
    ])
}

/// The object kept in `file` by an earlier run, or else the one that the step prints, which is then kept with
/// the commit that made it.
fn kept(file: &Path, commit: &str, step: impl FnOnce() -> Step) -> Result<Value> {
    if let Ok(text) = fs::read_to_string(file)
        && let Ok(value) = serde_json::from_str(&text)
    {
        eprintln!("kept {}", file.display());
        return Ok(value);
    }
    let mut printed = String::new();
    step().lines(|line| printed.push_str(line))?;
    let mut value: Value = serde_json::from_str(&printed)
        .map_err(|cause| Failure::new(format!("the command printed no JSON object: {cause}")))?;
    // A stopped run saved what it had; it is not the experiment.
    if value["stopped"] == true {
        return Err(Failure::new(
            "training was stopped before its time; run the command again",
        ));
    }
    value["commit"] = commit.into();
    write(file, &value.to_string())?;
    Ok(value)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let partial = path.with_extension("partial");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&partial, text))
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|cause| Failure::file("write", path, &cause))
}

/// The commit that is checked out, marked where files differ from it.
fn commit(workspace: &Workspace) -> Result<String> {
    let mut commit = String::new();
    Step::new("git")
        .dir(workspace.root())
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .lines(|line| commit.push_str(line))?;
    Ok(commit)
}
