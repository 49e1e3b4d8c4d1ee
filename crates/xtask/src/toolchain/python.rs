//! A virtual environment with the Python packages that the benchmarks compare with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Failure, Result};
use crate::step::{Step, find_program};
use crate::toolchain::system;
use crate::workspace::Workspace;

/// The oldest Python that PyTorch's current releases run on.
const OLDEST: (u32, u32) = (3, 10);

/// Whether the environment is there already, with what the benchmarks want now.
pub fn is_installed(workspace: &Workspace) -> bool {
    fs::read_to_string(requirements(workspace))
        .is_ok_and(|wanted| is_current(&folder(workspace), &wanted))
}

/// Finds or makes the environment and returns its Python. Only PyTorch's wheels are installed, from wherever
/// pip is configured to look; the system's own packages stay as they are.
pub fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let requirements = requirements(workspace);
    let wanted = fs::read_to_string(&requirements)
        .map_err(|cause| Failure::file("read", &requirements, &cause))?;
    let folder = folder(workspace);
    let python = python_of(&folder);
    if is_current(&folder, &wanted) {
        return Ok(python);
    }
    let base = system::ensure(
        &format!("Python {}.{} or later", OLDEST.0, OLDEST.1),
        "python3",
        "install it from https://www.python.org",
        find_python,
    )?;
    eprintln!(
        "installing {} into {}: some hundred MB, and on Linux, where the usual wheels carry CUDA, about 5 GB; \
         PIP_EXTRA_INDEX_URL can name an index with wheels for the CPU alone",
        wanted.trim().replace('\n', ", "),
        folder.display()
    );
    make(&base, &folder)?;
    Step::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .arg("--disable-pip-version-check")
        .arg("--requirement")
        .arg(&requirements)
        .run()?;
    let stamp = stamp(&folder);
    fs::write(&stamp, wanted).map_err(|cause| Failure::file("write", &stamp, &cause))?;
    Ok(python)
}

fn requirements(workspace: &Workspace) -> PathBuf {
    workspace.root().join("tests/peers/requirements.txt")
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("python-peers")
}

/// Written last, so that an interrupted installation is done again.
fn stamp(folder: &Path) -> PathBuf {
    folder.join("forgeling-requirements.txt")
}

fn is_current(folder: &Path, wanted: &str) -> bool {
    python_of(folder).is_file()
        && fs::read_to_string(stamp(folder)).is_ok_and(|installed| installed == wanted)
}

/// Debian keeps what `venv` needs in a package of its own.
fn make(base: &Path, folder: &Path) -> Result<()> {
    let venv = || {
        Step::new(base)
            .args(["-m", "venv", "--clear"])
            .arg(folder)
            .run()
    };
    venv().or_else(|failure| {
        if !system::has_apt() {
            return Err(failure);
        }
        system::apt_install(&["python3-venv"])?;
        venv()
    })
}

fn python_of(folder: &Path) -> PathBuf {
    if cfg!(windows) {
        folder.join("Scripts").join("python.exe")
    } else {
        folder.join("bin").join("python")
    }
}

/// A Python that is new enough, if there is one.
pub fn find_python() -> Option<PathBuf> {
    ["python3", "python"].iter().find_map(|name| {
        let program = find_program(name)?;
        let text = Step::new(&program).arg("--version").output().ok()?;
        (version(&text)? >= OLDEST).then_some(program)
    })
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("Python ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_says_its_version() {
        assert_eq!(version("Python 3.11.7\n"), Some((3, 11)));
        assert!(version("Python 3.9.2").unwrap() < OLDEST);
        assert_eq!(version("3.11"), None);
        assert_eq!(version(""), None);
    }
}
