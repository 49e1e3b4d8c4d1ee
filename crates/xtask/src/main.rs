//! The project's own commands, run as `cargo xtask <command>`.
//!
//! Every step prints the command it is about to run, so that each can be repeated by hand.

mod bench;
mod check;
mod data;
mod date;
mod demo;
mod error;
mod npm;
mod onnx;
mod package;
mod reproduce;
mod size;
mod stamps;
mod step;
mod test;
mod toolchain;
mod wasm_tests;
mod web;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Result;
use workspace::Workspace;

/// Checks, tests, builds and measures forgeling.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, lints (native, wasm32, macOS and Windows), documentation and TypeScript types.
    Check,
    /// Installs what is missing, then runs every test: native, in the browser, and of the npm package.
    Test(test::Options),
    /// Installs what the other commands need, and nothing else.
    Setup,
    /// Builds the WebAssembly module and the npm package around it.
    Web(web::Options),
    /// Gets a public data set for tests into the target directory, and prints the folder.
    Data(data::Options),
    /// Builds for the web and serves the demos on this machine.
    Demo(demo::Options),
    /// Runs the benchmarks and records them in BENCHMARKS.md.
    Bench(bench::Options),
    /// Runs a published experiment and records its figures in tests/results.
    Reproduce(reproduce::Options),
    /// Installs ONNX Runtime and tries exported networks in it; from then on, the tests do so too.
    Onnx,
    /// Says which crates the WebAssembly module's code comes from.
    Size,
    /// Builds for the web and packs the npm package into a .tgz file.
    Package(package::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match Workspace::find().and_then(|workspace| run(&workspace, cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(workspace: &Workspace, task: Task) -> Result<()> {
    match task {
        Task::Check => check::run(workspace),
        Task::Test(options) => test::run(workspace, &options),
        Task::Setup => toolchain::setup(workspace),
        Task::Web(options) => web::run(workspace, &options),
        Task::Data(options) => data::run(workspace, &options),
        Task::Demo(options) => demo::run(workspace, &options),
        Task::Bench(options) => bench::run(workspace, &options),
        Task::Reproduce(options) => reproduce::run(workspace, &options),
        Task::Onnx => onnx::run(workspace),
        Task::Size => size::run(workspace),
        Task::Package(options) => package::run(workspace, &options),
    }
}
