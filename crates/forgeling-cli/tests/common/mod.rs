//! The command, and the object that it prints.

use assert_cmd::Command;
use serde_json::Value;

pub fn forgeling() -> Command {
    let mut command = Command::cargo_bin("forgeling").unwrap();
    command.env_remove("FORGELING_DEVICE");
    command
}

/// Runs with `--json` and gives the one object that was printed.
pub fn json(command: &mut Command, code: i32) -> Value {
    let output = command.arg("--json").assert().code(code);
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert_eq!(
        text.lines().count(),
        1,
        "one line on standard output: {text}"
    );
    serde_json::from_str(&text).unwrap()
}
