//! Networks of two pathways on MNIST and Fashion-MNIST, beside networks as large without luminance or with it as a channel.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::tinted::{self, Tint};
use super::{build_programs, commit, described, kept, program, record, work_folder};
use crate::data::{self, Set};
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::workspace::Workspace;

const NAME: &str = "pathways";

/// What to run.
#[derive(Args)]
pub struct Options {
    /// Runs of each network on Fashion-MNIST.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

/// The networks, by the option that tells them.
const PATHWAYS: [(&str, &str); 3] = [
    ("2", "colours and luminance, integrated"),
    ("1", "colours alone"),
    ("0", "luminance as another channel"),
];

/// A network's runs.
struct Row {
    figure: String,
    /// Of the files in the work folder.
    name: &'static str,
    data: String,
    /// Another source to test on as well, and what it is.
    elsewhere: Option<(String, &'static str)>,
    pathways: &'static str,
    arguments: &'static [&'static str],
    seeds: u32,
    least: Option<f64>,
}

/// Gets the images, trains, tests and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    build_programs(workspace)?;
    let commit = commit(workspace)?;
    let work = work_folder(workspace, NAME, options.restart)?;
    let [mnist, fashion] =
        [Set::Mnist, Set::FashionMnist].map(|set| data::ensure(workspace, set, None));
    let (mnist, fashion) = (mnist?, fashion?);
    let coloured = |from: &Path, name: &str, tints| {
        let folder = work.join(name);
        tinted::make(from, &folder, tints)?;
        Ok::<_, Failure>(format!("cifar:{}", folder.display()))
    };
    let [warm, cold] = [Tint::HalfFrom(0.0), Tint::HalfFrom(0.5)];
    let mut rows = vec![Row {
        figure: "MNIST at 3x32x32, 10,000 images to train on, ten epochs: colours and luminance, integrated".into(),
        name: "mnist",
        data: coloured(&mnist, "mnist-32", [Tint::White; 2])?,
        elsewhere: None,
        pathways: "2",
        arguments: &["--per-class", "1000", "--epochs", "10"],
        seeds: 1,
        least: Some(0.985),
    }];
    rows.extend(PATHWAYS.map(|(pathways, what)| Row {
        figure: format!("Fashion-MNIST, three epochs: {what}"),
        name: "fashion",
        data: format!("idx:{}", fashion.display()),
        elsewhere: None,
        pathways,
        arguments: &["--epochs", "3"],
        seeds: options.seeds,
        least: (pathways == "2").then_some(0.91),
    }));
    let same = coloured(&fashion, "warm", [warm; 2])?;
    let shifted = coloured(&fashion, "cold", [cold; 2])?;
    rows.extend(PATHWAYS.map(|(pathways, what)| Row {
        figure: format!("Fashion-MNIST in hues of half the circle, 20,000 images to train on, three epochs: {what}"),
        name: "tinted",
        data: same.clone(),
        elsewhere: Some((shifted.clone(), "the same, tested in the other half's hues")),
        pathways,
        arguments: &["--per-class", "2000", "--epochs", "3"],
        seeds: 1,
        least: None,
    }));
    let (mut found, mut last) = (Vec::new(), Value::Null);
    for row in &rows {
        let (mut accuracies, mut elsewhere, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 1..=row.seeds {
            let name = work.join(format!("{}-{}-{seed}", row.name, row.pathways));
            let model = name.with_extension("safetensors");
            let trained = kept(&name.with_extension("json"), &commit, || {
                train(workspace, row, seed).arg("--out").arg(&model)
            })?;
            accuracies.extend(trained["validation_accuracy"].as_f64());
            seconds.extend(trained["seconds"].as_f64());
            if let Some((data, _)) = &row.elsewhere {
                let tested = kept(&name.with_extension("elsewhere.json"), &commit, || {
                    let eval = Step::new(program(workspace, "forgeling"));
                    let eval = eval.args(["eval", "--json", "--device", "cpu", "--data", data]);
                    eval.arg("--model").arg(&model)
                })?;
                elsewhere.extend(tested["accuracy"].as_f64());
            }
            last = trained;
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let mut told = json!({
            "figure": row.figure, "value": mean(&accuracies), "accuracies": accuracies, "seconds": seconds,
            "seeds": row.seeds, "least": row.least, "within": row.least.map(|least| mean(&accuracies) >= least),
            "published": null, "source": "no published value",
        });
        if let Some((_, what)) = row.elsewhere {
            told["elsewhere"] = json!({ "figure": what, "value": mean(&elsewhere) });
        }
        eprintln!("{told}");
        found.push(told);
    }
    record(workspace, NAME, &described(NAME, &found, &last))
}

fn train(workspace: &Workspace, row: &Row, seed: u32) -> Step {
    Step::new(program(workspace, "forgeling"))
        .args([
            "train",
            "--json",
            "--device",
            "cpu",
            "--model",
            "integration_shallow",
        ])
        .args(["--option", &format!("pathways={}", row.pathways)])
        .args([
            "--data",
            &row.data,
            "--validation-data",
            &row.data,
            "--normalize",
            "data",
        ])
        .args(["--batch-size", "64", "--schedule", "one-cycle"])
        .args(["--learning-rate", "0.005", "--seed", &seed.to_string()])
        .args(row.arguments)
}
