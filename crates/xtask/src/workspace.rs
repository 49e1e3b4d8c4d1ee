//! Where things are: the workspace, its lock file, its target directory.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Failure, Result};

/// The workspace this command was started in.
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Walks up from the current folder to the `Cargo.toml` that lists this crate.
    pub fn find() -> Result<Self> {
        let current = env::current_dir()
            .map_err(|cause| Failure::new(format!("cannot tell the current folder: {cause}")))?;
        let root = current
            .ancestors()
            .find(|folder| is_root(folder))
            .ok_or_else(|| {
                Failure::new(format!(
                    "{} is not inside the forgeling workspace",
                    current.display()
                ))
            })?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) if !folder.is_empty() => current.join(folder),
            _ => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The folder of the workspace's `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory, absolute.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The npm workspace.
    pub fn www(&self) -> PathBuf {
        self.root.join("www")
    }

    /// The crate that wasm-pack builds.
    pub fn wasm_crate(&self) -> PathBuf {
        self.root.join("crates").join("forgeling-wasm")
    }

    /// The version of `package` in `Cargo.lock`.
    pub fn locked_version(&self, package: &str) -> Result<String> {
        let path = self.root.join("Cargo.lock");
        let text =
            fs::read_to_string(&path).map_err(|cause| Failure::file("read", &path, &cause))?;
        locked_version(&text, package)
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("Cargo.lock has no package `{package}`")))
    }
}

fn is_root(folder: &Path) -> bool {
    folder.join("crates").join("xtask").is_dir()
        && fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
}

/// Finds the first `version` line that follows `name = "package"` in the same table.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    lock.split("[[package]]").skip(1).find_map(|table| {
        (value(table, "name")? == package)
            .then(|| value(table, "version"))
            .flatten()
    })
}

fn value<'a>(table: &'a str, key: &str) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let (name, text) = line.split_once(" = ")?;
        (name == key).then(|| text.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"version = 4

[[package]]
name = "wasm-bindgen-futures"
version = "0.4.80"
dependencies = [
 "wasm-bindgen",
]

[[package]]
name = "wasm-bindgen"
version = "0.2.130"
source = "registry+https://example.org"
"#;

    #[test]
    fn version_is_of_the_exact_package() {
        assert_eq!(locked_version(LOCK, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(LOCK, "wasm-bindgen-futures"), Some("0.4.80"));
        assert_eq!(locked_version(LOCK, "wasm-bindgen-test"), None);
    }

    #[test]
    fn crlf_lock_files_are_read_too() {
        let lock = LOCK.replace('\n', "\r\n");
        assert_eq!(locked_version(&lock, "wasm-bindgen"), Some("0.2.130"));
    }

    #[test]
    fn this_workspace_is_found_from_a_folder_within() {
        // Where cargo starts tests; a path known to the compiler may be of another clone with this target directory.
        let crate_folder = std::env::current_dir().unwrap();
        let root = crate_folder.ancestors().find(|folder| is_root(folder));
        assert_eq!(root, crate_folder.parent().and_then(Path::parent));
    }
}
