//! The .tgz file that is published to npm.

use std::fs;

use clap::Args;

use crate::error::{Failure, Result};
use crate::npm::Npm;
use crate::step::Step;
use crate::web;
use crate::workspace::Workspace;

/// What rustc's wasm32 target and our flags use; wasm-opt refuses a module with anything it is not told of.
const FEATURES: &[&str] = &[
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-simd",
];

/// How to pack.
#[derive(Args)]
pub struct Options {
    /// Run wasm-opt of npm's `binaryen` over the module, which takes minutes.
    #[arg(long)]
    optimize: bool,
}

/// Builds for the web and packs the package.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    web::run(workspace, &web::Options::RELEASE)?;
    if options.optimize {
        optimize(workspace)?;
        web::sizes(workspace)?;
    }
    let folder = workspace.target().join("package");
    fs::create_dir_all(&folder)
        .map_err(|cause| Failure::file("create the folder", &folder, &cause))?;
    let mut name = String::new();
    Npm::ensure(workspace)?
        .step()
        .args(["pack", "--workspace", "forgeling", "--pack-destination"])
        .arg(&folder)
        .lines(|line| {
            if line.ends_with(".tgz") {
                name = line.to_owned();
            }
        })?;
    if name.is_empty() {
        return Err(Failure::new("npm pack did not name the file it wrote"));
    }
    println!("{}", folder.join(name).display());
    Ok(())
}

fn optimize(workspace: &Workspace) -> Result<()> {
    let script = workspace
        .www()
        .join("node_modules")
        .join("binaryen")
        .join("bin")
        .join("wasm-opt");
    if !script.is_file() {
        return Err(Failure::new(
            "wasm-opt is missing: run `npm install --no-save binaryen` in www/",
        ));
    }
    let wasm = workspace.www().join("package/wasm/forgeling_bg.wasm");
    let optimized = wasm.with_extension("optimized");
    Step::new("node")
        .arg(&script)
        .arg("-O")
        .args(FEATURES)
        .arg(&wasm)
        .arg("--output")
        .arg(&optimized)
        .run()?;
    fs::rename(&optimized, &wasm).map_err(|cause| Failure::file("replace", &wasm, &cause))
}
