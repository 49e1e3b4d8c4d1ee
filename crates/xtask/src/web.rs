//! The WebAssembly module and the npm package around it.

use std::fs;
use std::path::Path;

use clap::Args;

use crate::error::{Failure, Result};
use crate::npm::Npm;
use crate::step::Step;
use crate::toolchain::{tools, wasm_std};
use crate::workspace::Workspace;

/// Prints the sizes of a file as it is, and compressed as web servers do it. Brotli's best level takes
/// minutes for a module of this size, so the number is of level 9.
const SIZES: &str = "
const { readFileSync } = require('node:fs');
const { gzipSync, brotliCompressSync, constants: c } = require('node:zlib');
const raw = readFileSync(process.argv[1]);
const brotli = brotliCompressSync(raw, { params: {
  [c.BROTLI_PARAM_QUALITY]: 9, [c.BROTLI_PARAM_SIZE_HINT]: raw.length } });
const mb = (bytes) => (bytes.length / 1e6).toFixed(2) + ' MB';
console.log('size: ' + mb(raw) + ', gzip ' + mb(gzipSync(raw, { level: 9 })) + ', brotli ' + mb(brotli));
";

/// How to build for the web.
#[derive(Args)]
pub struct Options {
    /// Build without optimisation, with assertions and debug names.
    #[arg(long)]
    dev: bool,
}

impl Options {
    /// The build that is published.
    pub const RELEASE: Self = Self { dev: false };
}

/// Builds the module, then the package and the demos.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let npm = Npm::ensure(workspace)?;
    module(workspace, options)?;
    npm.install()?;
    npm.script("build")?;
    sizes(workspace)
}

/// Prints the size of the module.
pub fn sizes(workspace: &Workspace) -> Result<()> {
    let wasm = workspace.www().join("package/wasm/forgeling_bg.wasm");
    eprintln!("{}", wasm.display());
    let sizes = Step::new("node").args(["-e", SIZES]).arg(&wasm).output()?;
    println!("{}", sizes.trim());
    Ok(())
}

fn module(workspace: &Workspace, options: &Options) -> Result<()> {
    let rust = wasm_std::ensure(workspace)?;
    let tools = tools::ensure(workspace)?;
    let out = workspace.www().join("package").join("wasm");
    rust.apply(Step::new(&tools.wasm_pack))
        .path_first(&tools.folder)?
        .arg("build")
        .arg(workspace.wasm_crate())
        .arg(if options.dev { "--dev" } else { "--release" })
        .args(["--target", "web", "--mode", "no-install", "--no-opt"])
        .args(["--no-pack", "--no-gitignore"])
        .arg("--out-dir")
        .arg(&out)
        .args(["--out-name", "forgeling"])
        .run()?;
    // Left by a wasm-pack that was run by hand; npm would take them for a package and obey them.
    for name in ["package.json", ".gitignore"] {
        remove(&out.join(name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file("remove", path, &cause))
        }
        _ => Ok(()),
    }
}
