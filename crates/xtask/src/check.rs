//! What can be found without running anything: formatting, lints, documentation, types.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::error::Result;
use crate::npm::{Npm, is_current, modified};
use crate::step::{Step, find_program};
use crate::toolchain::{rust_std, wasm_std};
use crate::workspace::Workspace;

/// Platforms that tests do not run on here.
const ELSEWHERE: &[&str] = &["aarch64-apple-darwin", "x86_64-pc-windows-gnu"];

/// Checks everything, cheap things first, and stops at the first failure.
pub fn run(workspace: &Workspace) -> Result<()> {
    let cargo = || Step::cargo().dir(workspace.root());
    cargo().args(["fmt", "--all", "--check"]).run()?;
    cargo()
        .args(["clippy", "--release", "--workspace", "--all-targets"])
        .args(["--", "-D", "warnings"])
        .run()?;
    // The bindings are generated from an MPI library's headers, so that there is nothing to check without one.
    if find_program("mpicc").is_some() {
        cargo()
            .args(["clippy", "--release", "--workspace", "--all-targets"])
            .args(["--features", "forgeling-tests/mpi"])
            .args(["--", "-D", "warnings"])
            .run()?;
    } else {
        eprintln!("skipped: what is behind the cargo feature mpi needs an MPI library");
    }
    let rust = wasm_std::ensure(workspace)?;
    rust.apply(cargo())
        .args(["clippy", "--release", "--package", "forgeling-wasm"])
        .args(["--lib", "--tests", "--target", wasm_std::TARGET])
        .args(["--", "-D", "warnings"])
        .run()?;
    for target in ELSEWHERE {
        // Nothing is linked, so that the library is all that is needed of the platform.
        if let Err(failure) = rust_std::ensure(target) {
            eprintln!("skipped: whether everything compiles for {target}: {failure}");
            continue;
        }
        cargo()
            .args(["clippy", "--release", "--workspace", "--all-targets"])
            .args(["--target", target, "--", "-D", "warnings"])
            .run()?;
    }
    // All libraries at once, so that burn is checked with the features clippy has checked it with.
    cargo()
        .args(["doc", "--release", "--workspace", "--lib", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    types(workspace)
}

/// The wrapper is typed against what wasm-bindgen generates, so there is nothing to check before a build.
fn types(workspace: &Workspace) -> Result<()> {
    let generated = workspace.www().join("package/wasm/forgeling.d.ts");
    let sources = workspace.wasm_crate().join("src");
    if !is_current(modified(&generated), newest(&sources)) {
        eprintln!(
            "skipped: the TypeScript types need a web build of these sources; \
             `cargo xtask test` makes one and checks them"
        );
        return Ok(());
    }
    let npm = Npm::ensure(workspace)?;
    npm.install()?;
    npm.step()
        .args(["exec", "--workspace", "forgeling", "--"])
        .args(["tsc", "--noEmit", "--project", "tsconfig.json"])
        .run()
}

/// When the newest file of a folder was written.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.filter_map(|entry| modified(&entry.path())).max()
}
