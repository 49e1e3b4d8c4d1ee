//! A Rust toolchain with the standard library of wasm32-unknown-unknown.
//!
//! Where rustup cannot download it, Debian's `rustc-web` and the sources it ships are used instead: the
//! library is built once and put beside the compiler's own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::rust_std::{self, has_libraries};
use super::system;
use crate::error::{Failure, Result};
use crate::step::{Step, find_program};
use crate::workspace::Workspace;

/// The target triple of everything for the web.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// rustup's name for the compiler of Debian's packages.
const DEBIAN: &str = "debian";
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy"];
const RUSTLIB: &str = "/usr/lib/rustlib";
/// Beside the library: the compiler it was built by, as no other can read it.
const STAMP: &str = "built-by";

/// The toolchain that builds for wasm32.
pub enum WasmRust {
    /// The caller's own.
    Current,
    /// Debian's, with a target directory of its own so that neither invalidates the other's builds.
    Debian {
        /// That directory.
        target: PathBuf,
    },
}

impl WasmRust {
    /// Makes `step` use this toolchain.
    pub fn apply(&self, step: Step) -> Step {
        match self {
            Self::Current => step,
            Self::Debian { target } => step
                .env("CARGO_TARGET_DIR", target)
                .env("RUSTUP_TOOLCHAIN", DEBIAN),
        }
    }

    /// The target directory its builds end in.
    pub fn target<'a>(&'a self, workspace: &'a Workspace) -> &'a Path {
        match self {
            Self::Current => workspace.target(),
            Self::Debian { target } => target,
        }
    }
}

/// Finds or installs the toolchain.
pub fn ensure(workspace: &Workspace) -> Result<WasmRust> {
    if rust_std::is_there(TARGET) {
        return Ok(WasmRust::Current);
    }
    if debian_is_ready() {
        return debian(workspace);
    }
    match rust_std::ensure(TARGET) {
        Ok(()) => Ok(WasmRust::Current),
        Err(_) if system::has_apt() => {
            eprintln!("rustup cannot add it: building it with Debian's compiler and sources");
            build_with_debian(workspace)?;
            debian(workspace)
        }
        Err(failure) => Err(failure),
    }
}

fn debian_folder() -> PathBuf {
    Path::new(RUSTLIB).join(TARGET).join("lib")
}

fn debian_version() -> Option<String> {
    Step::new("/usr/bin/rustc").arg("-vV").output().ok()
}

fn debian_is_ready() -> bool {
    has_debian_std() && linker().exists()
}

fn has_debian_std() -> bool {
    let stamp = fs::read_to_string(debian_folder().join(STAMP)).ok();
    stamp.is_some() && stamp == debian_version() && has_libraries(&debian_folder())
}

/// Makes rustup know Debian's compiler, which is ready.
fn debian(workspace: &Workspace) -> Result<WasmRust> {
    if find_program("rustup").is_some() {
        let known = Step::new("rustup").args(["toolchain", "list"]).output()?;
        if !known
            .lines()
            .any(|line| line.split_whitespace().next() == Some(DEBIAN))
        {
            Step::new("rustup")
                .args(["toolchain", "link", DEBIAN, "/usr"])
                .run()?;
        }
    }
    Ok(WasmRust::Debian {
        target: workspace.target().join("wasm-debian"),
    })
}

fn build_with_debian(workspace: &Workspace) -> Result<()> {
    let present = Path::new("/usr/lib/rustlib/src/rust/library/std/Cargo.toml").exists()
        && ["rustc", "cargo", "cargo-clippy"]
            .iter()
            .all(|program| Path::new("/usr/bin").join(program).exists())
        && Step::new("/usr/bin/rustc")
            .args(["--print", "target-list"])
            .output()
            .is_ok_and(|list| list.contains(TARGET));
    if !present {
        system::apt_install(PACKAGES)?;
    }
    if !has_debian_std() {
        let started = Instant::now();
        let scratch = workspace.target().join("wasm-std");
        let built = build_std(&scratch)?;
        install_std(&built)?;
        remove_folder(&scratch)?;
        let seconds = started.elapsed().as_secs();
        eprintln!("the standard library of {TARGET} took {seconds} s");
    }
    link_linker()
}

/// Builds the library as a dependency of an empty crate and returns the folder of the results.
fn build_std(scratch: &Path) -> Result<PathBuf> {
    remove_folder(scratch)?;
    create_folder(&scratch.join("src"))?;
    let manifest =
        "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
    write(&scratch.join("Cargo.toml"), manifest)?;
    write(&scratch.join("src").join("lib.rs"), "")?;
    Step::new("/usr/bin/cargo")
        .args(["build", "--release", "--target", TARGET])
        .arg("-Zbuild-std=std,panic_abort,test")
        .env("CARGO_TARGET_DIR", scratch.join("target"))
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .dir(scratch)
        .run()?;
    Ok(scratch
        .join("target")
        .join(TARGET)
        .join("release")
        .join("deps"))
}

fn install_std(built: &Path) -> Result<()> {
    let folder = debian_folder();
    remove_folder(&folder)?;
    create_folder(&folder)?;
    let entries =
        fs::read_dir(built).map_err(|cause| Failure::file("read the folder", built, &cause))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_library = name
            .to_str()
            .is_some_and(|name| name.ends_with(".rlib") && !name.starts_with("libscratch-"));
        if is_library {
            fs::copy(entry.path(), folder.join(&name))
                .map_err(|cause| Failure::file("copy a library to", &folder, &cause))?;
        }
    }
    if !has_libraries(&folder) {
        return Err(Failure::new(format!(
            "the build of the standard library left none in {}",
            built.display()
        )));
    }
    let version =
        debian_version().ok_or_else(|| Failure::new("/usr/bin/rustc does not tell its version"))?;
    write(&folder.join(STAMP), &version)
}

fn linker() -> PathBuf {
    Path::new(RUSTLIB).join(host()).join("bin").join("rust-lld")
}

fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Debian's package has no linker for wasm32; rustup's toolchain of the same machine has.
fn link_linker() -> Result<()> {
    if linker().exists() {
        return Ok(());
    }
    let sysroot = Step::new("rustc").args(["--print", "sysroot"]).output()?;
    let source = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(host())
        .join("bin");
    let destination = Path::new(RUSTLIB).join(host()).join("bin");
    create_folder(&destination)?;
    for name in ["rust-lld", "gcc-ld"] {
        if !source.join(name).exists() {
            return Err(Failure::new(format!(
                "{} is missing: the linker for {TARGET} comes with rustup's toolchain",
                source.join(name).display()
            )));
        }
        link(&source.join(name), &destination.join(name))?;
    }
    Ok(())
}

#[cfg(unix)]
fn link(source: &Path, destination: &Path) -> Result<()> {
    // A link that dangles is left from a toolchain that was removed.
    if destination.is_symlink() {
        fs::remove_file(destination)
            .map_err(|cause| Failure::file("remove", destination, &cause))?;
    }
    std::os::unix::fs::symlink(source, destination)
        .map_err(|cause| Failure::file("link", destination, &cause))
}

#[cfg(not(unix))]
fn link(_: &Path, destination: &Path) -> Result<()> {
    Err(Failure::new(format!(
        "{} is a place of Debian's",
        destination.display()
    )))
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(Failure::file("remove the folder", folder, &cause))
        }
        _ => Ok(()),
    }
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|cause| Failure::file("create the folder", folder, &cause))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|cause| Failure::file("write", path, &cause))
}
