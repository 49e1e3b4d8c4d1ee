//! One run of `cargo xtask reproduce mixed-precision`.
//!
//! `forgeling-precision protonet|mlp PRECISION SEED DEVICE [MNIST]` trains on the device in that precision, tests, and
//! prints one JSON object.

use std::path::Path;
use std::process::ExitCode;

use forgeling::data::{IdxSplit, idx};
use forgeling::train::{HalvingSchedule, Precision};
use forgeling::{Device, DeviceChoice, Error, Result};
use forgeling_tests::mixed_precision::{Episodes, Images};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// Prototypical networks on invented characters.
const PROTONET: Episodes = Episodes {
    filters: 16,
    shots: 5,
    queries: 15,
    episodes: 600,
    schedule: HalvingSchedule {
        initial: 3e-3,
        every: 150,
    },
    tests: 600,
};

/// A perceptron on MNIST's digits.
const PERCEPTRON: Images = Images {
    hidden: 128,
    batch: 128,
    epochs: 4,
    rate: 4e-3,
};

const MNIST_EXAMPLES: usize = 60_000;

struct Run<'a> {
    subject: &'a str,
    precision: Precision,
    seed: u64,
    device: DeviceChoice,
    mnist: Option<&'a Path>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = parse(&arguments).and_then(|run| train(&run));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forgeling-precision: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<Run<'_>> {
    let (required, mnist) = arguments.split_at(arguments.len().min(4));
    let ([subject, precision, seed, device], [] | [_]) = (required, mnist) else {
        return Err(Error::invalid("usage", "wrong arguments")
            .expected("protonet|mlp PRECISION SEED DEVICE [MNIST]"));
    };
    Ok(Run {
        subject,
        precision: precision.parse()?,
        seed: seed
            .parse()
            .map_err(|_| Error::invalid("usage", "the seed is no number"))?,
        device: device.parse()?,
        mnist: mnist.first().map(Path::new),
    })
}

fn train(run: &Run<'_>) -> Result<()> {
    let device = pollster::block_on(Device::open(run.device))?;
    let total = match run.subject {
        "protonet" => PROTONET.episodes,
        _ => PERCEPTRON.epochs * MNIST_EXAMPLES,
    };
    let bar = ProgressBar::new(total as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar:.cyan/black.dim} {pos}/{len}  {msg}")
    {
        bar.set_style(style.progress_chars("━━╌"));
    }
    let (precision, seed) = (run.precision, run.seed);
    let progress = |done: usize, loss: f64| {
        bar.set_position(done as u64);
        bar.set_message(format!("loss {loss:.3}"));
    };
    let figures = match (run.subject, run.mnist) {
        ("protonet", None) => PROTONET.run(&device, precision, seed, progress)?,
        ("mlp", Some(mnist)) => {
            let sets = (
                idx::load(mnist, IdxSplit::Train)?,
                idx::load(mnist, IdxSplit::Test)?,
            );
            PERCEPTRON.run(sets, &device, precision, seed, progress)?
        }
        _ => {
            return Err(Error::invalid("usage", "unknown subject")
                .expected("protonet, or mlp with MNIST's folder"));
        }
    };
    bar.finish_and_clear();
    let object = json!({
        "command": "forgeling-precision",
        "version": env!("CARGO_PKG_VERSION"),
        "device": device.info(),
        "seed": seed,
        "precision": precision,
        "accuracy": figures.accuracy,
        "ci95": figures.ci95,
        "loss": figures.loss,
        "steps": figures.steps,
        "seconds": figures.seconds,
    });
    println!("{object}");
    Ok(())
}
