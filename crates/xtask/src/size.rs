//! What the WebAssembly module is made of: bytes of code for each crate.

use std::collections::BTreeMap;
use std::fs;

use crate::error::{Failure, Result};
use crate::step::Step;
use crate::toolchain::wasm_std;
use crate::workspace::Workspace;

/// Crates shown; the rest is one line.
const SHOWN: usize = 15;

/// Builds the module with its function names, which a release strips, and prints a table.
pub fn run(workspace: &Workspace) -> Result<()> {
    let rust = wasm_std::ensure(workspace)?;
    // Only the last step, linking, differs from the release; in that folder cargo reads the profile of pages.
    rust.apply(Step::cargo().dir(&workspace.wasm_crate()))
        .args(["rustc", "--release", "--package", "forgeling-wasm", "--lib"])
        .args(["--crate-type", "cdylib", "--target", wasm_std::TARGET])
        .args(["--", "-C", "strip=none"])
        .run()?;
    let path = rust
        .target(workspace)
        .join(wasm_std::TARGET)
        .join("release/forgeling_wasm.wasm");
    let bytes = fs::read(&path).map_err(|cause| Failure::file("read", &path, &cause))?;
    let module = Module::parse(&bytes)
        .ok_or_else(|| Failure::new(format!("{} is not a WebAssembly module", path.display())))?;
    print!("{}", module.table());
    Ok(())
}

/// Sizes of the sections and of the crates' code.
struct Module {
    code: usize,
    data: usize,
    crates: BTreeMap<String, (usize, usize)>,
}

impl Module {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(b"\0asm\x01\0\0\0")?);
        let (mut imports, mut bodies, mut data) = (0, Vec::new(), 0);
        let mut names = BTreeMap::new();
        while !reader.0.is_empty() {
            let id = reader.byte()?;
            let length = reader.number()?;
            let mut section = Reader(reader.take(length)?);
            match id {
                0 if section.text()? == "name" => names = function_names(section)?,
                2 => imports = function_imports(section)?,
                10 => {
                    for _ in 0..section.number()? {
                        let length = section.number()?;
                        section.take(length)?;
                        bodies.push(length);
                    }
                }
                11 => data = length,
                _ => {}
            }
        }
        let mut crates: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (index, length) in bodies.iter().enumerate() {
            let name = names.get(&(imports + index)).map_or("", String::as_str);
            let entry = crates.entry(crate_of(name)).or_default();
            *entry = (entry.0 + length, entry.1 + 1);
        }
        Some(Self {
            code: bodies.iter().sum(),
            data,
            crates,
        })
    }

    fn table(&self) -> String {
        let mut rows: Vec<_> = self.crates.iter().collect();
        rows.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
        let line = |name: &str, bytes: usize, functions: String| {
            let share = 100.0 * bytes as f64 / self.code.max(1) as f64;
            format!(
                "| {name} | {:.2} | {share:.1} % | {functions} |\n",
                bytes as f64 / 1e6
            )
        };
        let mut table =
            String::from("| crate | MB of code | share | functions |\n|---|--:|--:|--:|\n");
        for (name, (bytes, functions)) in rows.iter().take(SHOWN) {
            table += &line(name, *bytes, functions.to_string());
        }
        let rest = rows
            .iter()
            .skip(SHOWN)
            .fold((0, 0), |sum, row| (sum.0 + row.1.0, sum.1 + row.1.1));
        table += &line("others", rest.0, rest.1.to_string());
        table += &line("all code", self.code, String::new());
        table += &format!("\nData: {:.2} MB.\n", self.data as f64 / 1e6);
        table
    }
}

/// The crate a demangled name begins with: that of the type for `<Type as Trait>::method`, and the first one
/// outside the standard library where there is one, since `Vec<T>` is there for the sake of `T`.
fn crate_of(name: &str) -> String {
    let words = name.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let crates = words
        // A word that begins with colons goes on with the path before it.
        .filter_map(|word| word.split_once("::"))
        .map(|word| word.0);
    let mut standard = None;
    for name in crates.filter(|name| !name.is_empty()) {
        if !["core", "alloc", "std"].contains(&name) {
            return name.to_string();
        }
        standard.get_or_insert(name);
    }
    standard.unwrap_or("unnamed").to_string()
}

fn function_imports(mut section: Reader<'_>) -> Option<usize> {
    let mut functions = 0;
    for _ in 0..section.number()? {
        section.text()?;
        section.text()?;
        match section.byte()? {
            0 => {
                section.number()?;
                functions += 1;
            }
            // Tables, memories and globals are few, and limits are the only part of varying length.
            1 => {
                section.byte()?;
                section.limits()?;
            }
            2 => section.limits()?,
            3 => {
                section.take(2)?;
            }
            _ => return None,
        }
    }
    Some(functions)
}

fn function_names(mut section: Reader<'_>) -> Option<BTreeMap<usize, String>> {
    let mut names = BTreeMap::new();
    while !section.0.is_empty() {
        let id = section.byte()?;
        let length = section.number()?;
        let mut part = Reader(section.take(length)?);
        // 1: functions.
        if id == 1 {
            for _ in 0..part.number()? {
                let index = part.number()?;
                names.insert(index, rustc_demangle::demangle(part.text()?).to_string());
            }
        }
    }
    Some(names)
}

/// Reads the binary format's few shapes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// LEB128.
    fn number(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return usize::try_from(number).ok();
            }
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn limits(&mut self) -> Option<()> {
        let flags = self.byte()?;
        self.number()?;
        if flags & 1 == 1 {
            self.number()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_the_first_crate_that_is_not_the_standard_library() {
        assert_eq!(crate_of("burn_flex::ops::conv::conv2d::h12"), "burn_flex");
        assert_eq!(
            crate_of("<alloc::vec::Vec<naga::Span> as core::clone::Clone>::clone"),
            "naga"
        );
        assert_eq!(crate_of("core::fmt::write"), "core");
        assert_eq!(crate_of("memcpy"), "unnamed");
    }

    #[test]
    fn code_is_counted_by_the_names_of_its_functions() {
        // No imports, two functions of 4 and 2 bytes, and their names.
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([10, 9, 2, 4, 0, 0x41, 0, 0x0b, 2, 0, 0x0b]);
        let names = b"\x04name\x01\x0d\x02\x00\x04a::f\x01\x04b::g";
        module.extend([0, names.len() as u8]);
        module.extend(names);
        let module = Module::parse(&module).unwrap();
        assert_eq!(module.code, 6);
        assert_eq!(module.crates["a"], (4, 1));
        assert_eq!(module.crates["b"], (2, 1));
        assert!(Module::parse(b"not wasm").is_none());
    }
}
