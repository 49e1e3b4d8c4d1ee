//! The standard library of another target than this machine's, which rustup downloads.

use std::fs;
use std::path::Path;

use crate::error::{Failure, Result};
use crate::step::Step;

/// Finds the library of `target`, or has rustup add it.
pub fn ensure(target: &str) -> Result<()> {
    if is_there(target) {
        return Ok(());
    }
    eprintln!("the standard library of {target} is missing: asking rustup for it");
    Step::new("rustup")
        .args(["target", "add", target])
        .env("RUSTUP_MAX_RETRIES", "1")
        .run()?;
    if is_there(target) {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "rustup added {target}, but rustc does not find its library"
        )))
    }
}

/// Whether the caller's compiler has the library of `target`.
pub fn is_there(target: &str) -> bool {
    Step::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .is_ok_and(|folder| has_libraries(Path::new(folder.trim())))
}

/// Whether `folder` has all that a test is built on; `test` itself is needed by the tests in the browser.
pub fn has_libraries(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    ["libcore-", "libstd-", "libtest-"].iter().all(|prefix| {
        names
            .iter()
            .filter_map(|name| name.to_str())
            .any(|name| name.starts_with(prefix) && name.ends_with(".rlib"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_folder_needs_all_three() {
        let folder = std::env::temp_dir().join(format!("xtask-std-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["libcore-1.rlib", "libstd-1.rlib", "libtest-1.rmeta"] {
            fs::write(folder.join(name), "").unwrap();
        }
        assert!(!has_libraries(&folder));
        fs::write(folder.join("libtest-1.rlib"), "").unwrap();
        assert!(has_libraries(&folder));
        fs::remove_dir_all(&folder).unwrap();
        assert!(!has_libraries(&folder));
    }

    #[test]
    fn a_target_that_does_not_exist_is_an_error() {
        assert!(!is_there("no-such-target"));
        assert!(ensure("no-such-target").is_err());
    }
}
