//! Virtual environments with Python packages that the library is compared with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Failure, Result};
use crate::step::{Step, find_program};
use crate::toolchain::system;
use crate::workspace::Workspace;

/// A virtual environment in the target directory.
pub struct Environment {
    /// The list of its packages, with their versions.
    requirements: &'static str,
    /// Its folder.
    folder: &'static str,
    /// The oldest Python that these packages run on.
    oldest: (u32, u32),
    /// How much there is to download.
    size: &'static str,
}

/// What the benchmarks compare with.
pub const PYTORCH: Environment = Environment {
    requirements: "tests/peers/requirements.txt",
    folder: "python-peers",
    oldest: OLDEST,
    size: "some hundred MB, and on Linux, where the usual wheels carry CUDA, about 5 GB; \
           PIP_EXTRA_INDEX_URL can name an index with wheels for the CPU alone",
};

/// What exported networks are tried in.
pub const ONNX: Environment = Environment {
    requirements: "tests/golden/onnx_requirements.txt",
    folder: "python-onnx",
    oldest: (3, 11),
    size: "about 60 MB",
};

/// The oldest Python that PyTorch's current releases run on.
const OLDEST: (u32, u32) = (3, 10);

impl Environment {
    /// Whether the environment is there already, with what is wanted now.
    pub fn is_installed(&self, workspace: &Workspace) -> bool {
        fs::read_to_string(self.requirements(workspace))
            .is_ok_and(|wanted| is_current(&self.folder(workspace), &wanted))
    }

    /// Finds or makes the environment and returns its Python. Only wheels are installed, from wherever pip is
    /// configured to look; the system's own packages stay as they are.
    pub fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        let requirements = self.requirements(workspace);
        let wanted = fs::read_to_string(&requirements)
            .map_err(|cause| Failure::file("read", &requirements, &cause))?;
        let folder = self.folder(workspace);
        let python = python_of(&folder);
        if is_current(&folder, &wanted) {
            return Ok(python);
        }
        let base = system::ensure(
            &format!("Python {}.{} or later", self.oldest.0, self.oldest.1),
            "python3",
            "install it from https://www.python.org",
            || find_since(self.oldest),
        )?;
        eprintln!(
            "installing {} into {}: {}",
            wanted.trim().replace('\n', ", "),
            folder.display(),
            self.size
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

    fn requirements(&self, workspace: &Workspace) -> PathBuf {
        workspace.root().join(self.requirements)
    }

    fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.target().join(self.folder)
    }
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

/// A Python of the last years, if there is one.
pub fn find_python() -> Option<PathBuf> {
    find_since(OLDEST)
}

fn find_since(oldest: (u32, u32)) -> Option<PathBuf> {
    ["python3", "python"].iter().find_map(|name| {
        let program = find_program(name)?;
        let text = Step::new(&program).arg("--version").output().ok()?;
        (version(&text)? >= oldest).then_some(program)
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
