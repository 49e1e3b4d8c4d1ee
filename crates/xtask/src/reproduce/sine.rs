//! Sine regression with MAML, after the paper.

use clap::Args;
use serde_json::{Value, json};

use super::{build_programs, commit, kept, program, record, work_folder};
use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::workspace::Workspace;

const NAME: &str = "sine";

/// For how long.
#[derive(Args)]
pub struct Options {
    /// Optimizer steps of each of the two networks; the paper has 70000.
    #[arg(long, value_name = "N", default_value_t = 70_000)]
    steps: usize,
    /// Runs with other weights and waves.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

/// The most that MAML's error may be of the pretrained network's.
const PROMISED: f64 = 0.2;

/// Trains, evaluates and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    build_programs(workspace)?;
    let commit = commit(workspace)?;
    let folder = format!("{NAME}-{}", options.steps);
    let work = work_folder(workspace, &folder, options.restart)?;
    let program = program(workspace, "forgeling-sine");
    let mut runs = Vec::new();
    for seed in 0..options.seeds {
        let file = work.join(format!("{seed}.json"));
        let report = work.join(format!("report-{seed}.html"));
        runs.push(kept(&file, &commit, || {
            Step::new(&program)
                .args([options.steps.to_string(), seed.to_string()])
                .arg(&report)
        })?);
        eprintln!("report: {}", report.display());
    }
    let last = |run: &Value, who: &str| {
        let values = run[who].as_array().and_then(|values| values.last());
        let value = values.and_then(Value::as_f64);
        value.ok_or_else(|| Failure::new(format!("a run has no errors of {who}")))
    };
    let of = |who: &str| -> Result<Vec<f64>> { runs.iter().map(|run| last(run, who)).collect() };
    let (maml, pretrained) = (of("maml")?, of("pretrained")?);
    let ratios: Vec<f64> = maml.iter().zip(&pretrained).map(|(a, b)| a / b).collect();
    let row = |figure: &str, values: &[f64], promised: Value| {
        json!({
            "figure": figure,
            "value": values.iter().sum::<f64>() / values.len() as f64,
            "values": values,
            "seeds": values.len(),
            "published": null,
            "promised": promised,
            "source": "Finn et al. 2017 (arXiv 1703.03400), section 5.1, whose figure shows no numbers",
        })
    };
    let rows = [
        row(
            "mean squared error of MAML after 10 steps",
            &maml,
            Value::Null,
        ),
        row(
            "mean squared error of the pretrained network after 10 steps",
            &pretrained,
            Value::Null,
        ),
        row(
            "MAML's error over the pretrained network's",
            &ratios,
            PROMISED.into(),
        ),
    ];
    let result = json!({
        "rows": rows,
        "errors": runs.iter().map(|run| json!({ "maml": run["maml"], "pretrained": run["pretrained"] })).collect::<Vec<_>>(),
        "command": format!("cargo xtask reproduce {NAME} --steps {} --seeds {}", options.steps, options.seeds),
        "date": date::today(),
        "commit": commit,
        "version": runs[0]["version"],
        "device": runs[0]["device"],
        "seconds": runs.iter().filter_map(|run| run["seconds"].as_f64()).sum::<f64>(),
    });
    record(workspace, NAME, &result)
}
