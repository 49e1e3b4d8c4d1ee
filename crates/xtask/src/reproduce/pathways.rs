//! Networks of two pathways on MNIST and Fashion-MNIST, beside networks as large without luminance or with it as a channel.

use clap::Args;
use serde_json::{Value, json};

use super::{build_programs, commit, described, kept, program, record, work_folder};
use crate::data::{self, Set};
use crate::error::Result;
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

/// A row of the result.
struct Row {
    figure: String,
    set: Set,
    pathways: &'static str,
    arguments: &'static [&'static str],
    seeds: u32,
    least: Option<f64>,
}

/// Gets the images, trains, tests and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut rows = vec![Row {
        figure: "MNIST, 10,000 images to train on, ten epochs: colours and luminance, integrated"
            .into(),
        set: Set::Mnist,
        pathways: "2",
        arguments: &["--per-class", "1000", "--epochs", "10"],
        seeds: 1,
        least: Some(0.985),
    }];
    rows.extend(PATHWAYS.map(|(pathways, what)| Row {
        figure: format!("Fashion-MNIST, two epochs: {what}"),
        set: Set::FashionMnist,
        pathways,
        arguments: &["--epochs", "2"],
        seeds: options.seeds,
        least: (pathways == "2").then_some(0.91),
    }));
    build_programs(workspace)?;
    let commit = commit(workspace)?;
    let work = work_folder(workspace, NAME, options.restart)?;
    let (mut found, mut last) = (Vec::new(), Value::Null);
    for row in &rows {
        let data = format!("idx:{}", data::ensure(workspace, row.set, None)?.display());
        let (mut accuracies, mut seconds) = (Vec::new(), Vec::new());
        for seed in 1..=row.seeds {
            let name = format!("{:?}-{}-{seed}", row.set, row.pathways);
            let trained = kept(&work.join(format!("{name}.json")), &commit, || {
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
                    .args(["--data", &data, "--validation-data", &data])
                    .args(["--batch-size", "64", "--schedule", "one-cycle"])
                    .args(["--learning-rate", "0.005", "--seed", &seed.to_string()])
                    .args(row.arguments)
                    .arg("--out")
                    .arg(work.join(format!("{name}.safetensors")))
            })?;
            accuracies.extend(trained["validation_accuracy"].as_f64());
            seconds.extend(trained["seconds"].as_f64());
            last = trained;
        }
        let value = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        eprintln!("{}: {value:.4}", row.figure);
        found.push(json!({
            "figure": row.figure, "value": value, "accuracies": accuracies, "seconds": seconds, "seeds": row.seeds,
            "least": row.least, "within": row.least.map(|least| value >= least), "published": null,
            "source": "no published value",
        }));
    }
    record(workspace, NAME, &described(NAME, &found, &last))
}
