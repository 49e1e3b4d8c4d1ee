//! Node.js and npm in `www/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::Result;
use crate::step::{Step, find_program};
use crate::toolchain::system;
use crate::workspace::Workspace;

/// The oldest major version that `www/package.json` allows.
const OLDEST_NODE: u32 = 20;

/// npm, ready to run in `www/`.
pub struct Npm {
    folder: PathBuf,
}

impl Npm {
    /// Finds or installs Node.js and npm.
    pub fn ensure(workspace: &Workspace) -> Result<Self> {
        system::ensure(
            &format!("Node.js {OLDEST_NODE} or later"),
            "nodejs",
            "install it from https://nodejs.org",
            || node_version().filter(|version| *version >= OLDEST_NODE),
        )?;
        system::ensure("npm", "npm", "install it with Node.js", || {
            find_program("npm").or_else(|| find_program_cmd("npm"))
        })?;
        Ok(Self {
            folder: workspace.www(),
        })
    }

    /// The same npm in a folder of `www/` with a lock file of its own.
    pub fn within(&self, folder: &str) -> Self {
        Self {
            folder: self.folder.join(folder),
        }
    }

    /// Installs the locked packages, unless the ones there are newer than the lock file.
    pub fn install(&self) -> Result<()> {
        let lock = modified(&self.folder.join("package-lock.json"));
        let installed = modified(&self.folder.join("node_modules").join(".package-lock.json"));
        if is_current(installed, lock) {
            return Ok(());
        }
        self.step().arg("ci").run()
    }

    /// Runs a script of `www/package.json`.
    pub fn script(&self, name: &str) -> Result<()> {
        self.script_step(name).run()
    }

    /// A script of `www/package.json`, to be given more arguments or variables.
    pub fn script_step(&self, name: &str) -> Step {
        self.step().args(["run", name])
    }

    /// npm in `www/`.
    pub fn step(&self) -> Step {
        let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
        Step::new(program).dir(&self.folder)
    }
}

fn node_version() -> Option<u32> {
    let text = Step::new("node").arg("--version").output().ok()?;
    major(&text)
}

fn major(version: &str) -> Option<u32> {
    let numbers = version.trim().strip_prefix('v')?;
    numbers.split('.').next()?.parse().ok()
}

fn find_program_cmd(name: &str) -> Option<PathBuf> {
    if !cfg!(windows) {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(format!("{name}.cmd")))
        .find(|file| file.is_file())
}

/// When a file was last written, if it is there.
pub fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Whether `product` is there and not older than the `source` it was made from.
pub fn is_current(product: Option<SystemTime>, source: Option<SystemTime>) -> bool {
    product.is_some_and(|product| source.is_none_or(|source| product >= source))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn packages_older_than_the_lock_are_installed_again() {
        let early = SystemTime::UNIX_EPOCH;
        let late = early + Duration::from_secs(1);
        assert!(is_current(Some(late), Some(early)));
        assert!(is_current(Some(early), None));
        assert!(!is_current(Some(early), Some(late)));
        assert!(!is_current(None, Some(early)));
    }

    #[test]
    fn node_says_its_version_with_a_v() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("20.1.0"), None);
        assert_eq!(major(""), None);
    }
}
