//! `cargo xtask reproduce sine`: trains, tests, writes the figures into a report, and prints one JSON object.
//!
//! `forgeling-sine STEPS SEED REPORT`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use forgeling::report::Page;
use forgeling::train::model_file::write_atomically;
use forgeling::{Error, Result};
use forgeling_tests::sine::{Regression, STEPS};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// Waves of the test.
const TESTS: usize = 600;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forgeling-sine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let usage = || Error::invalid("usage", "wrong arguments").expected("STEPS SEED REPORT");
    let [steps, seed, report] = arguments else {
        return Err(usage());
    };
    let regression = Regression {
        steps: steps.parse().map_err(|_| usage())?,
        tests: TESTS,
        seed: seed.parse().map_err(|_| usage())?,
    };
    let bar = ProgressBar::new(2 * regression.steps as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar:.cyan/black.dim} {pos}/{len}  {msg}")
    {
        bar.set_style(style.progress_chars("━━╌"));
    }
    let begun = Instant::now();
    let figures = regression.run(|step, loss| {
        bar.set_position(step as u64);
        bar.set_message(format!("loss {loss:.3}"));
    })?;
    bar.finish_and_clear();
    let (maml, pretrained) = (figures.maml[STEPS], figures.pretrained[STEPS]);
    let page = Page::new("Sine regression: MAML and pretraining")
        .result(&format!(
            "After {STEPS} gradient steps from 10 points, MAML's squared error is {maml:.4}, that of a network trained on \
             all waves {pretrained:.3}: {:.1} times as much.",
            pretrained / maml
        ))
        .paragraph(
            "Waves of amplitudes 0.1 to 5 and phases 0 to pi. Both networks have two layers of 40 neurons and saw the same \
             waves; the pretrained one adapts at the best of several rates.",
        )
        .figure(&figures.chart.render(), "One wave, seen at 10 points")
        .figure(&figures.errors.render(), "Mean squared error over 600 waves");
    write_atomically(Path::new(report), page.render().as_bytes())?;
    let object = json!({
        "command": "forgeling-sine",
        "version": env!("CARGO_PKG_VERSION"),
        "device": { "kind": "cpu", "name": "CPU", "backend": "flex", "reason": "a small network" },
        "seed": regression.seed,
        "steps": regression.steps,
        "maml": figures.maml,
        "pretrained": figures.pretrained,
        "pretrained_rate": figures.rate,
        "seconds": begun.elapsed().as_secs_f64(),
    });
    println!("{object}");
    Ok(())
}
