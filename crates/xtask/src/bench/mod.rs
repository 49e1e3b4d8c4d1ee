//! Runs the benchmarks, prints a table and records it in BENCHMARKS.md.
//!
//! Each measures forgeling and its peers in turns, so that a machine that slows down does so for all of them.

mod company;
mod document;
mod measurement;

use std::fs;

use clap::{Args, ValueEnum};

use crate::date;
use crate::error::{Failure, Result};
use crate::npm::Npm;
use crate::step::Step;
use crate::toolchain::python;
use crate::toolchain::system::{Browser, ensure_mpi};
use crate::workspace::Workspace;
use company::Company;
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
    /// Leave out the peers that have to be installed: PyTorch, TensorFlow.js and jax-js.
    #[arg(long)]
    no_peers: bool,
}

/// A benchmark.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Natively on the CPU.
    Cpu,
    /// Natively on the GPU.
    Gpu,
    /// Ways of saving memory, natively on the GPU.
    Memory,
    /// Several devices and processes; over MPI where it is.
    Parallel,
    /// In a browser, with the published package; needs `cargo xtask web`.
    Web,
}

impl Bench {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Memory => "memory",
            Self::Parallel => "parallel",
            Self::Web => "web",
        }
    }

    /// What stands below the table's heading.
    const fn note(self) -> &'static str {
        match self {
            Self::Cpu | Self::Gpu => {
                "Times are of one training step with its loss read. In each round every implementation of a \
                 workload takes `steps` steps, one after the other; `forgeling` and `burn` differ only in the \
                 operations of forgeling's own. `launches` are kernels launched in one step, MB moved those of the buffers \
                 that forgeling's own were given, MB at peak the most in use on the device at a launch, \
                 the weights of the other implementations of the workload included."
            }
            Self::Memory => {
                "What each way of saving memory saves and costs. MB at peak are the most in use on the device at a launch, \
                 with one network of the kind alive; times are of one training step with Adam, taken in turns."
            }
            Self::Parallel => {
                "Times are of one training step on a whole batch, which replicas and ranks share equally, with its loss read. \
                 `forgeling` is one device with all its threads. `sync` is the median time of a step in which no device \
                 computed: gradients averaged on the host, and the optimizer's step begun. Logical devices of one adapter \
                 share what it can compute, so that what they add is overhead. In each round every implementation takes \
                 `steps` steps, one after the other; MPI's ranks run alone afterwards."
            }
            Self::Web => {
                "One headless Chromium. Opening is from importing a library to its device being ready. Times are of one \
                 training step with its loss read. In each round every \
                 implementation of a workload takes `steps` steps, one after the other; those that need more \
                 than 1.5 s for a step have three rounds. Ratios are to forgeling on the same kind of device, \
                 wasm for `cpu` and `wasm`, WebGPU for `webgl` and `webgpu`."
            }
        }
    }

    fn step(self, workspace: &Workspace, peers: bool) -> Result<Step> {
        Ok(match self {
            Self::Cpu | Self::Gpu | Self::Memory | Self::Parallel => {
                let mpi = self == Self::Parallel && ensure_mpi()?;
                let features: &[&str] = if mpi {
                    &["--features", "forgeling-tests/mpi"]
                } else {
                    &[]
                };
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
                    .args(features)
                    .run()?;
                let name = format!("forgeling-bench{}", std::env::consts::EXE_SUFFIX);
                let step = Step::new(workspace.target().join("release").join(name))
                    .args([self.name(), "--json", "--burn-version"])
                    .arg(workspace.locked_version("burn")?);
                // On a GPU PyTorch is a peer where it has CUDA.
                if peers && (self == Self::Cpu || self == Self::Gpu && has_nvidia()) {
                    step.arg("--python").arg(python::ensure(workspace)?)
                } else {
                    step
                }
            }
            Self::Web => {
                let npm = Npm::ensure(workspace)?;
                npm.install()?;
                let step = Step::new("node")
                    .dir(workspace.root())
                    .arg("www/packaging-tests/bench.mjs")
                    .env("CHROMIUM", Browser::ensure()?.binary());
                if peers {
                    npm.within("packaging-tests").install()?;
                    step
                } else {
                    step.args(["--only", "forgeling"])
                }
            }
        })
    }
}

/// Whether this machine has an NVIDIA GPU with its driver.
fn has_nvidia() -> bool {
    Step::new("nvidia-smi").arg("-L").output().is_ok()
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
        let (measurements, company) = measure(*bench, workspace, options)?;
        let section = Section {
            name: bench.name(),
            command: command(*bench, options),
            note: &note(*bench, company),
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

/// Cores kept busy by others from which on the figures say so.
const COMPANY: f64 = 0.05;

/// How the figures were taken. What Chromium's processes use cannot be told from what others use.
fn note(bench: Bench, company: Option<f64>) -> String {
    let note = bench.note();
    match company {
        Some(cores) if bench != Bench::Web && cores >= COMPANY => {
            eprintln!(
                "warning: other programs kept {cores:.1} cores busy, which distorts the ratios"
            );
            format!(
                "{note} Other programs kept {cores:.1} cores busy meanwhile, which distorts the ratios."
            )
        }
        _ => note.to_owned(),
    }
}

/// What to run for the same table.
fn command(bench: Bench, options: &Options) -> String {
    let peers = if options.no_peers { " --no-peers" } else { "" };
    format!("cargo xtask bench {}{peers}", bench.name())
}

/// The measurements, and how many cores others kept busy while they were made.
fn measure(
    bench: Bench,
    workspace: &Workspace,
    options: &Options,
) -> Result<(Vec<Measurement>, Option<f64>)> {
    let mut measurements = Vec::new();
    let mut wrong = None;
    let step = bench.step(workspace, !options.no_peers)?;
    let company = Company::watch();
    step.lines(|line| {
        if !line.starts_with('{') {
            eprintln!("{line}");
            return;
        }
        match Measurement::parse(line) {
            Ok(measurement) => {
                if options.json {
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
        None => Ok((measurements, company.and_then(|company| company.cores()))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn company_is_told_where_it_is_known() {
        assert!(note(Bench::Cpu, Some(1.26)).contains("kept 1.3 cores busy"));
        for (bench, company) in [
            (Bench::Cpu, None),
            (Bench::Gpu, Some(0.01)),
            (Bench::Web, Some(1.0)),
        ] {
            assert_eq!(note(bench, company), bench.note());
        }
    }

    #[test]
    fn the_command_is_the_one_to_repeat() {
        let options = Options {
            names: Vec::new(),
            json: true,
            no_peers: true,
        };
        assert_eq!(
            command(Bench::Web, &options),
            "cargo xtask bench web --no-peers"
        );
    }
}
