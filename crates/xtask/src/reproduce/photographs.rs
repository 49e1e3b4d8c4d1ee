//! A stranger's photographs, with the README's lines: pen strokes on paper, and objects on a table.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::omniglot::forgeling;
use super::{build_programs, commit, described, kept, program, record, work_folder};
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::workspace::Workspace;

const NAME: &str = "photographs";
/// Tasks of strokes, as `forgeling-photographs` writes them.
const TASKS: usize = 12;

/// Where to begin.
#[derive(Args)]
pub struct Options {
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

/// Writes the photographs, trains, classifies and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    build_programs(workspace)?;
    let commit = commit(workspace)?;
    let work = work_folder(workspace, NAME, options.restart)?;
    let program = program(workspace, "forgeling-photographs");
    let data = work.join("data");
    let written = kept(&work.join("baselines.json"), &commit, || {
        Step::new(&program).arg(&data)
    })?;
    let mut rows: Vec<Value> = Vec::new();
    let mut add = |figure: String, value: f64, promised: Value| {
        eprintln!("{figure}: {value:.3}");
        rows.push(json!({
            "figure": figure, "value": value, "seeds": 1, "published": null, "promised": promised,
            "source": "photographs of forgeling-photographs, for which nobody has published figures",
        }));
    };

    let model = work.join("model.safetensors");
    let trained = kept(&work.join("train.json"), &commit, || {
        forgeling(workspace)
            .args(["fewshot", "train", "--json", "--device", "cpu"])
            .args(["--data", "glyphs", "--episodes", "1000", "--out"])
            .arg(&model)
    })?;
    let classify = |name: &str, support: &Path, query: &Path| -> Result<f64> {
        let found = kept(&work.join(format!("{name}.json")), &commit, || {
            forgeling(workspace)
                .args(["fewshot", "classify", "--json", "--device", "cpu"])
                .args(["--unknown", "0", "--model"])
                .arg(&model)
                .arg("--support")
                .arg(support)
                .arg("--query")
                .arg(query)
        })?;
        right(&found)
    };
    for (shots, promised) in [(1, 0.75), (5, 0.9)] {
        let mut sum = 0.0;
        for task in 0..TASKS {
            let folder = data.join("strokes").join(task.to_string());
            let support = folder.join(format!("support{shots}"));
            let name = format!("strokes-{shots}-{task}");
            sum += classify(&name, &support, &folder.join("query"))?;
        }
        let figure = format!("pen strokes, 5-way {shots}-shot, {TASKS} tasks, model of glyphs");
        add(figure, sum / TASKS as f64, promised.into());
    }
    let objects = data.join("objects");
    let value = classify("objects-ten", &objects.join("ten"), &objects.join("query"))?;
    let figure = "three kinds of objects, 10 of each, model of glyphs";
    add(figure.into(), value, Value::Null);
    for (name, each) in [("ten", 10), ("forty", 40)] {
        let model = work.join(format!("objects-{name}.safetensors"));
        kept(
            &work.join(format!("objects-{name}-train.json")),
            &commit,
            || {
                forgeling(workspace)
                    .args([
                        "train", "--json", "--device", "cpu", "--model", "conv4", "--data",
                    ])
                    .arg(format!("folder:{}", objects.join(name).display()))
                    .arg("--out")
                    .arg(&model)
            },
        )?;
        let found = kept(
            &work.join(format!("objects-{name}-eval.json")),
            &commit,
            || {
                forgeling(workspace)
                    .args(["eval", "--json", "--device", "cpu", "--model"])
                    .arg(&model)
                    .arg("--data")
                    .arg(format!("folder:{}", objects.join("test").display()))
            },
        )?;
        let baseline = written["baselines"]
            .as_array()
            .and_then(|rows| {
                rows.iter()
                    .find(|row| row["examples of each class"] == each)
            })
            .cloned()
            .unwrap_or_default();
        let regression = baseline["logistic regression"].as_f64();
        let promised = regression.filter(|_| each == 40).map(|value| value - 0.02);
        let value = found["accuracy"].as_f64().unwrap_or_default();
        let figure = format!("three kinds of objects, {each} of each, conv4 from scratch");
        add(figure, value, json!(promised));
        for simple in ["logistic regression", "nearest mean"] {
            let value = baseline[simple].as_f64().unwrap_or_default();
            let figure = format!("three kinds of objects, {each} of each, {simple} of the pixels");
            add(figure, value, Value::Null);
        }
    }
    let mut result = described(NAME, &rows, &trained);
    result["seconds"] = trained["seconds"].clone();
    record(workspace, NAME, &result)
}

/// The part of the images that were named after the class that their file names begin with.
pub(super) fn right(found: &Value) -> Result<f64> {
    let rows = found["predictions"].as_array();
    let rows = rows.filter(|rows| !rows.is_empty());
    let rows = rows.ok_or_else(|| Failure::new("nothing was classified"))?;
    let named = |row: &&Value| {
        let path = Path::new(row["path"].as_str().unwrap_or_default());
        let file = path.file_name().map(|name| name.to_string_lossy());
        let class = row["class"].as_str().unwrap_or("unknown");
        file.is_some_and(|file| file.starts_with(&format!("{class}-")))
    };
    Ok(rows.iter().filter(named).count() as f64 / rows.len() as f64)
}
