//! Supervised training, its plans and its profile, as a user types them.

mod common;

use std::path::Path;

use assert_cmd::Command;
use common::json;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn forgeling(arguments: &[&str]) -> Command {
    let mut command = common::forgeling();
    command.args(arguments);
    command
}

const MLP: [&str; 9] = [
    "train",
    "--device",
    "cpu",
    "--model",
    "mlp",
    "--data",
    "glyphs",
    "--per-class",
    "50",
];

/// A perceptron on glyphs, with the options given.
fn mlp(out: &Path, options: &[&str]) -> Command {
    let mut command = forgeling(&MLP);
    command.args(options).arg("--out").arg(out);
    command
}

fn number(object: &Value, key: &str) -> f64 {
    let value = object[key].as_f64();
    value.unwrap_or_else(|| panic!("{key} in {object}"))
}

#[test]
fn a_network_learns_glyphs_and_its_file_is_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("glyphs.safetensors");
    let mut train = forgeling(&[
        "train", "--device", "cpu", "--model", "conv4", "--width", "16",
    ]);
    train
        .args(["--data", "glyphs", "--epochs", "3", "--batch-size", "32"])
        .args(["--learning-rate", "0.005", "--out"])
        .arg(&model);
    let object = json(&mut train, 0);
    assert_eq!(object["command"], "train");
    assert_eq!(object["network"], "conv4");
    assert_eq!(object["precision"], "f32");
    assert_eq!(object["resumed_from"], Value::Null);
    assert_eq!(object["model"], model.to_str().unwrap());
    assert_eq!(
        (number(&object, "epochs"), number(&object, "steps")),
        (3.0, 87.0)
    );
    assert_eq!(number(&object, "batch_size"), 32.0);
    assert_eq!(number(&object, "micro_batch"), 32.0);
    for key in ["loss", "samples_per_second", "peak_bytes", "accuracy"] {
        assert!(number(&object, key) > 0.0, "{key}");
    }
    assert!(number(&object, "validation_accuracy") > 0.7, "{object}");

    let eval = |data: &str, code| {
        let mut eval = forgeling(&["eval", "--device", "cpu", "--data", data, "--model"]);
        json(eval.arg(&model), code)
    };
    let object = eval("glyphs", 0);
    assert_eq!(number(&object, "examples"), 1000.0);
    assert!(number(&object, "accuracy") > 0.7, "{object}");
    // Other classes are refused, and so is a file that holds no model.
    let photos = folder.path().join("photos");
    for class in ["one", "two"] {
        std::fs::create_dir_all(photos.join(class)).unwrap();
        let path = photos.join(class).join("a.png");
        image::save_buffer(path, &[7; 64], 8, 8, image::ExtendedColorType::L8).unwrap();
    }
    let error = eval(&format!("folder:{}", photos.display()), 3);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("unknown: 'one', 'two'"), "{error}");
    std::fs::write(&model, b"not a model").unwrap();
    assert_eq!(eval("glyphs", 3)["error"]["code"], "bad_data");
}

#[test]
fn the_same_command_goes_on_and_ends_where_one_run_would() {
    let folder = tempfile::tempdir().unwrap();
    let (parts, whole) = (folder.path().join("parts"), folder.path().join("whole"));
    let checkpoints = folder.path().join("run");
    let folder = checkpoints.to_str().unwrap();
    let kept = [
        "--ema",
        "--checkpoint-every",
        "7",
        "--checkpoint-dir",
        folder,
    ];
    let part = |options: &[&str]| {
        let mut command = mlp(&parts, &kept);
        command.args(options);
        command
    };
    let first = json(&mut part(&["--epochs", "1"]), 0);
    assert_eq!(first["resumed_from"], Value::Null);
    let second = json(&mut part(&["--epochs", "2"]), 0);
    assert_eq!(second["resumed_from"], first["steps"]);
    let at_once = json(&mut mlp(&whole, &["--ema", "--epochs", "2"]), 0);
    for key in [
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "steps",
        "epochs",
    ] {
        assert_eq!(second[key], at_once[key], "{key}");
    }
    let read = |path: &Path| std::fs::read(path).unwrap();
    assert!(read(&parts) == read(&whole), "the model files differ");
    // Once more there is nothing left to do.
    part(&["--epochs", "2"])
        .assert()
        .success()
        .stdout(contains("Going on after step"));
    let again = json(&mut part(&["--epochs", "2"]), 0);
    assert_eq!(
        (&again["steps"], &again["loss"]),
        (&second["steps"], &second["loss"])
    );

    for (options, name) in [
        (&["--batch-size", "16"][..], "batch size"),
        (&["--width", "64"], "width"),
        (&["--learning-rate", "0.5"], "learning rate schedule"),
        (
            &["--optimizer", "sgd", "--learning-rate", "0.001"],
            "optimizer",
        ),
        (&["--seed", "1"], "seed"),
        (&["--precision", "bf16"], "precision"),
        (&["--validation", "0.2"], "number of images"),
    ] {
        let error = json(part(&["--epochs", "3"]).args(options), 3);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("another {name}")), "{error}");
        assert!(error["error"]["expected"].is_string() && error["error"]["got"].is_string());
    }
}

#[test]
fn a_budget_makes_passes_smaller_and_not_batches() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let whole = json(&mut mlp(&out, &["--epochs", "1"]), 0);
    let conv4 = |options: &[&str]| {
        let mut command = forgeling(&["train", "--device", "cpu", "--model", "conv4", "--width"]);
        command.args([
            "8",
            "--data",
            "glyphs",
            "--per-class",
            "20",
            "--epochs",
            "1",
        ]);
        json(command.args(options).arg("--out").arg(&out), 0)
    };
    let free = conv4(&["--batch-size", "64"]);
    let held = conv4(&["--batch-size", "64", "--memory-budget", "2MB"]);
    assert_eq!(free["batch_size"], held["batch_size"]);
    assert_eq!(number(&free, "micro_batch"), 64.0);
    assert!(number(&held, "micro_batch") < 64.0, "{held}");
    assert!(number(&held, "peak_bytes") <= 2e6, "{held}");
    assert_eq!(held["hardware"]["memory_budget"], 2_000_000);
    let auto = conv4(&["--batch-size", "auto", "--memory-budget", "50%"]);
    assert_eq!(
        number(&auto, "batch_size"),
        8.0,
        "a sixteenth of the images"
    );
    let constrained = conv4(&["--preset", "memory_constrained"]);
    assert_eq!(constrained["precision"], "f16");
    assert_eq!(constrained["hardware"]["gradient_checkpointing"], true);

    // A perceptron has no batch norm: two replicas do what one does.
    let mut two = forgeling(&["train", "--devices", "cpu,cpu", "--model", "mlp"]);
    two.args([
        "--data",
        "glyphs",
        "--per-class",
        "50",
        "--epochs",
        "1",
        "--out",
    ]);
    let two = json(two.arg(&out), 0);
    assert_eq!(two["devices"].as_array().unwrap().len(), 2);
    let (one, two) = (number(&whole, "loss"), number(&two, "loss"));
    assert!((one - two).abs() < 1e-4 * one, "{one} {two}");
}

#[test]
fn training_stops_early_and_tries_itself_out() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    // A learning rate that only makes things worse.
    let options = [
        "--learning-rate",
        "0.3",
        "--patience",
        "2",
        "--epochs",
        "30",
    ];
    let object = json(&mut mlp(&out, &options), 0);
    assert_eq!(object["reason"], "converged");
    assert!(number(&object, "epochs") < 30.0);
    std::fs::remove_file(&out).unwrap();
    let options = [
        "--fast-dev-run",
        "--schedule",
        "cosine",
        "--optimizer",
        "sgd",
    ];
    let object = json(&mut mlp(&out, &options), 0);
    assert_eq!(number(&object, "steps"), 1.0);
    assert!(object["model"].is_null() && !out.exists());
}

#[test]
fn a_profile_tells_phases_and_writes_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.json");
    let arguments = [
        "profile", "--device", "cpu", "--model", "conv4", "--width", "4",
    ];
    let mut profile = forgeling(&arguments);
    profile.args([
        "--data",
        "glyphs",
        "--batch-size",
        "16",
        "--steps",
        "3",
        "--trace",
    ]);
    let object = json(profile.arg(&trace), 0);
    let rows = |key: &str| object[key].as_array().unwrap().clone();
    for phase in ["data", "forward", "backward", "step", "readback"] {
        let phases = rows("phases");
        let found = phases.iter().find(|row| row["name"] == phase);
        let row = found.unwrap_or_else(|| panic!("{phase} in {object}"));
        assert!(row["seconds"].is_f64() && row["dispatches"].is_u64() && row["bytes"].is_u64());
        assert_eq!(row["count"], 3, "{phase}");
    }
    let modules = rows("modules");
    assert!(
        modules.iter().any(|row| row["name"] == "blocks.3"),
        "{object}"
    );
    assert!(number(&object, "peak_bytes") > 0.0);
    let text = std::fs::read_to_string(&trace).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    assert!(!trace["traceEvents"].as_array().unwrap().is_empty());
    forgeling(&arguments)
        .args(["--data", "glyphs", "--batch-size", "16", "--steps", "1"])
        .assert()
        .success()
        .stdout(contains("backward").and(contains("images/s")));
}

#[test]
fn batch_sizes_are_planned_and_tried_and_hardware_is_recommended() {
    let search = |options: &[&str], code| {
        let mut command = forgeling(&["batch-size", "--device", "cpu", "--model", "conv4"]);
        json(command.args(["--width", "8"]).args(options), code)
    };
    let small = search(&["--memory-budget", "2MB"], 0);
    let large = search(&["--memory-budget", "4MB"], 0);
    let size = |object: &Value| number(object, "batch_size");
    assert!(
        size(&small) > 8.0 && size(&large) > 1.5 * size(&small),
        "{small}"
    );
    for object in [&small, &large] {
        assert!(number(object, "peak_bytes") <= number(object, "budget_bytes"));
        assert_eq!(object["planned"], object["plan"]["batch"]);
    }
    let saving = search(&["--memory-budget", "2MB", "--checkpointing"], 0);
    assert!(size(&saving) >= size(&small));
    let shaped = ["--input", "3x16x16", "--classes", "3", "--most", "20"];
    assert_eq!(size(&search(&shaped, 0)), 20.0);
    let none = search(&["--memory-budget", "1kB"], 4);
    assert_eq!(none["error"]["code"], "out_of_memory");

    let recommend = |batch: &str| {
        let arguments = ["devices", "--device", "cpu", "--recommend", "resnet18"];
        let mut command = forgeling(&arguments);
        json(command.args(["--batch-size", batch]), 0)["recommendation"].clone()
    };
    let small = recommend("8");
    assert_eq!(small["config"]["precision"], "f32");
    assert_eq!(small["config"]["memory_budget"], Value::Null);
    let large = recommend("10000000");
    assert_eq!(large["config"]["gradient_checkpointing"], true);
    assert!(number(&large["config"], "micro_batch") >= 1.0);
    assert_eq!(large["reasons"].as_array().unwrap().len(), 5, "{large}");
}

#[test]
fn bad_input_is_one_clear_line_and_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    for (options, code, words) in [
        (&["--epochs", "0"][..], 3, "epochs is out of range"),
        (&["--accumulate", "0"], 3, "accumulate is out of range"),
        (&["--validation", "1"], 3, "--validation is out of range"),
        (&["--validation", "nan"], 3, "--validation is out of range"),
        (
            &["--validation", "0", "--patience", "2"],
            3,
            "--patience needs",
        ),
        (&["--classes", "1"], 3, "at least 2 classes"),
        (&["--learning-rate", "nan"], 3, "rate"),
        (&["--ema", "1"], 3, "decay"),
        (&["--width", "0"], 3, "out of range"),
        (&["--input", "2x28x28"], 3, "so many channels"),
        (&["--input", "1x28x14"], 3, "squares"),
        (&["--input", "28"], 2, "such as 1x28x28"),
        (&["--batch-size", "0"], 2, "1 or more, or auto"),
        (&["--memory-budget", "much"], 2, "such as 500MB"),
        (&["--memory-budget", "101%"], 2, "fraction"),
        (&["--memory-budget", "1kB"], 4, "budget"),
        (&["--precision", "f8"], 2, "auto, f32, f16 or bf16"),
        (&["--preset", "slow"], 2, "memory_constrained"),
        (&["--devices", "cpu,tpu"], 2, "unknown device"),
        (
            &["--validation", "0.5", "--validation-data", "glyphs"],
            2,
            "cannot be used with",
        ),
    ] {
        mlp(&out, options)
            .assert()
            .code(code)
            .stderr(contains(words).and(contains("panicked").not()));
        assert!(!out.exists(), "{options:?}");
    }
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let options = ["--checkpoint-dir", file.to_str().unwrap(), "--epochs", "1"];
    mlp(&out, &options)
        .assert()
        .code(3)
        .stderr(contains("file]"));
    // Without --out, training would be in vain.
    forgeling(&MLP).assert().code(2).stderr(contains("--out"));
}

#[test]
fn help_has_examples_everywhere() {
    for command in ["train", "eval", "profile", "batch-size", "devices"] {
        forgeling(&[command, "--help"])
            .assert()
            .success()
            .stdout(contains("Examples:"));
    }
}
