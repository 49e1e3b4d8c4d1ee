//! wasm-bindgen's and wasm-pack's programs, in the target directory and not in the user's home.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::Result;
use crate::step::{Step, find_program};
use crate::workspace::Workspace;

/// wasm-pack runs any recent version; this one is tested.
const WASM_PACK: &str = "0.15.1";

/// Settings under which the tools are built, beside the level of optimisation: building counts.
const QUICK_BUILD: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

/// Programs that are ready to run.
pub struct Tools {
    /// The folder to put first in `PATH`, so that wasm-pack finds wasm-bindgen and downloads nothing.
    pub folder: PathBuf,
    /// wasm-pack's program.
    pub wasm_pack: PathBuf,
}

/// Finds or builds the tools. The version of wasm-bindgen is the lock file's, as the two must agree.
pub fn ensure(workspace: &Workspace) -> Result<Tools> {
    let root = workspace.target().join("xtask-tools");
    let bindgen_version = workspace.locked_version("wasm-bindgen")?;
    // Its TLS stack is for downloads that never happen here.
    let bindgen = ensure_tool(
        &root,
        &Tool {
            package: "wasm-bindgen-cli",
            program: "wasm-bindgen",
            version: &bindgen_version,
            optimization: "1",
            options: &["--no-default-features"],
        },
    )?;
    let wasm_pack = ensure_tool(
        &root,
        &Tool {
            package: "wasm-pack",
            program: "wasm-pack",
            version: WASM_PACK,
            // It only starts other programs.
            optimization: "0",
            options: &[],
        },
    )?;
    let folder = bindgen.parent().map_or_else(PathBuf::new, Path::to_owned);
    Ok(Tools { folder, wasm_pack })
}

struct Tool<'a> {
    package: &'a str,
    program: &'a str,
    version: &'a str,
    optimization: &'a str,
    options: &'a [&'a str],
}

fn ensure_tool(root: &Path, tool: &Tool<'_>) -> Result<PathBuf> {
    let program = format!("{}{}", tool.program, std::env::consts::EXE_SUFFIX);
    let own = root.join("bin").join(program);
    if has_version(&own, tool) {
        return Ok(own);
    }
    if let Some(installed) = find_program(tool.program).filter(|path| has_version(path, tool)) {
        return Ok(installed);
    }
    eprintln!(
        "{} {} is missing: building it once, which takes a few minutes",
        tool.package, tool.version
    );
    let started = Instant::now();
    let mut step = Step::cargo()
        .args(["install", "--force", tool.package])
        .args(["--version", &format!("={}", tool.version)])
        .args(tool.options)
        .arg("--root")
        .arg(root)
        .arg("--target-dir")
        .arg(root.join("build"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", tool.optimization);
    for (key, value) in QUICK_BUILD {
        step = step.env(key, value);
    }
    step.run()?;
    eprintln!("{} took {} s", tool.package, started.elapsed().as_secs());
    Ok(own)
}

fn has_version(program: &Path, tool: &Tool<'_>) -> bool {
    Step::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|text| text.split_whitespace().nth(1) == Some(tool.version))
}
