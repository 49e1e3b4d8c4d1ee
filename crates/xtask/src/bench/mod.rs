//! Runs the benchmarks, prints a table and records it in BENCHMARKS.md.
//!
//! Each measures forgeling and its peers in turns, so that a machine that slows down does so for all of them.

mod company;
mod continual;
mod document;
mod measurement;

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use crate::date;
use crate::error::{Failure, Result};
use crate::npm::Npm;
use crate::step::Step;
use crate::toolchain::python::PYTORCH;
use crate::toolchain::system::{Browser, ensure_mpi};
use crate::wasm_tests::wasm_step;
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
    /// Rounds of each workload, instead of as many as the time of its steps allows; the figures are printed but not
    /// recorded.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// The smallest workloads alone, natively or in the browser, which take seconds; the figures are printed but not
    /// recorded.
    #[arg(long)]
    smallest: bool,
}

impl Options {
    /// One round of the smallest workloads.
    const fn once(no_peers: bool) -> Self {
        Self {
            names: Vec::new(),
            json: false,
            no_peers,
            rounds: Some(1),
            smallest: true,
        }
    }

    /// Whether the figures are worth recording.
    const fn is_whole(&self) -> bool {
        self.rounds.is_none() && !self.smallest
    }
}

/// A benchmark.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Natively on the CPU.
    Cpu,
    /// Natively on the GPU.
    Gpu,
    /// Ways of saving memory, natively on the GPU and on WebGPU in a browser.
    Memory,
    /// Whether memory grows in many steps, natively and in a browser; also draws the figure in tests/results.
    Leak,
    /// Several devices and processes; over MPI where it is.
    Parallel,
    /// Many few-shot tasks in one computation, on the CPU and the GPU.
    Tasks,
    /// Networks that multiply bytes, beside the same in f32, on the CPU.
    Int8,
    /// A whole run of continual learning on the CPU, beside the same in PyTorch.
    Continual,
    /// In a browser, with the published package; needs `cargo xtask web`.
    Web,
}

impl Bench {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Memory => "memory",
            Self::Leak => "leak",
            Self::Parallel => "parallel",
            Self::Tasks => "tasks",
            Self::Int8 => "int8",
            Self::Continual => "continual",
            Self::Web => "web",
        }
    }

    /// What stands below the table's heading.
    const fn note(self) -> &'static str {
        match self {
            Self::Cpu | Self::Gpu => {
                "Times are of one training step with its loss read, those of single operations of the passes that are \
                 named. In each round every implementation of a workload takes `steps` steps, one after the other; \
                 `forgeling` and `burn` differ only in the operations of forgeling's own. `launches` are kernels \
                 launched in one step, MB moved those of the buffers that forgeling's own were given, MB at peak the \
                 most in use on the device at a launch, \
                 the weights of the other implementations of the workload included."
            }
            Self::Memory => {
                "What each way of saving memory saves and costs, natively and in headless Chromium. MB at peak are the most in \
                 use on the device at a launch in two training steps with Adam, one network alive; planned is what \
                 `MemoryPlan` says of it before anything is made. `stored in 16 bits` is f32 arithmetic with what waits for \
                 the backward pass packed to f16. Networks and batches are such that activations outweigh parameters and \
                 moments, which none of these ways makes smaller; those with one line have whatever batch, and show how \
                 near plans come. Checkpoints save nothing where one block needs nearly all, as Conv4's first, nor in a \
                 perceptron, whose layers keep little beside their inputs. Times are of one step with its loss read, \
                 taken in turns; here a ratio above 1 is slower than f32."
            }
            Self::Leak => {
                "Whether memory grows in training: 10,000 steps natively, 2,000 in headless Chromium, each with its loss read, \
                 after 50 that do not count. There are 20 samples; MB are those of the last one, B/step the slope of least \
                 squares through all of them. In use and reserved are the device's, on the CPU those of large buffers; the \
                 process is what the system says is resident, and in the browser the module's linear memory. Times are the \
                 mean of the steps before a sample. All samples are in `tests/results/memory_leak.json`, drawn in \
                 `tests/results/memory_leak.svg`."
            }
            Self::Parallel => {
                "Times are of one training step on a whole batch, which replicas and ranks share equally, with its loss read. \
                 `forgeling` is one device with all its threads. `sync` is the median time of a step in which no device \
                 computed: gradients averaged on the host, and the optimizer's step begun. Logical devices of one adapter \
                 share what it can compute, so that what they add is overhead. In each round every implementation takes \
                 `steps` steps, one after the other; MPI's ranks run alone afterwards."
            }
            Self::Tasks => {
                "A meta-step of MAML (exact second order) over 16 tasks with its loss read: `forgeling` has the parameters of \
                 all tasks side by side (`TaskLoss`), on the CPU as many at a time as its caches can use; `task by task` is \
                 the plain loop (`TaskByTaskLoss`). Both give the same loss and gradients within 1e-4."
            }
            Self::Int8 => {
                "Forward passes as in evaluation, of untrained networks: `forgeling` multiplies bytes, with all that rounds them and                  in f32 what is not rounded, `f32` is the same network before `compress::quantize`."
            }
            Self::Continual => {
                "Whole runs, as `forgeling continual run` and `tests/peers/torch_er.py` do them, in turns, reading and tests \
                 included: a perceptron 2 x 400, 2,000 batches of 128 of each of five contexts, 128 examples replayed at each \
                 step, the loss read. Each round has a seed of its own; accuracies are means over the rounds."
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

    /// What is run, one after the other.
    fn steps(self, workspace: &Workspace, options: &Options) -> Result<Vec<Step>> {
        let first = match self {
            Self::Web => web(workspace, options)?,
            _ => self.native(workspace, options)?,
        };
        let test = |name: &str| -> Result<Step> {
            let step = wasm_step(workspace)?;
            Ok(step.args(["--test", "web", "--", name, "--nocapture"]))
        };
        Ok(match self {
            Self::Memory if !options.smallest => {
                let test = test("sixteen_bits_and_checkpoints_save_memory")?;
                let rounds = options.rounds.unwrap_or(5).to_string();
                vec![first, test.env("FORGELING_MEMORY_ROUNDS", rounds)]
            }
            Self::Leak if !options.smallest => {
                let test = test("memory_does_not_grow_with_steps")?;
                vec![first, test.env("FORGELING_LEAK_STEPS", "2000")]
            }
            _ => vec![first],
        })
    }

    fn native(self, workspace: &Workspace, options: &Options) -> Result<Step> {
        let step = Step::new(program(workspace))
            .dir(workspace.root())
            .args([self.name(), "--json", "--burn-version"])
            .arg(workspace.locked_version("burn")?)
            .args(rounds(options));
        let step = if options.smallest {
            step.arg("--smallest")
        } else {
            step
        };
        // On a GPU PyTorch is a peer where it has CUDA.
        let peer = self == Self::Cpu || self == Self::Gpu && has_nvidia();
        if peer && !options.no_peers {
            Ok(step.arg("--python").arg(PYTORCH.ensure(workspace)?))
        } else {
            Ok(step)
        }
    }
}

fn web(workspace: &Workspace, options: &Options) -> Result<Step> {
    let npm = Npm::ensure(workspace)?;
    npm.install()?;
    let step = Step::new("node")
        .dir(workspace.root())
        .arg("www/packaging-tests/bench.mjs")
        .args(rounds(options))
        .env("CHROMIUM", Browser::ensure()?.binary());
    if options.no_peers {
        Ok(step.args(["--only", "forgeling"]))
    } else {
        npm.within("packaging-tests").install()?;
        Ok(step)
    }
}

/// The option, where it was given.
fn rounds(options: &Options) -> Vec<String> {
    let rounds = options.rounds.map(|rounds| rounds.to_string());
    rounds.map_or_else(Vec::new, |rounds| vec!["--rounds".into(), rounds])
}

/// Builds the programs of the native benchmarks, with those of several processes where there is `mpi`.
fn build(workspace: &Workspace, mpi: bool) -> Result<()> {
    // With the workspace's features: a package alone would build burn a second time.
    let step = Step::cargo()
        .dir(workspace.root())
        .args(["build", "--release", "--workspace", "--exclude", "xtask"])
        .args(["--bin", "forgeling-bench"]);
    if mpi {
        step.args([
            "--bin",
            "forgeling-mpi",
            "--features",
            "forgeling-tests/mpi",
        ])
        .run()
    } else {
        step.run()
    }
}

/// Builds the command, with the workspace's features.
fn build_command(workspace: &Workspace) -> Result<()> {
    Step::cargo()
        .dir(workspace.root())
        .args(["build", "--release", "--workspace", "--exclude", "xtask"])
        .args(["--bin", "forgeling"])
        .run()
}

/// The program of the native benchmarks.
fn program(workspace: &Workspace) -> PathBuf {
    let name = format!("forgeling-bench{}", std::env::consts::EXE_SUFFIX);
    workspace.target().join("release").join(name)
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
        if *bench == Bench::Continual {
            build_command(workspace)?;
        } else if *bench != Bench::Web {
            build(workspace, *bench == Bench::Parallel && ensure_mpi()?)?;
        }
        let (measurements, company) = measure(*bench, workspace, options)?;
        if !options.json {
            println!("{}", measurement::table(&measurements));
        }
        if !options.is_whole() {
            continue;
        }
        let section = Section {
            name: bench.name(),
            command: command(*bench, options),
            note: &note(*bench, company),
            date: date::today(),
            version: env!("CARGO_PKG_VERSION"),
            measurements: &measurements,
        };
        record(workspace, &section)?;
    }
    Ok(())
}

/// One round of the smallest workloads of every native benchmark: whether they run, not how fast. Those that need a GPU
/// run where `gpu` says that there is one, and PyTorch beside them where it [is installed](has_pytorch). All are tried, and
/// those that fail are named.
pub fn try_native(workspace: &Workspace, gpu: bool) -> Result<()> {
    let options = Options::once(!has_pytorch(workspace));
    build(workspace, ensure_mpi()?)?;
    build_command(workspace)?;
    let mut failed = Vec::new();
    for bench in Bench::value_variants() {
        let runs = match bench {
            Bench::Cpu | Bench::Int8 | Bench::Parallel | Bench::Continual => true,
            Bench::Gpu | Bench::Memory | Bench::Leak | Bench::Tasks => gpu,
            Bench::Web => false,
        };
        if runs && let Err(failure) = measure(*bench, workspace, &options) {
            failed.push(format!("{}: {failure}", bench.name()));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(failed.join("; ")))
    }
}

/// The same of the browser's benchmark, without peers; after `cargo xtask web`.
pub fn try_web(workspace: &Workspace) -> Result<()> {
    measure(Bench::Web, workspace, &Options::once(true)).map(drop)
}

/// Whether an earlier `cargo xtask bench` has installed PyTorch.
pub fn has_pytorch(workspace: &Workspace) -> bool {
    PYTORCH.is_installed(workspace)
}

/// Cores kept busy by others from which on the figures say so.
const COMPANY: f64 = 0.05;

/// How the figures were taken. What Chromium's processes use cannot be separated from what others use.
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
    let mut lines = Vec::new();
    let mut wrong = None;
    let company = Company::watch();
    let steps = match bench {
        Bench::Continual => {
            for line in continual::lines(workspace, options)? {
                if options.json {
                    println!("{line}");
                }
                measurements.push(Measurement::parse(&line)?);
            }
            Vec::new()
        }
        _ => bench.steps(workspace, options)?,
    };
    for step in steps {
        step.lines(|line| {
            // A browser's console may have put something before it.
            let Some(line) = line.find("{\"").map(|begin| &line[begin..]) else {
                eprintln!("{line}");
                return;
            };
            match Measurement::parse(line) {
                Ok(measurement) => {
                    if options.json {
                        println!("{line}");
                    } else {
                        eprintln!("{}", measurement.progress());
                    }
                    measurements.push(measurement);
                    lines.push(line.to_owned());
                }
                Err(failure) => wrong = Some(failure),
            }
        })?;
    }
    match wrong {
        Some(failure) => return Err(failure),
        None if measurements.is_empty() => {
            return Err(Failure::new(format!(
                "the benchmark `{}` measured nothing",
                bench.name()
            )));
        }
        None => {}
    }
    if bench == Bench::Leak && options.is_whole() {
        let path = workspace.root().join("tests/results/memory_leak.json");
        fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n")))
            .map_err(|cause| Failure::file("write", &path, &cause))?;
        let figure = Step::new(program(workspace)).arg("leak-figure");
        figure.arg(&path).run()?;
    }
    Ok((measurements, company.and_then(|company| company.cores())))
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
            rounds: None,
            smallest: false,
            ..Options::once(true)
        };
        assert!(options.is_whole() && !Options::once(true).is_whole());
        assert_eq!(
            command(Bench::Web, &options),
            "cargo xtask bench web --no-peers"
        );
    }
}
