//! Published experiments, run as users run them and recorded in `tests/results/NAME.json`.
//!
//! An experiment can be stopped and started again: a model that was trained is not trained anew, and every figure
//! already measured is kept.

mod compression;
mod continual;
mod encoders;
mod mixed_precision;
mod omniglot;
mod omniglot_methods;
mod pathways;
mod photographs;
mod sine;
mod tinted;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::workspace::Workspace;

/// What to reproduce.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    experiment: Experiment,
}

/// An experiment.
#[derive(Subcommand)]
enum Experiment {
    /// ProtoNet on Omniglot's minimal split: five alphabets, tested on the characters of five others.
    OmniglotMinimal(omniglot::Options),
    /// All few-shot methods on that split, 10 minutes each, with MAML in PyTorch for comparison.
    OmniglotMethods(omniglot_methods::Options),
    /// Photographs of pen strokes and of objects, with the README's lines, beside simple models.
    Photographs(photographs::Options),
    /// A few photographs of each kind of thing: a pretrained encoder, frozen, beside a network trained on them from scratch.
    Encoders(encoders::Options),
    /// Networks of two pathways on MNIST and Fashion-MNIST, and such as are as large with one.
    Pathways(pathways::Options),
    /// A convolutional network and a ViT on Fashion-MNIST, in 16, 8 and 4 bits and with half of their channels or values.
    Compression(compression::Options),
    /// Sine regression: MAML against a network trained on all waves at once.
    Sine(sine::Options),
    /// ProtoNet on invented characters and a perceptron on MNIST, trained in f32, in f16, and in f32 with bf16 copies of
    /// activations.
    MixedPrecision(mixed_precision::Options),
    /// Split-MNIST in van de Ven's three settings: every strategy beside its published value.
    SplitMnist(continual::Options),
    /// Split-MNIST in Mammoth's protocol: one epoch, small batches, buffers of 200 and 500.
    MammothMnist(continual::Options),
    /// Ten permutations of MNIST's pixels: EWC and SI beside training without them and on all at once.
    PermutedMnist(continual::Options),
    /// Every cell of these three tables in a few steps on invented characters: whether all of it runs. Nothing is recorded.
    Miniatures,
}

/// Trains, evaluates and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    match &options.experiment {
        Experiment::OmniglotMinimal(options) => omniglot::run(workspace, options),
        Experiment::OmniglotMethods(options) => omniglot_methods::run(workspace, options),
        Experiment::Photographs(options) => photographs::run(workspace, options),
        Experiment::Encoders(options) => encoders::run(workspace, options),
        Experiment::Pathways(options) => pathways::run(workspace, options),
        Experiment::Compression(options) => compression::run(workspace, options),
        Experiment::Sine(options) => sine::run(workspace, options),
        Experiment::MixedPrecision(options) => mixed_precision::run(workspace, options),
        Experiment::SplitMnist(options) => {
            continual::run(workspace, options, continual::Which::Split)
        }
        Experiment::MammothMnist(options) => {
            continual::run(workspace, options, continual::Which::Mammoth)
        }
        Experiment::PermutedMnist(options) => {
            continual::run(workspace, options, continual::Which::Permuted)
        }
        Experiment::Miniatures => miniatures(workspace),
    }
}

/// Small ones of the experiments that have many cells, on data that needs no download.
pub fn miniatures(workspace: &Workspace) -> Result<()> {
    build_programs(workspace)?;
    continual::miniature(workspace)
}

/// Builds the programs of experiments, with the workspace's features: a package alone would build burn a second time.
fn build_programs(workspace: &Workspace) -> Result<()> {
    Step::cargo()
        .dir(workspace.root())
        .args(["build", "--release", "--workspace", "--exclude", "xtask"])
        .arg("--bins")
        .run()
}

/// Where one of them is.
fn program(workspace: &Workspace, name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    workspace.target().join("release").join(file)
}

/// The folder that keeps what an experiment has so far.
fn work_folder(workspace: &Workspace, name: &str, restart: bool) -> Result<PathBuf> {
    let work = workspace.target().join("reproduce").join(name);
    if restart && work.exists() {
        fs::remove_dir_all(&work).map_err(|cause| Failure::file("remove", &work, &cause))?;
    }
    fs::create_dir_all(&work).map_err(|cause| Failure::file("create", &work, &cause))?;
    Ok(work)
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
    write(file, value.to_string())?;
    Ok(value)
}

/// The rows of an experiment, with what the last of its commands says of itself.
fn described(name: &str, rows: &[Value], last: &Value) -> Value {
    json!({
        "rows": rows,
        "command": format!("cargo xtask reproduce {name}"),
        "date": date::today(),
        "commit": last["commit"],
        "version": last["version"],
        "device": last["device"],
    })
}

/// Writes `tests/results/NAME.json`.
fn record(workspace: &Workspace, name: &str, record: &Value) -> Result<()> {
    let folder = workspace.root().join("tests/results");
    let path = folder.join(format!("{name}.json"));
    write(&path, format!("{record:#}\n"))?;
    eprintln!("recorded in {}", path.display());
    Ok(())
}

fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let partial = path.with_extension("partial");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&partial, content))
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
