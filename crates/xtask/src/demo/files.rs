//! From the address of a request to a file below the root, and never to one outside.

use std::fs;
use std::path::{Path, PathBuf};

/// What an address leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A file and its MIME type.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its MIME type.
        kind: &'static str,
    },
    /// A folder without its final slash, which relative links need.
    Redirect(String),
    /// Nothing that may be served.
    Nothing,
}

/// Looks `address` up below `root`; a folder stands for its `index.html`.
pub fn find(root: &Path, address: &str) -> Found {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let Some(relative) = relative(path) else {
        return Found::Nothing;
    };
    let wanted = root.join(relative);
    if wanted.is_dir() && !path.ends_with('/') {
        // One slash only: `//host` would send the browser to another host.
        return Found::Redirect(format!("/{}/", path.trim_matches('/')));
    }
    let wanted = if wanted.is_dir() {
        wanted.join("index.html")
    } else {
        wanted
    };
    // A link may lead out of the root where its name does not.
    match (fs::canonicalize(root), fs::canonicalize(wanted)) {
        (Ok(root), Ok(path)) if path.starts_with(&root) && path.is_file() => Found::File {
            kind: mime(&path),
            path,
        },
        _ => Found::Nothing,
    }
}

/// The path below the root, or nothing if it could lead out of it on any system.
fn relative(path: &str) -> Option<PathBuf> {
    let decoded = decode(path)?;
    let mut relative = PathBuf::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            // Backslashes, drives and streams mean something on Windows.
            _ if part.contains(['\\', ':', '\0']) => return None,
            _ => relative.push(part),
        }
    }
    Some(relative)
}

/// Decodes `%xx`; nothing if that is malformed or not UTF-8.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn mime(path: &Path) -> &'static str {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    match extension.as_str() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "txt" | "md" | "ts" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mime_types_that_browsers_insist_on() {
        assert_eq!(mime(Path::new("a/forgeling_bg.wasm")), "application/wasm");
        assert_eq!(mime(Path::new("x.mjs")), "text/javascript; charset=utf-8");
        assert_eq!(mime(Path::new("x.HTML")), "text/html; charset=utf-8");
        assert_eq!(mime(Path::new("model")), "application/octet-stream");
    }

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(relative("/a/./b//c.js"), Some(PathBuf::from("a/b/c.js")));
        assert_eq!(relative("/a%20b"), Some(PathBuf::from("a b")));
        assert_eq!(relative("/"), Some(PathBuf::new()));
        for bad in [
            "/../x",
            "/a/../../x",
            "/%2e%2e/x",
            "/a%2f..%2f..%2fx",
            "/..%5cx",
            "/C:/x",
            "/a%00",
            "/%zz",
            "/%2",
            "/%ff",
        ] {
            assert_eq!(relative(bad), None, "{bad}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_out_are_refused() {
        let folder = std::env::temp_dir().join(format!("xtask-link-{}", std::process::id()));
        let root = folder.join("www");
        fs::create_dir_all(root.join("node_modules")).unwrap();
        fs::create_dir_all(root.join("package")).unwrap();
        fs::write(root.join("package/a.js"), "").unwrap();
        fs::write(folder.join("secret"), "").unwrap();
        let link = std::os::unix::fs::symlink::<PathBuf, PathBuf>;
        link(root.join("package"), root.join("node_modules/forgeling")).unwrap();
        link(folder.clone(), root.join("up")).unwrap();
        assert!(matches!(
            find(&root, "/node_modules/forgeling/a.js"),
            Found::File { .. }
        ));
        assert_eq!(find(&root, "/up/secret"), Found::Nothing);
        assert_eq!(
            find(&root, "//package"),
            Found::Redirect("/package/".into())
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
