//! ProtoNet on Omniglot's minimal split, with the released command.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{commit, kept, record, work_folder};
use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::workspace::Workspace;

const NAME: &str = "omniglot-minimal";

/// With what, and for how long.
#[derive(Args)]
pub struct Options {
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

/// A figure of the table: ways, shots, and the least that this library promises, as a fraction.
const FIGURES: [(usize, usize, f64); 3] = [(5, 1, 0.93), (5, 5, 0.98), (20, 1, 0.80)];

/// Trains, evaluates and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let data = std::path::absolute(&options.data)
        .map_err(|cause| Failure::file("resolve", &options.data, &cause))?;
    // A run of another length is another experiment: nothing of it is kept for this one.
    let folder = format!("{NAME}-{}-minutes", options.minutes);
    let work = work_folder(workspace, &folder, options.restart)?;
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
    let result = json!({
        "rows": rows,
        "command": format!("cargo xtask reproduce {NAME} --minutes {} --data DIR", options.minutes),
        "date": date::today(),
        "commit": trained["commit"],
        "version": trained["version"],
        "device": trained["device"],
        "seconds": trained["seconds"],
        "episodes": trained["episodes"],
    });
    record(workspace, NAME, &result)
}

/// The command as users have it, built like the rest of the workspace.
pub(super) fn forgeling(workspace: &Workspace) -> Step {
    Step::cargo().dir(workspace.root()).args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "forgeling-cli",
        "--",
    ])
}
