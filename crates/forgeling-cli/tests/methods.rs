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

/// The header without seconds, and the bytes of the weights.
fn model(path: &Path) -> (String, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let (header, weights) = bytes[8..].split_at(length);
    let header = String::from_utf8(header.to_vec()).unwrap();
    let at = header.find("seconds").expect("a summary");
    let rest = &header[at..];
    let end = rest.find([',', '}']).unwrap();
    (
        format!("{}{}", &header[..at], rest[end..].trim_end()),
        weights.to_vec(),
    )
}

#[test]
fn a_run_that_was_killed_goes_on_and_ends_where_one_run_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let train = |out: &Path, options: &[&str]| {
        let mut command = forgeling("train");
        command
            .args(["--data", "glyphs", "--episodes", "120", "--filters", "8"])
            .args(["--size", "16", "--shots", "1", "--queries", "3", "--ema"])
            .args(["--validation-data", "glyphs", "--validate-every", "25"])
            .args(["--validation-episodes", "4", "--patience", "99", "--out"])
            .arg(out)
            .args(options);
        command
    };
    let run = path("run");
    let kept = [
        "--checkpoint-every",
        "7",
        "--checkpoint-dir",
        run.to_str().unwrap(),
    ];
    let at_once = json(&mut train(&path("whole"), &[]), 0);
    assert_eq!(at_once["steps"], 120);

    // Killed as soon as there is something to go on from.
    let mut first = std::process::Command::new(train(&path("parts"), &kept).get_program());
    let command = train(&path("parts"), &kept);
    let mut child = first
        .args(command.get_args())
        .env_remove("FORGELING_DEVICE")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let saved = || {
        let files = std::fs::read_dir(&run).into_iter().flatten().flatten();
        let mut names = files.map(|file| file.file_name().into_string().unwrap());
        names.any(|name| name.ends_with(".safetensors"))
    };
    while !saved() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(saved() && !path("parts").exists(), "killed on the way");

    let second = json(&mut train(&path("parts"), &kept), 0);
    let resumed = second["resumed_from"].as_u64().unwrap();
    assert!((7..120).contains(&resumed), "{second}");
    for key in [
        "steps",
        "episodes",
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
    ] {
        assert_eq!(second[key], at_once[key], "{key}");
    }
    assert!(
        model(&path("parts")) == model(&path("whole")),
        "the model files differ"
    );

    // Once more there is nothing left to do; longer, and it goes on; another run is refused, unless it begins anew.
    train(&path("parts"), &kept)
        .assert()
        .success()
        .stdout(contains("Going on after step 120"));
    let longer = json(train(&path("parts"), &kept).args(["--minutes", "1e-6"]), 0);
    assert_eq!(
        (&longer["resumed_from"], &longer["steps"]),
        (&120.into(), &120.into())
    );
    for (options, name) in [
        (["--learning-rate", "0.5"], "learning rate schedule"),
        (["--seed", "1"], "model"),
        (["--ways", "4"], "model"),
        (["--batch-episodes", "2"], "episodes of a step"),
    ] {
        let error = json(train(&path("parts"), &kept).args(options), 3);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("another {name}; --restart")),
            "{error}"
        );
    }
    let mut anew = train(&path("anew"), &kept);
    anew.args(["--learning-rate", "0.5", "--restart"]);
    let anew = json(&mut anew, 0);
    assert_eq!(anew["resumed_from"], serde_json::Value::Null);
    assert_eq!(
        anew["moved_checkpoints"],
        run.join("old-1").to_str().unwrap()
    );
    forgeling("train")
        .args(["--data", "glyphs", "--out", "x", "--restart"])
        .assert()
        .code(2)
        .stderr(contains("--checkpoint-dir"));
}
