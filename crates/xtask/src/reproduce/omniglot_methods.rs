//! All few-shot methods on Omniglot's minimal split, with the released command, and MAML in PyTorch beside them.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::omniglot::forgeling;
use super::{commit, kept, record, work_folder};
use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::toolchain::python;
use crate::workspace::Workspace;

const NAME: &str = "omniglot-methods";

/// With what, and for how long.
#[derive(Args)]
pub struct Options {
    /// Folder that holds images_background_small1.zip and images_background_small2.zip of Omniglot.
    #[arg(long, value_name = "DIR", env = "FORGELING_OMNIGLOT")]
    data: PathBuf,
    /// Minutes of training of each method.
    #[arg(long, value_name = "M", default_value_t = 10.0)]
    minutes: f64,
    /// Methods with commas between.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = METHODS)]
    methods: Vec<String>,
    /// Leave out the reference in PyTorch, which has to be installed.
    #[arg(long)]
    no_peers: bool,
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

const METHODS: &str = "protonet,matching,relation,r2d2,simpleshot,maml,fomaml,anil,reptile,metasgd,mamlpp,imaml,fobmaml";

/// What MAML is compared with: the same network, tasks, inner steps and rates on both sides.
const INNER_STEPS: &str = "3";
const INNER_RATE: &str = "0.1";
const OUTER_RATE: &str = "0.001";
const META_BATCH: &str = "16";
const QUERIES: &str = "5";
/// Methods that compare train as in `omniglot-minimal`.
const TRAIN_WAYS: &str = "20";
/// But for this one, whose pairs of class and query would be too many for more than a few steps.
const FEW_WAYS: &str = "relation";

/// Trains, evaluates and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let data = std::path::absolute(&options.data)
        .map_err(|cause| Failure::file("resolve", &options.data, &cause))?;
    let folder = format!("{NAME}-{}-minutes", options.minutes);
    let work = work_folder(workspace, &folder, options.restart)?;
    let commit = commit(workspace)?;
    let mut rows = Vec::new();
    let mut example = Value::Null;
    for method in &options.methods {
        let file = work.join(format!("{method}.json"));
        let found = kept(&file, &commit, || {
            let out = work.join("models");
            let ways: &[&str] = match method.as_str() {
                FEW_WAYS => &[],
                _ => &["--train-ways", TRAIN_WAYS],
            };
            compare(workspace, &data, &out, options, method)
                .arg("--augment")
                .args(ways)
        })?;
        rows.extend(
            found["rows"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|row| figure(row, &found)),
        );
        example = found;
    }
    // As the reference has it: 32 filters, no random maps of images, the queries' own statistics in training.
    let same = work.join("maml-as-reference.json");
    let ours = kept(&same, &commit, || {
        compare(workspace, &data, &work.join("reference"), options, "maml").args([
            "--filters",
            "32",
            "--transductive",
            "--batch-episodes",
            META_BATCH,
            "--inner-steps",
            INNER_STEPS,
            "--inner-rate",
            INNER_RATE,
            "--learning-rate",
            OUTER_RATE,
            "--halve-every",
            "1000000",
        ])
    })?;
    rows.extend(ours["rows"].as_array().into_iter().flatten().map(|row| {
        let mut row = figure(row, &ours);
        row["figure"] = format!("{} with the reference's settings", text(&row["figure"])).into();
        row
    }));
    if !options.no_peers {
        rows.extend(reference(workspace, &data, &work, &commit, options)?);
    }
    let result = json!({
        "rows": rows,
        "command": format!("cargo xtask reproduce {NAME} --minutes {} --data DIR", options.minutes),
        "date": date::today(),
        "commit": commit,
        "version": example["version"],
        "device": example["device"],
        "seconds": rows.iter().filter_map(|row| row["seconds"].as_f64()).sum::<f64>(),
    });
    record(workspace, NAME, &result)?;
    print!("{}", table(&rows));
    Ok(())
}

/// The rows as Markdown, the most accurate first.
fn table(rows: &[Value]) -> String {
    let mut rows: Vec<&Value> = rows.iter().collect();
    let accuracy = |row: &Value| row["value"].as_f64().unwrap_or_default();
    rows.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
    let mut table = "| | accuracy, % | episodes |\n|---|--:|--:|\n".to_owned();
    for row in rows {
        let half_width = row["ci95"].as_f64().unwrap_or_default();
        table += &format!(
            "| {} | {:.1} ± {:.1} | {} |\n",
            text(&row["figure"]),
            100.0 * accuracy(row),
            100.0 * half_width,
            row["episodes"]
        );
    }
    table
}

fn compare(
    workspace: &Workspace,
    data: &Path,
    out: &Path,
    options: &Options,
    method: &str,
) -> Step {
    let source = |file: &str| format!("omniglot:{}", data.join(file).display());
    forgeling(workspace)
        .args(["fewshot", "compare", "--json", "--device", "cpu"])
        .args(["--methods", method])
        .args(["--data", &source("images_background_small1.zip")])
        .args(["--test-data", &source("images_background_small2.zip")])
        .args(["--rotations", "--shots", "1", "--test-episodes", "600"])
        .args(["--queries", QUERIES, "--test-queries", "15"])
        .args(["--minutes", &options.minutes.to_string(), "--out"])
        .arg(out)
}

/// A row of the table.
fn figure(row: &Value, found: &Value) -> Value {
    let transductive = if row["transductive"] == true {
        ", transductive"
    } else {
        ""
    };
    eprintln!(
        "{}{transductive}: {} ± {}",
        text(&row["method"]),
        row["accuracy"],
        row["ci95"]
    );
    json!({
        "figure": format!("5-way 1-shot, {}{transductive}", text(&row["method"])),
        "value": row["accuracy"],
        "ci95": row["ci95"],
        "seeds": 1,
        "transductive": row["transductive"],
        "episodes": row["episodes"],
        "steps": row["steps"],
        "seconds": row["seconds"],
        "commit": found["commit"],
        "published": null,
        "source": "no published figure for this split of the minimal background sets",
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// MAML in PyTorch, of the same budget on the same machine.
fn reference(
    workspace: &Workspace,
    data: &Path,
    work: &Path,
    commit: &str,
    options: &Options,
) -> Result<Vec<Value>> {
    let python = python::ensure(workspace)?;
    let script = workspace.root().join("tests/peers/torch_maml.py");
    let printed = work.join("torch.json");
    let found = kept(&work.join("torch-maml.json"), commit, || {
        Step::new(&python)
            .arg(&script)
            .arg(data)
            .args([
                "--minutes",
                &options.minutes.to_string(),
                "--train-queries",
                QUERIES,
            ])
            .args(["--meta-batch", META_BATCH, "--inner-steps", INNER_STEPS])
            .args(["--inner-rate", INNER_RATE, "--outer-rate", OUTER_RATE])
            .args(["--normalization", "queries", "--json"])
            .arg(&printed)
    })?;
    let evaluations = found["evaluations"].as_array().into_iter().flatten();
    let row = |evaluation: &Value| {
        let transductive = if evaluation["transductive"] == true {
            ", transductive"
        } else {
            ""
        };
        json!({
            "figure": format!("5-way 1-shot, MAML in PyTorch, task by task{transductive}"),
            "value": evaluation["accuracy"],
            "ci95": evaluation["ci95"],
            "seeds": 1,
            "transductive": evaluation["transductive"],
            "episodes": found["tasks"],
            "steps": found["steps"],
            "seconds": found["seconds"],
            "published": null,
            "source": "tests/peers/torch_maml.py",
        })
    };
    Ok(evaluations.map(row).collect())
}
