//! Lists a folder tree in a fixed order, within bounds.

use std::path::{Path, PathBuf};

use super::limits::{Limits, name_of};
use crate::error::{Error, Result};

/// One thing in a folder.
pub(super) struct Child {
    pub name: String,
    pub path: PathBuf,
    pub is_folder: bool,
}

/// Whether a name is of what systems and programs leave behind, or hidden.
pub(super) fn is_clutter(name: &str) -> bool {
    const LEFT_BEHIND: [&str; 8] = [
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "desktop.ini",
    ];
    name.starts_with('.') || LEFT_BEHIND.contains(&name.to_ascii_lowercase().as_str())
}

/// What lies directly in `folder`, sorted by name, links followed, clutter left out.
pub(super) fn children(
    operation: &'static str,
    folder: &Path,
    limits: &Limits,
) -> Result<Vec<Child>> {
    let io = |path: &Path, cause: std::io::Error| Error::io(operation, path, &cause);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|cause| io(folder, cause))? {
        let path = entry.map_err(|cause| io(folder, cause))?.path();
        let name = name_of(operation, &path)?;
        if is_clutter(&name) {
            continue;
        }
        if found.len() >= limits.entries {
            return Err(too_many(operation, limits).path(folder));
        }
        let metadata = std::fs::metadata(&path).map_err(|cause| io(&path, cause))?;
        found.push(Child {
            name,
            is_folder: metadata.is_dir(),
            path,
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The files below `root`, each with its name and those of the folders that lead to it.
pub(super) fn files(
    operation: &'static str,
    root: &Path,
    limits: &Limits,
) -> Result<Vec<(Vec<String>, PathBuf)>> {
    let mut walk = Walk {
        operation,
        limits,
        names: Vec::new(),
        above: Vec::new(),
        files: Vec::new(),
        seen: 0,
    };
    walk.visit(root)?;
    Ok(walk.files)
}

struct Walk<'a> {
    operation: &'static str,
    limits: &'a Limits,
    /// The names from the root to here.
    names: Vec<String>,
    /// The real places of the folders from the root to here.
    above: Vec<PathBuf>,
    files: Vec<(Vec<String>, PathBuf)>,
    seen: usize,
}

impl Walk<'_> {
    fn visit(&mut self, folder: &Path) -> Result<()> {
        let place = std::fs::canonicalize(folder)
            .map_err(|cause| Error::io(self.operation, folder, &cause))?;
        if self.above.contains(&place) {
            let message = "a link leads back to a folder that holds it";
            return Err(Error::bad_data(self.operation, message).path(folder));
        }
        if self.above.len() > self.limits.depth {
            return Err(
                Error::bad_data(self.operation, "the folders are nested too deeply")
                    .expected(format!("at most {} levels", self.limits.depth))
                    .path(folder),
            );
        }
        self.above.push(place);
        for child in children(self.operation, folder, self.limits)? {
            self.seen += 1;
            if self.seen > self.limits.entries {
                return Err(too_many(self.operation, self.limits).path(folder));
            }
            self.names.push(child.name);
            if child.is_folder {
                self.visit(&child.path)?;
            } else {
                self.files.push((self.names.clone(), child.path));
            }
            self.names.pop();
        }
        self.above.pop();
        Ok(())
    }
}

pub(super) fn too_many(operation: &'static str, limits: &Limits) -> Error {
    Error::bad_data(operation, "there are too many files")
        .expected(format!("at most {}", limits.entries))
}
