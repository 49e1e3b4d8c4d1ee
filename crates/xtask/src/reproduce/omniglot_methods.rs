//! All few-shot methods on Omniglot's minimal split, with the released command, and MAML in PyTorch beside them.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::omniglot::forgeling;
use super::{commit, kept, record, work_folder};
use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::toolchain::python::PYTORCH;
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
/// Trained as in its paper it keeps running statistics, and is another model for queries that come one by one.
const RUNNING: (&str, &str, &[&str]) = (
    "mamlpp",
    "mamlpp trained transductively",
    &["--transductive"],
);
/// 32 filters, no random maps of images, and in training the queries' own statistics.
const AS_REFERENCE: [&str; 14] = [
    "--no-augment",
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
];

/// Trains, evaluates and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let data = std::path::absolute(&options.data)
        .map_err(|cause| Failure::file("resolve", &options.data, &cause))?;
    let folder = format!("{NAME}-{}-minutes", options.minutes);
    let work = work_folder(workspace, &folder, options.restart)?;
    let commit = commit(workspace)?;
    let minutes = Budget::Minutes(options.minutes);
    let mut rows = Vec::new();
    let mut example = Value::Null;
    let ours = options
        .methods
        .iter()
        .map(|method| (&method[..], &method[..], &[][..]));
    let as_published = options
        .methods
        .iter()
        .any(|method| method == RUNNING.0)
        .then_some(RUNNING);
    for (method, name, more) in ours.chain(as_published) {
        let file = work.join(format!("{}.json", name.replace(' ', "-")));
        let found = kept(&file, &commit, || {
            let out = work.join("models");
            let ways: &[&str] = match method {
                FEW_WAYS => &[],
                _ => &["--train-ways", TRAIN_WAYS],
            };
            compare(workspace, &data, &out, method, minutes)
                .arg("--augment")
                .args(ways)
                .args(more)
        })?;
        rows.extend(figures(name, &found));
        example = found;
    }
    let mut as_reference = |name: &str, said: &str, budget| -> Result<()> {
        let found = kept(&work.join(format!("{name}.json")), &commit, || {
            compare(workspace, &data, &work.join(name), "maml", budget).args(AS_REFERENCE)
        })?;
        rows.extend(figures(said, &found));
        Ok(())
    };
    let said = "maml, the reference's settings";
    as_reference("maml-as-reference", said, minutes)?;
    if !options.no_peers {
        let peer = reference(workspace, &data, &work, &commit, options)?;
        if let Some(tasks) = peer["tasks"].as_u64() {
            let said = format!("{said} and number of episodes");
            as_reference("maml-as-many", &said, Budget::Episodes(tasks))?;
        }
        rows.extend(peer_figures(&peer));
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

/// How long a method trains.
#[derive(Clone, Copy)]
enum Budget {
    Minutes(f64),
    Episodes(u64),
}

/// The rows as Markdown, a method a line, the most accurate first. Every method is tested query by query, and those that
/// adapt also transductively.
fn table(rows: &[Value]) -> String {
    let accuracy = |row: &Value| row["value"].as_f64().unwrap_or_default();
    let percent = |row: &Value| {
        let half_width = row["ci95"].as_f64().unwrap_or_default();
        format!("{:.1} ± {:.1}", 100.0 * accuracy(row), 100.0 * half_width)
    };
    let (together, mut alone): (Vec<&Value>, Vec<&Value>) =
        rows.iter().partition(|row| row["transductive"] == true);
    alone.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
    let mut table =
        "| | accuracy, % | transductive, % | training episodes |\n|---|--:|--:|--:|\n".to_owned();
    for row in alone {
        let both = together
            .iter()
            .find(|other| other["method"] == row["method"]);
        table += &format!(
            "| {} | {} | {} | {} |\n",
            text(&row["method"]),
            percent(row),
            both.map_or_else(String::new, |both| percent(both)),
            row["episodes"]
        );
    }
    table
}

fn compare(workspace: &Workspace, data: &Path, out: &Path, method: &str, budget: Budget) -> Step {
    let source = |file: &str| format!("omniglot:{}", data.join(file).display());
    let (unit, amount) = match budget {
        Budget::Minutes(minutes) => ("--minutes", minutes.to_string()),
        Budget::Episodes(episodes) => ("--episodes", episodes.to_string()),
    };
    forgeling(workspace)
        .args(["fewshot", "compare", "--json", "--device", "cpu"])
        .args(["--methods", method])
        .args(["--data", &source("images_background_small1.zip")])
        .args(["--test-data", &source("images_background_small2.zip")])
        .args(["--rotations", "--shots", "1", "--test-episodes", "600"])
        .args(["--queries", QUERIES, "--test-queries", "15"])
        .args([unit, &amount, "--out"])
        .arg(out)
}

/// MAML in PyTorch, of the same budget on the same machine.
fn reference(
    workspace: &Workspace,
    data: &Path,
    work: &Path,
    commit: &str,
    options: &Options,
) -> Result<Value> {
    let python = PYTORCH.ensure(workspace)?;
    let script = workspace.root().join("tests/peers/torch_maml.py");
    let printed = work.join("torch.json");
    kept(&work.join("torch-maml.json"), commit, || {
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
    })
}

/// The rows of one of our runs, which is called `method`.
fn figures(method: &str, found: &Value) -> Vec<Value> {
    const SOURCE: &str = "no published figure for this split of the minimal background sets";
    let rows = found["rows"].as_array().into_iter().flatten();
    let figure = |row| figure(method, row, row, &found["commit"], SOURCE);
    rows.map(figure).collect()
}

/// The rows of the reference.
fn peer_figures(found: &Value) -> Vec<Value> {
    const METHOD: &str = "maml in PyTorch, task by task";
    let trained = json!({
        "episodes": found["tasks"],
        "steps": found["steps"],
        "seconds": found["seconds"],
    });
    let rows = found["evaluations"].as_array().into_iter().flatten();
    let source = "tests/peers/torch_maml.py";
    let figure = |row| figure(METHOD, row, &trained, &found["commit"], source);
    rows.map(figure).collect()
}

/// A row of the table, of how a model that was trained so fares.
fn figure(method: &str, tested: &Value, trained: &Value, commit: &Value, source: &str) -> Value {
    let transductive = if tested["transductive"] == true {
        ", transductive"
    } else {
        ""
    };
    let figure = format!("5-way 1-shot, {method}{transductive}");
    eprintln!("{figure}: {} ± {}", tested["accuracy"], tested["ci95"]);
    json!({
        "figure": figure,
        "method": method,
        "value": tested["accuracy"],
        "ci95": tested["ci95"],
        "seeds": 1,
        "transductive": tested["transductive"],
        "episodes": trained["episodes"],
        "steps": trained["steps"],
        "seconds": trained["seconds"],
        "commit": commit,
        "published": null,
        "source": source,
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
