//! Few-shot methods side by side, as a user types it.

mod common;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use common::json;
use predicates::str::contains;

fn forgeling(command: &str) -> Command {
    let mut forgeling = common::forgeling();
    forgeling.args(["fewshot", command, "--device", "cpu"]);
    forgeling
}

const METHODS: &str = "protonet,simpleshot,anil";

/// Methods on 200 episodes of small images each.
fn compare(methods: &str, out: &Path) -> Command {
    let mut command = forgeling("compare");
    command
        .args(["--methods", methods, "--data", "glyphs"])
        .args(["--episodes", "200", "--filters", "8", "--size", "16"])
        .args(["--shots", "1", "--queries", "5", "--train-ways", "10"])
        .args(["--test-episodes", "30", "--test-queries", "4", "--out"])
        .arg(out);
    command
}

fn written(path: PathBuf) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn methods_are_compared_on_the_same_episodes_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("methods");
    let object = json(&mut compare(METHODS, &out), 0);
    let rows = object["rows"].as_array().unwrap();
    let names: Vec<(&str, bool)> = rows
        .iter()
        .map(|row| {
            let transductive = row["transductive"].as_bool().unwrap();
            (row["method"].as_str().unwrap(), transductive)
        })
        .collect();
    // What adapts is tested both ways.
    let expected = [
        ("protonet", false),
        ("simpleshot", false),
        ("anil", false),
        ("anil", true),
    ];
    assert_eq!(names, expected);
    for row in rows {
        let [accuracy, ci95] = ["accuracy", "ci95"].map(|key| row[key].as_f64().unwrap());
        assert!(accuracy > 0.2 && ci95 > 0.0 && ci95 < 0.2, "{row}");
        assert_eq!(row["episodes"], 200);
        assert!(row["episodes_per_second"].as_f64().unwrap() > 0.0, "{row}");
    }
    // Chance is a fifth.
    assert!(rows[0]["accuracy"].as_f64().unwrap() > 0.4, "{}", rows[0]);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for words in ["<svg", "simpleshot", "transductive", "Calibration"] {
        assert!(page.contains(words), "no {words} in the report");
    }

    // The model on the very same episodes, and others on them.
    let episodes = out.join("episodes.json");
    let eval = |model: &str| {
        let mut command = forgeling("eval");
        command.args(["--data", "glyphs", "--model"]);
        command.arg(out.join(model)).arg("--replay").arg(&episodes);
        command
    };
    for (model, row) in [("protonet.safetensors", 0), ("anil.safetensors", 2)] {
        let found = json(&mut eval(model), 0);
        assert_eq!(found["accuracy"], rows[row]["accuracy"], "{model}");
        assert_eq!(found["episodes"], 30);
    }

    // What is done is not done again, unless its settings change.
    let kept = written(out.join("anil.safetensors"));
    let again = json(&mut compare(METHODS, &out), 0);
    assert_eq!(again["rows"], object["rows"]);
    assert_eq!(written(out.join("anil.safetensors")), kept);
    let mut faster = compare("protonet", &out);
    let other = json(faster.args(["--learning-rate", "0.002"]), 0);
    assert_eq!(other["rows"].as_array().map(Vec::len), Some(1));
    assert_ne!(other["rows"][0]["accuracy"], object["rows"][0]["accuracy"]);
}

#[test]
fn episodes_are_saved_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let [model, episodes] = ["m.safetensors", "e.json"].map(|name| folder.path().join(name));
    forgeling("train")
        .args(["--method", "matching", "--data", "glyphs", "--filters", "8"])
        .args(["--size", "16", "--episodes", "20", "--queries", "3"])
        .args(["--train-ways", "7", "--out"])
        .arg(&model)
        .assert()
        .success()
        .stdout(contains(
            "Training matching on 1000 classes of 1×16×16 images, augmented: 7-way 5-shot",
        ));
    let eval = |rest: &[&str]| {
        let mut command = forgeling("eval");
        command.args(["--data", "glyphs", "--model"]).arg(&model);
        command.args(rest);
        json(&mut command, 0)
    };
    let path = episodes.to_str().unwrap();
    let report = folder.path().join("report");
    let sizes = [
        "--ways",
        "6",
        "--shots",
        "2",
        "--episodes",
        "20",
        "--seed",
        "4",
    ];
    let saved = eval(&[&sizes[..], &["--save-episodes", path]].concat());
    let replayed = eval(&["--replay", path, "--report", report.to_str().unwrap()]);
    for key in ["ways", "shots", "accuracies", "classes"] {
        assert_eq!(saved[key], replayed[key], "{key}");
    }
    assert!(report.join("report.html").exists());

    std::fs::write(&episodes, "{\"version\": 1").unwrap();
    let mut broken = forgeling("eval");
    broken.args(["--data", "glyphs", "--model"]).arg(&model);
    let error = json(broken.args(["--replay", path]), 3);
    assert_eq!(error["error"]["code"], "bad_data", "{error}");
    assert_eq!(error["error"]["path"], path, "{error}");
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("methods");
    let refused = |mut command: Command, code: i32, words: &str| {
        command.assert().code(code).stderr(contains(words));
        assert!(!out.join("protonet.safetensors").exists(), "{words}");
    };
    refused(compare("protonets", &out), 2, "unknown method");
    // `--train-ways` and the like may be given once only.
    let with = |option: &str, value: &str| {
        let mut command = forgeling("compare");
        command.args(["--methods", "protonet", "--data", "glyphs"]);
        command.args(["--episodes", "1", option, value, "--out"]);
        command.arg(&out);
        command
    };
    refused(with("--train-ways", "1001"), 3, "class");
    refused(with("--train-ways", "0"), 3, "classes in an episode");
    refused(with("--test-episodes", "0"), 3, "episode");
}
