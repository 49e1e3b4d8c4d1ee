//! The same training in several precisions, with the same seeds.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{build_programs, commit, kept, record, work_folder};
use crate::data::{self, Set};
use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::toolchain::system::ensure_vulkan;
use crate::workspace::Workspace;

const NAME: &str = "mixed-precision";

/// On what, and how often.
#[derive(Args)]
pub struct Options {
    /// Folder of MNIST's four files, which are fetched where they are not there; by default in the target directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The GPU, as `forgeling devices` numbers it.
    #[arg(long, value_name = "GPU", default_value = "gpu:0")]
    device: String,
    /// Runs of each kind.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

/// What is trained, and how a figure names it.
const SUBJECTS: [(&str, &str); 2] = [
    ("protonet", "ProtoNet, Glyphs, 5-way 5-shot"),
    ("mlp", "MLP 784-128-10, MNIST"),
];

/// What is compared with f32 on the GPU: a precision, whether on the CPU, and how a figure names it. Training on the CPU
/// differs by rounding only: what that comes to is noise.
const OTHERS: [(&str, bool, &str); 3] = [
    ("f16", false, "f16"),
    ("bf16", false, "f32 with activations kept in bf16"),
    ("f32", true, "f32 on the CPU"),
];

/// The most that f16 may fall behind f32, as a fraction.
const ALLOWED: f64 = 0.005;

/// Trains, evaluates and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    ensure_vulkan()?;
    let mnist = data::ensure(workspace, Set::Mnist, options.data.as_deref())?;
    build_programs(workspace)?;
    let commit = commit(workspace)?;
    // Runs of other code or on another device are not compared with these.
    let folder = format!("{NAME}-{commit}-{}", options.device.replace(':', "-"));
    let work = work_folder(workspace, &folder, options.restart)?;
    let single = |subject: &str, precision: &str, cpu: bool, seed: u32| {
        let device = if cpu { "cpu" } else { &options.device };
        let place = if cpu { "cpu" } else { "gpu" };
        let file = work.join(format!("{subject}-{precision}-{place}-{seed}.json"));
        let result = kept(&file, &commit, || {
            let step = program(workspace, &[subject, precision, &seed.to_string(), device]);
            if subject == "mlp" {
                step.arg(&mnist)
            } else {
                step
            }
        })?;
        Run::read(&result, &file).map(|run| (run, result))
    };
    let (mut rows, mut seconds, mut example) = (Vec::new(), 0.0, Value::Null);
    for (subject, title) in SUBJECTS {
        let mut runs = |precision: &str, cpu: bool| -> Result<Vec<Run>> {
            let mut all = Vec::new();
            for seed in 1..=options.seeds {
                let (run, result) = single(subject, precision, cpu, seed)?;
                seconds += run.seconds;
                if !cpu {
                    example = result;
                }
                all.push(run);
            }
            Ok(all)
        };
        let reference = runs("f32", false)?;
        rows.push(own(format!("{title}, f32"), &reference));
        for (precision, cpu, name) in OTHERS {
            let others = runs(precision, cpu)?;
            rows.push(own(format!("{title}, {name}"), &others));
            let figure = format!("{title}, {name} minus f32");
            rows.push(difference(figure, &others, &reference)?);
        }
    }
    let result = json!({
        "rows": rows,
        "command": format!("cargo xtask reproduce {NAME} --seeds {}", options.seeds),
        "date": date::today(),
        "commit": commit,
        "version": example["version"],
        "device": example["device"],
        "seconds": seconds,
    });
    record(workspace, NAME, &result)
}

fn program(workspace: &Workspace, arguments: &[&str]) -> Step {
    Step::new(super::program(workspace, "forgeling-precision")).args(arguments)
}

/// What is used of a run.
struct Run {
    accuracy: f64,
    ci95: Option<f64>,
    loss: f64,
    seconds: f64,
}

impl Run {
    fn read(result: &Value, file: &Path) -> Result<Self> {
        let number = |key: &str| {
            let message = || Failure::new(format!("{} has no {key}", file.display()));
            result[key].as_f64().ok_or_else(message)
        };
        Ok(Self {
            accuracy: number("accuracy")?,
            ci95: result["ci95"].as_f64(),
            loss: number("loss")?,
            seconds: number("seconds")?,
        })
    }
}

/// The row of the runs in one precision.
fn own(figure: String, runs: &[Run]) -> Value {
    let accuracies: Vec<f64> = runs.iter().map(|run| run.accuracy).collect();
    let (value, se) = mean_and_error(&accuracies);
    // Each run has test episodes of its own.
    let squares: Option<f64> = runs.iter().map(|run| run.ci95.map(|ci| ci * ci)).sum();
    let ci95 = squares.map(|sum| sum.sqrt() / runs.len() as f64);
    eprintln!("{figure}: {value:.4}");
    let losses: Vec<f64> = runs.iter().map(|run| run.loss).collect();
    json!({
        "figure": figure,
        "value": value,
        "values": accuracies,
        "ci95": ci95,
        "se": se,
        "seeds": runs.len(),
        "loss": mean_and_error(&losses).0,
        "published": null,
        "source": "accuracy on unseen data, computed in f32",
    })
}

/// The row of the differences from f32, run by run with the same seed and the same test.
fn difference(figure: String, runs: &[Run], reference: &[Run]) -> Result<Value> {
    let pairs = || runs.iter().zip(reference);
    if pairs().any(|(run, other)| run.loss == other.loss) {
        return Err(Failure::new(format!(
            "{figure}: the loss is the same to the last bit, so that was what ran"
        )));
    }
    let values: Vec<f64> = pairs()
        .map(|(run, other)| run.accuracy - other.accuracy)
        .collect();
    let (value, se) = mean_and_error(&values);
    let word = if value >= -ALLOWED {
        "within"
    } else {
        "NOT within"
    };
    eprintln!("{figure}: {value:+.4}, {word} {ALLOWED}");
    Ok(json!({
        "figure": figure,
        "value": value,
        "values": values,
        "se": se,
        "seeds": runs.len(),
        "promised": -ALLOWED,
        "published": null,
        "source": "the same seeds and the same test in both precisions",
    }))
}

/// Mean and standard error, which needs two values.
fn mean_and_error(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let se = (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt());
    (mean, se)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(figures: &[(f64, f64)]) -> Vec<Run> {
        let run = |&(accuracy, loss)| Run {
            accuracy,
            ci95: Some(0.03),
            loss,
            seconds: 1.0,
        };
        figures.iter().map(run).collect()
    }

    #[test]
    fn figures_are_paired_by_seed() {
        let f32 = runs(&[(0.90, 0.1), (0.94, 0.2)]);
        let f16 = runs(&[(0.89, 0.3), (0.94, 0.4)]);
        let row = difference("it".into(), &f16, &f32).unwrap();
        assert!((row["value"].as_f64().unwrap() + 0.005).abs() < 1e-12);
        assert!((row["se"].as_f64().unwrap() - 0.005).abs() < 1e-12);
        let row = own("it".into(), &f32);
        assert!((row["value"].as_f64().unwrap() - 0.92).abs() < 1e-12);
        assert!((row["ci95"].as_f64().unwrap() - 0.03 / 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn f32_under_another_name_is_found_out() {
        let f32 = runs(&[(0.90, 0.1), (0.94, 0.2)]);
        let same = runs(&[(0.89, 0.3), (0.94, 0.2)]);
        assert!(difference("it".into(), &same, &f32).is_err());
    }
}
