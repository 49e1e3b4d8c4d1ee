//! Every test, natively, in the browser and of the published package.

use std::fmt;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::bench;
use crate::error::{Failure, Result};
use crate::npm::Npm;
use crate::onnx;
use crate::reproduce;
use crate::step::Step;
use crate::toolchain::system::{Browser, ensure_mpi, ensure_spirv_val, ensure_vulkan};
use crate::wasm_tests::wasm_step;
use crate::web;
use crate::workspace::Workspace;

/// Which tests to run.
#[derive(Args)]
pub struct Options {
    /// Run only this part. May be given more than once.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
}

/// A part that can be run on its own.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// cargo test on the CPU and, on Linux, on Vulkan in software.
    Native,
    /// wasm-pack test in headless Chromium.
    Wasm,
    /// The web build, the npm package's tests and the demo in a browser.
    Browser,
}

/// Runs the parts asked for, goes on after failures, and sums up.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let wants = |part| options.only.is_empty() || options.only.contains(&part);
    let mut summary = Summary::default();
    if wants(Part::Native) {
        native(workspace, &mut summary);
    } else {
        summary.skip("native tests", "not asked for");
    }
    if wants(Part::Wasm) {
        summary.run("wasm tests in Chromium", || wasm(workspace));
    } else {
        summary.skip("wasm tests in Chromium", "not asked for");
    }
    if wants(Part::Browser) {
        browser(workspace, &mut summary);
    } else {
        summary.skip("npm package and demo", "not asked for");
    }
    eprintln!("\n{summary}");
    summary.judge()
}

fn native(workspace: &Workspace, summary: &mut Summary) {
    let cargo = || {
        Step::cargo()
            .dir(workspace.root())
            .args(["test", "--release"])
    };
    // On its own and first: Windows cannot replace the program that is running here.
    summary.run("tests of xtask", || {
        cargo().args(["--package", "xtask"]).run()
    });
    let everything = || {
        cargo()
            .args(["--workspace", "--exclude", "xtask"])
            .arg("--no-fail-fast")
    };
    if cfg!(target_os = "linux") {
        summary.run("native tests, CPU and Vulkan", || {
            ensure_vulkan()?;
            ensure_spirv_val()?;
            everything().env("FORGELING_TEST_VULKAN", "1").run()
        });
        summary.run("tests over MPI", || {
            ensure_mpi()?;
            // With the workspace's features, so that burn is not built again.
            cargo()
                .args(["--workspace", "--exclude", "xtask"])
                .args(["--features", "forgeling-tests/mpi", "--test", "mpi"])
                .run()
        });
        // After those, which have built what they are run with.
        summary.run("one round of the native benchmarks", || {
            bench::try_native(workspace, true)
        });
    } else {
        summary.run("native tests", || everything().run());
        summary.skip("Vulkan in software", "only Linux has lavapipe");
        summary.skip("tests over MPI", "OpenMPI is installed on Linux only");
        summary.run("one round of the native benchmarks", || {
            bench::try_native(workspace, false)
        });
        summary.skip("benchmarks on a GPU", "only Linux has lavapipe");
    }
    summary.run("miniatures of reproductions", || {
        reproduce::miniatures(workspace)
    });
    if onnx::is_installed(workspace) {
        summary.run("exports in ONNX Runtime", || onnx::run(workspace));
    } else {
        let reason = "not installed, which `cargo xtask onnx` does";
        summary.skip("exports in ONNX Runtime", reason);
    }
    if !bench::has_pytorch(workspace) {
        let reason = "not installed, which `cargo xtask bench cpu` does";
        summary.skip("benchmarks beside PyTorch", reason);
    }
}

fn wasm(workspace: &Workspace) -> Result<()> {
    wasm_step(workspace)?.run()
}

fn browser(workspace: &Workspace, summary: &mut Summary) {
    if !summary.run("web build", || web::run(workspace, &web::Options::RELEASE)) {
        summary.skip("npm package and demo", "the web build failed");
        return;
    }
    summary.run("npm unit tests", || {
        Npm::ensure(workspace)?.step().arg("test").run()
    });
    for (name, script) in [
        ("packaging tests", "test:packaging"),
        ("demo in Chromium", "test:browser"),
    ] {
        summary.run(name, || {
            let browser = Browser::ensure()?;
            Npm::ensure(workspace)?
                .script_step(script)
                .env("CHROMIUM", browser.binary())
                .run()
        });
    }
    summary.run("one round of the browser's benchmark", || {
        bench::try_web(workspace)
    });
}

enum Outcome {
    Passed(Duration),
    Failed(Duration, Failure),
    Skipped(&'static str),
}

#[derive(Default)]
struct Summary(Vec<(&'static str, Outcome)>);

impl Summary {
    /// Runs one entry and returns whether it passed.
    fn run(&mut self, name: &'static str, body: impl FnOnce() -> Result<()>) -> bool {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let result = body();
        let elapsed = started.elapsed();
        let passed = result.is_ok();
        let outcome = match result {
            Ok(()) => Outcome::Passed(elapsed),
            Err(failure) => {
                eprintln!("error: {failure}");
                Outcome::Failed(elapsed, failure)
            }
        };
        self.0.push((name, outcome));
        passed
    }

    fn skip(&mut self, name: &'static str, reason: &'static str) {
        self.0.push((name, Outcome::Skipped(reason)));
    }

    fn judge(&self) -> Result<()> {
        let failed: Vec<_> = self
            .0
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Failed(..)))
            .map(|(name, _)| *name)
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!("failed: {}", failed.join(", "))))
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.0 {
            let (word, elapsed) = match outcome {
                Outcome::Passed(elapsed) => ("passed", elapsed),
                Outcome::Failed(elapsed, _) => ("FAILED", elapsed),
                Outcome::Skipped(reason) => {
                    writeln!(f, "skipped {:>8}  {name}: {reason}", "")?;
                    continue;
                }
            };
            let seconds = format!("{:.1} s", elapsed.as_secs_f64());
            writeln!(f, "{word:<7} {seconds:>8}  {name}")?;
            if let Outcome::Failed(_, failure) = outcome {
                writeln!(f, "{:>18}{failure}", "")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_tells_failures_and_skips() {
        let mut summary = Summary::default();
        assert!(summary.run("good", || Ok(())));
        assert!(summary.judge().is_ok());
        assert!(!summary.run("bad", || Err(Failure::new("it broke"))));
        summary.skip("absent", "no driver");
        let text = summary.to_string();
        assert!(text.contains("passed") && text.contains("it broke"));
        assert!(text.contains("absent: no driver"));
        assert_eq!(summary.judge().unwrap_err().to_string(), "failed: bad");
    }
}
