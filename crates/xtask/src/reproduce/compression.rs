//! Networks that tell Fashion-MNIST's classes apart, made smaller.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::{build_programs, commit, described, kept, program, record, work_folder};
use crate::data::{self, Set};
use crate::error::Result;
use crate::step::Step;
use crate::workspace::Workspace;

const NAME: &str = "compression";

/// What to run.
#[derive(Args)]
pub struct Options {
    /// Runs of each network.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Forget an earlier run and begin again.
    #[arg(long)]
    restart: bool,
}

/// A network with the options that it is trained with.
struct Network {
    name: &'static str,
    about: &'static str,
    training: &'static [&'static str],
    least: f64,
    ways: &'static [Way],
}

/// A way to make it smaller.
struct Way {
    name: &'static str,
    options: &'static [&'static str],
}

const fn way(name: &'static str, options: &'static [&'static str]) -> Way {
    Way { name, options }
}

const F16: Way = way("f16", &["--quantize", "f16"]);
const INT8: Way = way(
    "int8",
    &["--quantize", "int8", "--qat-epochs", "2", "--distill"],
);
const INT4: Way = way("int4", &["--quantize", "int4"]);
const HALF: Way = way(
    "half the channels",
    &[
        "--prune",
        "0.5",
        "--steps",
        "4",
        "--epochs",
        "1",
        "--distill",
        "--quantize",
        "int8",
        "--qat-epochs",
        "2",
    ],
);
const VALUES: Way = way(
    "half the values",
    &[
        "--prune",
        "0.5",
        "--of",
        "values",
        "--steps",
        "4",
        "--epochs",
        "1",
        "--distill",
        "--quantize",
        "f16",
    ],
);

const NETWORKS: [Network; 2] = [
    Network {
        name: "cnn",
        about: "Conv4 of 64 filters, five epochs",
        training: &[
            "--model",
            "conv4",
            "--width",
            "64",
            "--epochs",
            "5",
            "--learning-rate",
            "0.005",
        ],
        least: 0.91,
        ways: &[F16, INT8, INT4, HALF],
    },
    Network {
        name: "vit",
        about: "ViT of width 124 and depth 4, eight epochs",
        training: &[
            "--model",
            "vit",
            "--option",
            "width=124",
            "--option",
            "depth=4",
            "--epochs",
            "8",
            "--learning-rate",
            "0.002",
        ],
        least: 0.88,
        ways: &[F16, INT8, INT4, VALUES, HALF],
    },
];

/// Gets the images, trains, compresses, measures and records.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    build_programs(workspace)?;
    let commit = commit(workspace)?;
    let work = work_folder(workspace, NAME, options.restart)?;
    let fashion = data::ensure(workspace, Set::FashionMnist, None)?;
    let data = format!("idx:{}", fashion.display());
    let (mut found, mut last) = (Vec::new(), Value::Null);
    for network in &NETWORKS {
        let mut stages = Stages::default();
        let mut seconds = 0.0;
        for seed in 1..=options.seeds {
            let whole = work.join(format!("{}-{seed}.safetensors", network.name));
            let trained = kept(&whole.with_extension("json"), &commit, || {
                let train = command(workspace, "train", &data, seed);
                let train = train.args(["--normalize", "data", "--schedule", "one-cycle"]);
                train.args(network.training).arg("--out").arg(&whole)
            })?;
            seconds += trained["seconds"].as_f64().unwrap_or(0.0);
            let latency = latencies(workspace, &whole, &commit)?;
            for way in network.ways {
                let name = format!("{}-{}-{seed}", network.name, way.name.replace(' ', "-"));
                let small = work.join(name).with_extension("safetensors");
                let told = kept(&small.with_extension("json"), &commit, || {
                    let compress = command(workspace, "compress", &data, seed);
                    let compress = compress.arg("--model").arg(&whole).args(way.options);
                    compress.arg("--out").arg(&small)
                })?;
                let own = latencies(workspace, &small, &commit)?;
                stages.add(way.name, &told, &latency, &own);
                last = told;
            }
        }
        found.extend(stages.rows(network, options.seeds, seconds));
    }
    for row in &found {
        eprintln!("{row}");
    }
    record(workspace, NAME, &described(NAME, &found, &last))
}

fn command(workspace: &Workspace, name: &str, data: &str, seed: u32) -> Step {
    Step::new(program(workspace, "forgeling"))
        .args([name, "--json", "--device", "cpu", "--data", data])
        .args(["--validation-data", data, "--batch-size", "64"])
        .args(["--seed", &seed.to_string()])
}

fn latencies(workspace: &Workspace, model: &Path, commit: &str) -> Result<Value> {
    kept(&model.with_extension("bench.json"), commit, || {
        let bench = Step::new(program(workspace, "forgeling"));
        let bench = bench.args(["bench", "model", "--json", "--device", "cpu"]);
        bench.arg(model)
    })
}

/// What came of each stage of each way, over the seeds, in their order.
#[derive(Default)]
struct Stages {
    order: Vec<(String, String)>,
    rows: BTreeMap<(String, String), Vec<Value>>,
}

impl Stages {
    fn add(&mut self, way: &str, told: &Value, whole: &Value, small: &Value) {
        let rows = told["rows"].as_array().cloned().unwrap_or_default();
        let last = rows.len().saturating_sub(1);
        for (place, mut row) in rows.into_iter().enumerate() {
            // The models before the last one are not kept; the first is the same for every way.
            for (index, key) in ["latency_ms", "latency_64_ms"].into_iter().enumerate() {
                let of = |bench: &Value| bench["latencies"][index]["median_ms"].clone();
                row[key] = match place {
                    0 => of(whole),
                    place if place == last => of(small),
                    _ => Value::Null,
                };
            }
            let stage = row["name"].as_str().unwrap_or_default().to_string();
            let way = if place == 0 { "" } else { way };
            let key = (way.to_string(), stage);
            if !self.order.contains(&key) {
                self.order.push(key.clone());
            }
            self.rows.entry(key).or_default().push(row);
        }
    }

    fn rows(&self, network: &Network, seeds: u32, seconds: f64) -> Vec<Value> {
        let mean = |key: &(String, String), field: &str| {
            let values = self.rows[key].iter().filter_map(|row| row[field].as_f64());
            let values: Vec<f64> = values.collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let of = |key: &(String, String)| {
            let (way, stage) = key;
            let value = mean(key, "accuracy");
            let least = way.is_empty().then_some(network.least);
            json!({
                "figure": format!("{}: {}", network.about, [&way[..], stage].join(" ").trim()),
                "value": value, "seeds": seeds, "bytes": mean(key, "bytes"),
                "parameters": mean(key, "parameters"), "macs": mean(key, "macs"),
                "latency_ms": mean(key, "latency_ms"), "latency_64_ms": mean(key, "latency_64_ms"),
                "seconds_of_training": way.is_empty().then_some(seconds),
                "least": least, "within": least.zip(value).map(|(least, value)| value >= least),
                "published": null, "source": "no published value",
            })
        };
        self.order.iter().map(of).collect()
    }
}
