//! Photographs of things, cut out, from the stamps of Tux Paint: Debian's package `tuxpaint-stamps-default`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::{create, debian_package, entries, remove};
use crate::error::{Failure, Result};
use crate::workspace::Workspace;

/// Folders of the package that hold photographs of one kind of thing, what that is called, and the least number of them.
const CLASSES: [(&str, &str, usize); 7] = [
    ("animals/birds", "birds", 30),
    ("animals/fish", "fish", 10),
    ("animals/mammals/bovines", "bovines", 14),
    ("food/fruit", "fruit", 20),
    ("food/vegetables", "vegetables", 15),
    ("household/tools", "tools", 12),
    ("plants/flowers", "flowers", 20),
];

/// The folder with one folder of photographs for each class, which is fetched unless it is there.
///
/// # Errors
/// When there is no apt-get, and when the package cannot be got or has other contents.
pub fn ensure(workspace: &Workspace, dir: Option<&Path>) -> Result<PathBuf> {
    let data = workspace.target().join("data");
    let folder = dir.map_or_else(|| data.join("stamps"), Path::to_path_buf);
    if CLASSES
        .iter()
        .all(|&(_, class, least)| is_whole(&folder.join(class), least))
    {
        eprintln!("stamps are there");
        return Ok(folder);
    }
    let package = data.join("stamps-package");
    remove(&package)?;
    create(&package)?;
    debian_package("tuxpaint-stamps-default", &package)?;
    let stamps = package.join("usr/share/tuxpaint/stamps");
    for (from, class, least) in CLASSES {
        let (from, to) = (stamps.join(from), folder.join(class));
        let photographs = photographs(&from)?;
        if photographs.len() < least {
            let message = format!("{} has fewer than {least} photographs", from.display());
            return Err(Failure::new(message));
        }
        create(&to)?;
        for photograph in photographs {
            let name = photograph.file_name().unwrap_or_default();
            let copy = to.join(name);
            fs::copy(&photograph, &copy).map_err(|cause| Failure::file("write", &copy, &cause))?;
        }
    }
    remove(&package)?;
    Ok(folder)
}

fn is_whole(folder: &Path, least: usize) -> bool {
    photographs(folder).is_ok_and(|found| found.len() >= least)
}

/// The photographs of a folder, by name, of which none is another one turned round.
fn photographs(folder: &Path) -> Result<Vec<PathBuf>> {
    entries(folder, |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".png") && !name.ends_with("_mirror.png")
    })
}
