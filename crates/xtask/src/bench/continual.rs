//! A whole run of continual learning beside the same in PyTorch, in turns.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Options;
use crate::data::{self, Set};
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::toolchain::python::PYTORCH;
use crate::workspace::Workspace;

const WORKLOAD: &str = "ER on Split-MNIST, class-incremental, one run";
/// Batches of each context, as in the published protocol.
const ITERATIONS: u32 = 2000;
const CONTEXTS: u32 = 5;
const ROUNDS: u32 = 3;

/// Who runs it.
struct Contestant<'a> {
    name: String,
    run: Box<dyn Fn(u32) -> Result<Value> + 'a>,
    milliseconds: Vec<f64>,
    accuracies: Vec<f64>,
}

/// One line of JSON for each implementation. The smallest workload is on invented characters, and alone.
pub fn lines(workspace: &Workspace, options: &Options) -> Result<Vec<String>> {
    let (data, iterations) = match options.smallest {
        true => (None, 20),
        false => (Some(data::ensure(workspace, Set::Mnist, None)?), ITERATIONS),
    };
    let folder = workspace.target().join("bench/continual");
    let ours = |round: u32| ours(workspace, data.as_ref(), iterations, round, &folder);
    let mut all = vec![Contestant {
        name: "forgeling".into(),
        run: Box::new(ours),
        milliseconds: Vec::new(),
        accuracies: Vec::new(),
    }];
    if let Some(data) = data.as_ref().filter(|_| !options.no_peers) {
        let python = PYTORCH.ensure(workspace)?;
        let script = workspace.root().join("tests/peers/torch_er.py");
        let peer = move |round: u32| {
            let step = Step::new(&python).arg(&script).arg(data);
            object(step.arg(round.to_string()).arg(iterations.to_string()))
        };
        all.push(Contestant {
            name: "PyTorch, eager".into(),
            run: Box::new(peer),
            milliseconds: Vec::new(),
            accuracies: Vec::new(),
        });
    }
    let rounds = options.rounds.unwrap_or(ROUNDS);
    for round in 0..rounds {
        for contestant in &mut all {
            let result = (contestant.run)(round)?;
            let number = |key: &str| {
                let missing = || Failure::new(format!("{} told no {key}", contestant.name));
                result[key].as_f64().ok_or_else(missing)
            };
            let (seconds, accuracy) = (number("seconds")?, number("accuracy")?);
            eprintln!(
                "{}, round {}: {seconds:.1} s, accuracy {accuracy:.4}",
                contestant.name,
                round + 1
            );
            contestant.milliseconds.push(1000.0 * seconds);
            contestant.accuracies.push(accuracy);
        }
    }
    let own = median(&all[0].milliseconds);
    let line = |(place, of): (usize, &Contestant<'_>)| {
        let extreme = |pick: fn(f64, f64) -> f64| of.milliseconds.iter().copied().reduce(pick);
        let mean = of.accuracies.iter().sum::<f64>() / f64::from(rounds);
        let mut line = json!({
            "workload": WORKLOAD,
            "implementation": format!("{}, accuracy {:.1} %", of.name, 100.0 * mean),
            "device": "cpu",
            "median_ms": median(&of.milliseconds),
            "min_ms": extreme(f64::min),
            "max_ms": extreme(f64::max),
            "rounds": rounds,
            "steps": iterations * CONTEXTS,
        });
        if place > 0 {
            line["ratio"] = json!(median(&of.milliseconds) / own);
        }
        line.to_string()
    };
    Ok(all.iter().enumerate().map(line).collect())
}

fn ours(
    workspace: &Workspace,
    data: Option<&PathBuf>,
    iterations: u32,
    round: u32,
    folder: &PathBuf,
) -> Result<Value> {
    let forgeling = format!("forgeling{}", std::env::consts::EXE_SUFFIX);
    let program = workspace.target().join("release").join(forgeling);
    let data = data.map_or("glyphs".into(), |data| format!("idx:{}", data.display()));
    let (seed, iterations) = (round.to_string(), iterations.to_string());
    // A run that is done is not repeated.
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|cause| Failure::file("remove", folder, &cause))?;
    }
    let step = Step::new(program)
        .args(["continual", "run", "--json", "--device", "cpu"])
        .args([
            "--preset",
            "vandeven",
            "--scenario",
            "split",
            "--contexts",
            "5",
        ])
        .args(["--setting", "class", "--strategy", "er", "--data", &data])
        .args(["--seed", &seed, "--iterations", &iterations, "--out"]);
    object(step.arg(folder))
}

/// The object that a program prints.
fn object(step: Step) -> Result<Value> {
    let mut printed = String::new();
    step.lines(|line| printed.push_str(line))?;
    serde_json::from_str(&printed)
        .map_err(|cause| Failure::new(format!("the program printed no JSON object: {cause}")))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}
