//! Runs the benchmarks, prints a table and records it in BENCHMARKS.md.

mod document;
mod measurement;

use std::fs;

use clap::{Args, ValueEnum};

use crate::date;
use crate::error::{Failure, Result};
use crate::step::Step;
use crate::toolchain::system::Browser;
use crate::workspace::Workspace;
use document::Section;
use measurement::Measurement;

/// Which benchmarks to run.
#[derive(Args)]
pub struct Options {
    /// The benchmarks; all of them if none is named.
    #[arg(value_enum)]
    names: Vec<Bench>,
    /// Print one JSON object per measurement instead of a table.
    #[arg(long)]
    json: bool,
}

/// A benchmark.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Natively on the CPU.
    Cpu,
    /// Natively on the GPU.
    Gpu,
    /// In a browser, with the published package; needs `cargo xtask web`.
    Web,
}

impl Bench {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Web => "web",
        }
    }

    fn step(self, workspace: &Workspace) -> Result<Step> {
        Ok(match self {
            Self::Cpu | Self::Gpu => {
                // With the workspace's features: a package alone would build burn a second time.
                Step::cargo()
                    .dir(workspace.root())
                    .args([
                        "build",
                        "--release",
                        "--workspace",
                        "--exclude",
                        "xtask",
                        "--bins",
                    ])
                    .run()?;
                let name = format!("forgeling-bench{}", std::env::consts::EXE_SUFFIX);
                Step::new(workspace.target().join("release").join(name))
                    .args([self.name(), "--json"])
            }
            Self::Web => Step::new("node")
                .dir(workspace.root())
                .arg("www/packaging-tests/bench.mjs")
                .env("CHROMIUM", Browser::ensure()?.binary()),
        })
    }
}

/// Runs the benchmarks one after the other and records each as soon as it is done.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let all = Bench::value_variants();
    let names = if options.names.is_empty() {
        all
    } else {
        &options.names
    };
    for bench in names {
        let measurements = measure(*bench, workspace, options.json)?;
        let section = Section {
            name: bench.name(),
            command: format!("cargo xtask bench {}", bench.name()),
            date: date::today(),
            version: env!("CARGO_PKG_VERSION"),
            measurements: &measurements,
        };
        if !options.json {
            println!("{}", measurement::table(&measurements));
        }
        record(workspace, &section)?;
    }
    Ok(())
}

fn measure(bench: Bench, workspace: &Workspace, json: bool) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    let mut wrong = None;
    bench.step(workspace)?.lines(|line| {
        if !line.starts_with('{') {
            eprintln!("{line}");
            return;
        }
        match Measurement::parse(line) {
            Ok(measurement) => {
                if json {
                    println!("{line}");
                } else {
                    eprintln!("{}", measurement.progress());
                }
                measurements.push(measurement);
            }
            Err(failure) => wrong = Some(failure),
        }
    })?;
    match wrong {
        Some(failure) => Err(failure),
        None if measurements.is_empty() => Err(Failure::new(format!(
            "the benchmark `{}` measured nothing",
            bench.name()
        ))),
        None => Ok(measurements),
    }
}

fn record(workspace: &Workspace, section: &Section<'_>) -> Result<()> {
    let path = workspace.root().join("BENCHMARKS.md");
    let old = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => document::EMPTY.to_owned(),
        Err(cause) => return Err(Failure::file("read", &path, &cause)),
    };
    let new = document::replace(&old, section)?;
    fs::write(&path, new).map_err(|cause| Failure::file("write", &path, &cause))?;
    eprintln!("recorded in {}", path.display());
    Ok(())
}
