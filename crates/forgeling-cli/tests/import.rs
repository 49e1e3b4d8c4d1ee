//! Published weights, as a user types them.

mod common;

use std::path::Path;

use assert_cmd::Command;
use common::json;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// A small ResNet-18 by torchvision's names, for three classes.
const WEIGHTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/golden/weights.pth"
);

fn import(options: &[&str]) -> Command {
    let mut command = common::forgeling();
    command.args(["import", WEIGHTS, "--model", "resnet18"]);
    command.args(["--option", "width=1", "--input", "3x32x32"]);
    command.args(options);
    command
}

fn show(model: &Path) -> Command {
    let mut command = common::forgeling();
    command.arg("models").arg(model);
    command
}

#[test]
fn weights_become_a_model_file_with_a_card() {
    let folder = tempfile::tempdir().unwrap();
    let (names, out) = (
        folder.path().join("names.txt"),
        folder.path().join("model.safetensors"),
    );
    std::fs::write(&names, "cat\r\ndog\n\n owl \n").unwrap();
    let mut command = import(&["--source", "a test", "--license", "MIT"]);
    command.arg("--classes").arg(&names).arg("--out").arg(&out);
    let object = json(&mut command, 0);
    assert_eq!(object["command"], "import");
    assert_eq!(
        (&object["format"], &object["names"]),
        (&"PyTorch".into(), &"torchvision".into())
    );
    assert_eq!(
        (object["classes"].as_u64(), object["taken"].as_u64()),
        (Some(3), Some(102))
    );
    assert_eq!(object["model"], out.to_str().unwrap());

    let said = json(&mut show(&out), 0);
    assert_eq!(said["model"], "resnet18");
    assert_eq!(said["classes"], serde_json::json!(["cat", "dog", "owl"]));
    assert_eq!(said["card"]["license"], "MIT");
    assert_eq!(said["normalization"]["mean"][0], 0.485);
    assert_eq!(said["trained_values"], object["trained_values"]);
    let lines = [
        "cat, dog, owl",
        "3×32×32",
        "bilinear",
        "a test",
        "0.485",
        "stem.norm",
    ];
    let mut assert = show(&out).assert().success();
    for line in lines {
        assert = assert.stdout(contains(line));
    }
    // Other commands take it.
    let mut predict = common::forgeling();
    predict
        .args(["predict", "--device", "cpu", "--images"])
        .arg(folder.path());
    predict
        .arg("--model")
        .arg(&out)
        .assert()
        .code(3)
        .stderr(contains("image"));
}

#[test]
fn a_trial_writes_nothing_and_says_what_goes_where() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.safetensors");
    let mut command = import(&["--dry-run", "--out"]);
    let told = contains("layer2.0.downsample.0.weight -> blocks.2.shortcut.weight");
    command.arg(&out).assert().success().stdout(told);
    assert!(!out.exists());
    let object = json(&mut import(&["--dry-run"]), 0);
    assert_eq!(object["model"], Value::Null);
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (names, out) = (
        folder.path().join("names.txt"),
        folder.path().join("model.safetensors"),
    );
    std::fs::write(&names, "cat\ndog\n").unwrap();
    let with_names = |options: &[&str]| {
        let mut command = import(options);
        command.arg("--classes").arg(&names).arg("--out").arg(&out);
        command
    };
    let told = contains("fc.bias (expected [2], got [3])").and(contains("weights.pth"));
    with_names(&[]).assert().code(3).stderr(told);
    assert!(!out.exists());
    let object = json(&mut with_names(&["--head", "new"]), 0);
    assert_eq!(
        object["untrained"],
        serde_json::json!(["head.weight", "head.bias"])
    );
    assert!(out.exists());

    import(&[]).assert().code(2).stderr(contains("--out"));
    let junk = folder.path().join("junk.pth");
    std::fs::write(&junk, "PK\u{3}\u{4} but no archive").unwrap();
    let mut command = common::forgeling();
    command
        .args(["import", "--model", "resnet18", "--dry-run"])
        .arg(&junk);
    command.assert().code(3).stderr(contains("junk.pth"));
}
