//! What was learned is not lost: places are tried first, signals and faults end a run with its model saved.

#[path = "../common/mod.rs"]
mod common;
#[cfg(unix)]
mod signals;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// A perceptron on glyphs.
const MLP: [&str; 9] = [
    "train",
    "--device",
    "cpu",
    "--model",
    "mlp",
    "--data",
    "glyphs",
    "--per-class",
    "20",
];
const FEWSHOT: [&str; 7] = [
    "--device",
    "cpu",
    "--data",
    "glyphs",
    "--filters",
    "8",
    "--train-ways=5",
];

fn mlp(out: &Path, options: &[&str]) -> Command {
    let mut command = forgeling(&MLP);
    command.args(options).arg("--out").arg(out);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// None of these would end within a minute if it began.
#[test]
fn places_are_tried_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = folder.join("file");
    fs::write(&file, b"precious").unwrap();
    for name in ["tour/report.html", "tour2/model.safetensors"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::create_dir_all(folder.join("compared/protonet.safetensors")).unwrap();
    let (in_file, inner) = (file.join("model"), file.join("deep/model"));
    let taken = "a folder is in the file's place";
    let long = ["--epochs", "1000000"];
    let (fewshot, compare) = (
        ["fewshot", "train", "--episodes", "100000000"],
        ["fewshot", "compare", "--methods", "fomaml,protonet"],
    );
    let tour = ["tour", "--device", "cpu", "--episodes", "100000000"];
    let profile = ["profile", "--model", "mlp", "--data", "glyphs"];
    let eval = ["fewshot", "eval", "--model", "none", "--data", "glyphs"];
    let with = |parts: &[&[&str]]| -> Vec<String> {
        parts.concat().into_iter().map(String::from).collect()
    };
    let full = Path::new("/dev/full");
    let mut cases = vec![
        (with(&[&MLP, &long, &["--out", text(folder)]]), taken),
        (
            with(&[&MLP, &long, &["--out", text(&in_file)]]),
            "not a folder",
        ),
        (with(&[&MLP, &long, &["--out", text(&inner)]]), "write_file"),
        (
            with(&[
                &MLP,
                &long,
                &["--checkpoint-dir", text(&inner), "--out", "unused"],
            ]),
            "checkpoint_store",
        ),
        (with(&[&fewshot, &FEWSHOT, &["--out", text(folder)]]), taken),
        (
            with(&[&fewshot, &FEWSHOT, &["--out", text(&in_file)]]),
            "not a folder",
        ),
        (
            with(&[&compare, &FEWSHOT, &["--out", text(&file)]]),
            "not a folder",
        ),
        (
            with(&[
                &compare,
                &FEWSHOT,
                &["--out", text(&folder.join("compared"))],
            ]),
            taken,
        ),
        (with(&[&tour, &["--out", text(&file)]]), "not a folder"),
        (
            with(&[&tour, &["--out", text(&folder.join("tour"))]]),
            taken,
        ),
        (
            with(&[&tour, &["--out", text(&folder.join("tour2"))]]),
            taken,
        ),
        (
            with(&[
                &profile,
                &["--batch-size", "8", "--steps", "1000000"],
                &["--trace", text(folder)],
            ]),
            taken,
        ),
        (with(&[&eval, &["--report", text(&file)]]), "not a folder"),
        (with(&[&eval, &["--save-episodes", text(folder)]]), taken),
    ];
    if full.exists() {
        let case = with(&[&MLP, &long, &["--out", text(full)]]);
        cases.push((case, "not a regular file"));
    }
    for (arguments, words) in cases {
        common::forgeling()
            .args(&arguments)
            .timeout(Duration::from_secs(120))
            .assert()
            .code(3)
            .stderr(contains(words).and(contains("panicked").not()));
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let partial = files(folder)
        .into_iter()
        .find(|path| text(path).contains("partial"));
    assert_eq!(partial, None);
}

#[test]
fn a_checkpoint_folder_of_another_run_or_of_damaged_files_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (out, run) = (folder.path().join("model"), folder.path().join("run"));
    let kept = ["--checkpoint-dir", text(&run)];
    let train = |options: &[&str]| {
        let mut command = mlp(&out, &kept);
        command.args(options);
        command
    };
    let first = json(&mut train(&["--epochs", "2"]), 0);
    assert_eq!(first["moved_checkpoints"], Value::Null);
    let whole = files(&run);
    assert_eq!(whole.len(), 2);
    let bytes: Vec<Vec<u8>> = whole.iter().map(|path| fs::read(path).unwrap()).collect();

    // Of another run: refused, and begun anew where that is asked for.
    let other = ["--epochs", "1", "--width", "8"];
    let error = json(&mut train(&other), 3);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("another width; --restart begins anew"),
        "{error}"
    );
    let anew = json(train(&other).arg("--restart"), 0);
    assert_eq!(anew["resumed_from"], Value::Null);
    let aside = run.join("old-1");
    assert_eq!(anew["moved_checkpoints"], text(&aside));
    let moved = files(&aside)
        .into_iter()
        .map(|path| fs::read(path).unwrap());
    assert!(moved.eq(bytes), "what was there is still there");

    // Half of each file.
    let damaged: Vec<PathBuf> = files(&run).into_iter().filter(|p| p.is_file()).collect();
    assert_eq!(damaged.len(), 1);
    let bytes = fs::read(&damaged[0]).unwrap();
    let half = &bytes[..bytes.len() / 2];
    fs::write(&damaged[0], half).unwrap();
    fs::remove_file(&out).unwrap();
    let error = json(&mut train(&other), 3);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("every checkpoint is damaged; --restart"),
        "{error}"
    );
    let got = error["error"]["got"].as_str().unwrap();
    assert!(got.contains(text(&damaged[0])), "{error}");
    assert_eq!(fs::read(&damaged[0]).unwrap(), half);
    assert!(!out.exists());
    train(&other)
        .arg("--restart")
        .assert()
        .success()
        .stdout(contains("Moved the earlier checkpoints to").and(contains("old-2")));
    assert_eq!(files(&run.join("old-2")).len(), 1);
    assert!(out.exists());

    // A whole one among damaged ones is gone on from, with a word on the others.
    fs::write(run.join("checkpoint-000000009999.safetensors"), half).unwrap();
    train(&["--epochs", "2", "--width", "8"])
        .assert()
        .success()
        .stdout(contains("Not used: ").and(contains("Going on after step")));
    forgeling(&["train", "--help"])
        .assert()
        .success()
        .stdout(contains("--restart").and(contains("old-1")));
}

#[test]
fn a_cosine_goes_on_with_more_epochs_and_fewer_ones_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let (out, run) = (folder.path().join("model"), folder.path().join("run"));
    let kept = ["--checkpoint-dir", text(&run), "--schedule", "cosine"];
    let train = |options: &[&str]| {
        let mut command = mlp(&out, &kept);
        command.args(options);
        command
    };
    let first = json(&mut train(&["--epochs", "2"]), 0);
    let second = json(&mut train(&["--epochs", "5"]), 0);
    assert_eq!(second["resumed_from"], first["steps"]);
    assert_eq!(
        (&second["epochs"], &second["last_epoch"]),
        (&5.into(), &5.into())
    );
    let model = fs::read(&out).unwrap();
    fs::remove_file(&out).unwrap();
    train(&["--epochs", "3"])
        .assert()
        .success()
        .stdout(contains("With --epochs 3 nothing is left to train").and(contains("epoch 5")));
    assert!(fs::read(&out).unwrap() == model, "the checkpoint's model");
    let fewer = json(&mut train(&["--epochs", "3"]), 0);
    for key in ["epochs", "steps", "loss", "accuracy", "validation_loss"] {
        assert_eq!(fewer[key], second[key], "{key}");
    }
    // Another rate or another kind is another run still.
    for options in [&["--learning-rate", "0.5"][..], &["--optimizer", "sgd"]] {
        let error = json(train(&["--epochs", "6"]).args(options), 3);
        assert!(error["error"]["message"].is_string(), "{error}");
    }
    let mut constant = mlp(&out, &["--checkpoint-dir", text(&run), "--epochs", "6"]);
    let error = json(&mut constant, 3);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("another learning rate schedule"),
        "{error}"
    );
}

#[test]
fn a_batch_norm_that_overflows_stops_the_run_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let mut train = forgeling(&[
        "train", "--device", "cpu", "--model", "conv4", "--width", "8",
    ]);
    train
        .args(["--data", "glyphs", "--per-class", "20", "--epochs", "100"])
        .args(["--optimizer", "sgd", "--learning-rate", "1e6", "--out"])
        .arg(&out);
    let mut fewshot = forgeling(&["fewshot", "train", "--learning-rate", "1e12"]);
    fewshot
        .args(FEWSHOT)
        .args(["--episodes", "500", "--out"])
        .arg(&out);
    for command in [&mut train, &mut fewshot] {
        let error = json(command, 1);
        let error = &error["error"];
        assert_eq!(error["code"], "diverged", "{error}");
        assert_eq!(error["operation"], "train_step", "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("the variance in blocks."), "{error}");
        assert!(message.contains("at step"), "{error}");
        let advice = error["expected"].as_str().unwrap();
        assert!(advice.contains("a smaller learning rate"), "{error}");
        assert!(!out.exists());
    }
}

/// The last line's figures are those of the last epoch's line.
#[test]
fn the_end_tells_what_the_last_epoch_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    // More steps than are averaged over where an epoch is not whole.
    let options = ["--epochs", "3", "--batch-size", "4", "--width", "2"];
    let said = |options: &[&str]| {
        let run = mlp(&out, options).assert().success();
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    };
    let lines = said(&options);
    let figures = |start: &str| {
        let line = lines.lines().find(|line| line.contains(start)).unwrap();
        line.split_once(start).unwrap().1.to_string()
    };
    let (epoch, end) = (figures("Epoch 3/3: "), figures(": epoch 3 "));
    assert!(end.starts_with(&epoch), "{epoch} | {end}");
    assert!(end.contains(" kB of memory at most"), "{end}");
    let object = json(&mut mlp(&out, &options), 0);
    let loss = format!("loss {:.3},", object["loss"].as_f64().unwrap());
    assert!(epoch.starts_with(&loss), "{epoch} {object}");
    assert_eq!(object["validated_model"], "last");
    assert!(object["peak_bytes"].as_f64().unwrap() > 4.0 * 4.0 * 2.0 * 784.0);

    for (more, name, words) in [
        (
            &["--ema"][..],
            "average",
            "validation of the average weights: loss",
        ),
        (
            &["--patience", "2"],
            "best",
            "validation of the best weights: loss",
        ),
        (
            &["--patience", "2", "--ema", "0.9"],
            "best_average",
            "validation of the best average weights: loss",
        ),
    ] {
        let options = [&options[..], more].concat();
        let said = said(&options);
        assert!(said.contains(words), "{said}");
        let object = json(&mut mlp(&out, &options), 0);
        assert_eq!(object["validated_model"], name);
    }
    let none = json(&mut mlp(&out, &["--epochs", "1", "--validation", "0"]), 0);
    assert_eq!(none["validated_model"], Value::Null);
}
