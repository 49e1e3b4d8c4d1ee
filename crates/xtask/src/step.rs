//! One command of a task: printed in full, then run without a shell.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::error::{Failure, Result};

/// A command with its environment, printed before it is run.
pub struct Step {
    command: Command,
    folder: Option<String>,
    variables: Vec<String>,
    words: Vec<String>,
}

impl Step {
    /// A step that runs `program`, looked up in `PATH` unless it is a path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        // `cargo run` describes this crate in variables that must not reach the builds started here.
        for (key, _) in env::vars_os() {
            if is_of_cargo_run(&key) {
                command.env_remove(key);
            }
        }
        Self {
            command,
            folder: None,
            variables: Vec::new(),
            words: vec![quoted(program)],
        }
    }

    /// `cargo` with the toolchain of the caller.
    pub fn cargo() -> Self {
        Self::new("cargo")
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.words.push(quoted(argument.as_ref()));
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref();
        self.variables.push(format!("{key}={}", quoted(value)));
        self.command.env(key, value);
        self
    }

    /// Puts `folder` first in `PATH`.
    pub fn path_first(mut self, folder: &Path) -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder.to_path_buf()).chain(env::split_paths(&path));
        let joined = env::join_paths(folders)
            .map_err(|cause| Failure::new(format!("cannot extend PATH: {cause}")))?;
        self.command.env("PATH", joined);
        self.variables
            .push(format!("PATH={}:$PATH", quoted(folder.as_os_str())));
        Ok(self)
    }

    /// Runs in `folder`.
    pub fn dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self.folder = Some(quoted(folder.as_os_str()));
        self
    }

    /// The command as one would type it.
    fn label(&self) -> String {
        let words = self.variables.iter().chain(&self.words);
        let line = words.map(String::as_str).collect::<Vec<_>>().join(" ");
        match &self.folder {
            Some(folder) => format!("(cd {folder} && {line})"),
            None => line,
        }
    }

    /// Prints the command, runs it, and fails if it does.
    pub fn run(mut self) -> Result<()> {
        eprintln!("$ {}", self.label());
        let status = self.command.status();
        self.judge(status)
    }

    /// Runs without printing and returns standard output; the command's own messages are kept quiet.
    pub fn output(mut self) -> Result<String> {
        self.command.stdin(Stdio::null()).stderr(Stdio::null());
        let output = self.command.output();
        let text = output
            .as_ref()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let text = text.unwrap_or_default();
        self.judge(output.map(|output| output.status))?;
        Ok(text)
    }

    /// Prints the command, runs it, and hands over standard output line by line.
    pub fn lines(mut self, mut each: impl FnMut(&str)) -> Result<()> {
        eprintln!("$ {}", self.label());
        let child = self.command.stdout(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(cause) => return self.judge(Err(cause)),
        };
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.map_err(|cause| {
                    Failure::new(format!("cannot read from `{}`: {cause}", self.label()))
                })?;
                each(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            }
        }
        let status = child.wait();
        self.judge(status)
    }

    fn judge(&self, status: std::io::Result<ExitStatus>) -> Result<()> {
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(format!("`{}` failed: {status}", self.label()))),
            Err(cause) => Err(Failure::new(format!(
                "cannot start `{}`: {cause}",
                self.label()
            ))),
        }
    }
}

fn is_of_cargo_run(key: &OsStr) -> bool {
    let key = key.to_string_lossy();
    key.starts_with("CARGO_PKG_")
        || matches!(
            &*key,
            "CARGO" | "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH" | "CARGO_PRIMARY_PACKAGE"
        )
}

/// Quotes for reading and for pasting into a POSIX shell.
fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%\\".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    let mut out = String::from("'");
    for c in text.chars() {
        if c == '\'' {
            let _ = write!(out, "'\\''");
        } else {
            out.push(c);
        }
    }
    out.push('\'');
    out
}

/// The full path of `program` in `PATH`.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut name = OsString::from(program);
    name.push(env::consts::EXE_SUFFIX);
    env::split_paths(&path)
        .map(|folder| folder.join(&name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_shows_the_exact_command() {
        let step = Step::new("cargo")
            .args(["doc", "--no-deps"])
            .dir(Path::new("a b"))
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            step.label(),
            "(cd 'a b' && RUSTDOCFLAGS='-D warnings' cargo doc --no-deps)"
        );
    }

    #[test]
    fn quotes_survive_quoting() {
        assert_eq!(quoted(OsStr::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(OsStr::new("")), "''");
        assert_eq!(quoted(OsStr::new("a/b-c=1")), "a/b-c=1");
    }

    #[test]
    fn output_is_captured_and_failure_is_told() {
        let version = Step::cargo().arg("--version").output().unwrap();
        assert!(version.starts_with("cargo "), "{version}");
        let failure = Step::cargo().arg("--no-such-flag").output().unwrap_err();
        assert!(failure.to_string().contains("cargo --no-such-flag"));
        let absent = Step::new("no-such-program-here").run().unwrap_err();
        assert!(absent.to_string().starts_with("cannot start"));
    }

    #[test]
    fn lines_come_one_by_one() {
        let mut lines = Vec::new();
        Step::cargo()
            .arg("--version")
            .lines(|line| lines.push(line.to_owned()))
            .unwrap();
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].ends_with('\n'));
    }
}
