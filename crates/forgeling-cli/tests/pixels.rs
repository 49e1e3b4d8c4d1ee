//! What `forgeling train` does with pixels: CIFAR's files, standardising, augmentation and recipes, as a user types them.

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use common::json;
use forgeling::nn::graph::Layer;
use forgeling::train::ModelDescription;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn forgeling(arguments: &[&str]) -> Command {
    let mut command = common::forgeling();
    command.args(["--device", "cpu"]).args(arguments);
    command
}

/// CIFAR-10 of noise: twenty images of each class to train on, two to test with; the class tells how light they are.
fn cifar(dir: &Path) {
    let mut state = 1u32;
    let mut record = |label: u8| {
        let pixels = (0..3072).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            20 * label + (state >> 24) as u8 / 4
        });
        std::iter::once(label).chain(pixels).collect::<Vec<u8>>()
    };
    let mut file = |name: &str, each: u8| {
        let labels = (0..10 * each).map(|image| image % 10);
        let records: Vec<u8> = labels.flat_map(&mut record).collect();
        fs::write(dir.join(name), records).unwrap();
    };
    for batch in 1..=5 {
        file(&format!("data_batch_{batch}.bin"), 4);
    }
    file("test_batch.bin", 2);
    let names: Vec<String> = (0..10).map(|label| format!("shade {label}\n")).collect();
    fs::write(dir.join("batches.meta.txt"), names.concat()).unwrap();
}

/// Fashion-MNIST in its format, of ten images each.
fn idx(dir: &Path) {
    for part in ["train", "t10k"] {
        let mut images = vec![0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0, 28];
        images.extend((0..7840u32).map(|place| (place % 251) as u8));
        fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        let mut labels = vec![0, 0, 8, 1, 0, 0, 0, 10];
        labels.extend(0..10);
        fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

fn number(object: &Value, key: &str) -> f64 {
    let value = object[key].as_f64();
    value.unwrap_or_else(|| panic!("{key} in {object}"))
}

#[test]
fn a_model_standardises_what_it_is_tested_on_as_what_it_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    cifar(folder.path());
    let data = format!("cifar:{}", folder.path().display());
    let model = folder.path().join("model.safetensors");
    let train = |more: &[&str]| {
        let mut train = forgeling(&["train", "--model", "mlp", "--data", &data]);
        train.args([
            "--validation-data",
            &data,
            "--epochs",
            "4",
            "--batch-size",
            "32",
        ]);
        train.args(more).arg("--out").arg(&model);
        json(&mut train, 0)
    };
    let steps = "crop=2,flip,colour,cutout=6,mixup=0.2";
    let more = [
        "--normalize",
        "data",
        "--augment",
        steps,
        "--label-smoothing",
        "0.1",
    ];
    let trained = train(&more);
    assert_eq!(trained["pictures"]["kind"], "pictures");
    assert_eq!(trained["input"]["channels"], 3);
    for key in ["mean", "deviation"] {
        let constants = trained["normalization"][key].as_array().unwrap();
        assert_eq!(constants.len(), 3);
        // 20 of 255 a class make the light vary by 0.23, and noise of 64 by 0.07.
        let wanted = if key == "mean" { 0.476 } else { 0.237 };
        let near = |x: &Value| (x.as_f64().unwrap() - wanted).abs() < 0.01;
        assert!(constants.iter().all(near), "{trained}");
    }
    let eval = || {
        let mut eval = forgeling(&["eval", "--data", &data, "--model"]);
        json(eval.arg(&model), 0)
    };
    let found = eval();
    assert_eq!(number(&found, "examples"), 20.0);
    let losses = (number(&found, "loss"), number(&trained, "validation_loss"));
    assert!((losses.0 - losses.1).abs() < 1e-4, "{losses:?}");
    let rights = (
        number(&found, "accuracy"),
        number(&trained, "validation_accuracy"),
    );
    assert!((rights.0 - rights.1).abs() < 1e-9, "{rights:?}");

    // The same words, the same run; other words, another one.
    let again = train(&more);
    assert_eq!(again["loss"], trained["loss"]);
    let other = train(&more[..4]);
    assert_ne!(other["loss"], trained["loss"]);
    let plain = train(&[]);
    assert_eq!(plain["normalization"], Value::Null);
    let losses = (number(&eval(), "loss"), number(&plain, "validation_loss"));
    assert!((losses.0 - losses.1).abs() < 1e-4, "{losses:?}");
}

#[test]
fn two_pathways_undo_the_standardising_and_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    cifar(folder.path());
    let data = format!("cifar:{}", folder.path().display());
    let [model, report] = ["model.safetensors", "report"].map(|name| folder.path().join(name));
    let mut train = forgeling(&["train", "--model", "integration_shallow", "--width", "2"]);
    train.args(["--data", &data, "--normalize", "data", "--epochs", "2"]);
    train.arg("--out").arg(&model).arg("--report").arg(&report);
    let trained = json(&mut train, 0);
    let mixes = trained["mixes"].as_array().unwrap();
    let inputs: Vec<_> = mixes.iter().map(|curve| &curve["input"]).collect();
    assert_eq!(inputs.len(), 5, "{mixes:?}");
    assert_eq!(inputs[4], "integrate.1.previous");
    for curve in mixes {
        assert_eq!(curve["weights"].as_array().unwrap().len(), 3, "{curve}");
    }
    let page = fs::read_to_string(report.join("report.html")).unwrap();
    for said in ["accuracy", "held out", "integrate.0: luminance.0"] {
        assert!(page.contains(said), "{said}");
    }
    let bytes = fs::read(model).unwrap();
    let network = ModelDescription::from_bytes(&bytes).unwrap().network;
    let Layer::Luminance(luminance) = network.nodes()[0].layer else {
        panic!("no luminance");
    };
    let constants = &trained["normalization"];
    assert_eq!(serde_json::json!(luminance.mean), constants["mean"]);
    assert_eq!(
        serde_json::json!(luminance.deviation),
        constants["deviation"]
    );
}

#[test]
fn checkpoints_of_other_pixels_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    cifar(folder.path());
    let data = format!("cifar:{}", folder.path().display());
    let run = folder.path().join("run");
    let train = |augment: &str, normalize: &str, epochs: &str| {
        let mut train = forgeling(&["train", "--model", "mlp", "--data", &data]);
        train.args([
            "--augment",
            augment,
            "--normalize",
            normalize,
            "--epochs",
            epochs,
        ]);
        train.arg("--checkpoint-dir").arg(&run);
        train.arg("--out").arg(folder.path().join("model"));
        train
    };
    train("flip,mixup", "data", "1").assert().success();
    let refused = |words: &str, mut train: Command| {
        train.assert().code(3).stderr(contains(words));
    };
    refused("another augmentation", train("flip", "data", "2"));
    refused("another standardising", train("flip,mixup", "none", "2"));
    let object = json(&mut train("flip,mixup", "data", "2"), 0);
    assert_eq!(number(&object, "epochs"), 2.0);
}

#[test]
fn recipes_are_followed_unless_something_else_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    idx(folder.path());
    let data = format!("idx:{}", folder.path().display());
    let train = |more: &[&str]| {
        let mut train = forgeling(&["train", "--recipe", "fashion-mnist", "--data", &data]);
        train
            .args(["--validation-data", &data, "--fast-dev-run"])
            .args(more);
        json(&mut train, 0)
    };
    let object = train(&[]);
    assert_eq!(object["network"], "fashion-mnist's");
    assert_eq!(number(&object, "batch_size"), 64.0);
    assert!(object["normalization"]["mean"][0].is_f64(), "{object}");
    let object = train(&["--model", "mlp", "--batch-size", "5", "--normalize", "none"]);
    assert_eq!(
        (&object["network"], &object["normalization"]),
        (&"mlp".into(), &Value::Null)
    );
    assert_eq!(number(&object, "batch_size"), 5.0);

    cifar(folder.path());
    let data = format!("cifar:{}", folder.path().display());
    let mut train = forgeling(&["train", "--recipe", "cifar10", "--data", &data]);
    train.args(["--batch-size", "4", "--fast-dev-run"]);
    assert_eq!(json(&mut train, 0)["network"], "cifar10's");
}

#[test]
fn bad_input_is_one_clear_line_and_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let train = ["train", "--data", "glyphs", "--per-class", "4"];
    for (options, code, words) in [
        (&[][..], 2, "--model"),
        (&["--recipe", "mnist"], 2, "fashion-mnist"),
        (&["--recipe", "cifar10", "--option", "width=3"], 3, "option"),
        (&["--model", "mlp", "--normalize", "imagenet"], 3, "3 and 3"),
        (&["--model", "mlp", "--normalize", "mean"], 2, "imagenet"),
        (&["--model", "mlp", "--augment", "spin"], 2, "crop=4,flip"),
        (
            &["--model", "mlp", "--augment", "flip,crop=28"],
            3,
            "[1, 28, 28]",
        ),
        (
            &["--model", "mlp", "--augment", "mixup,cutmix"],
            3,
            "several steps mix",
        ),
        (
            &["--model", "mlp", "--augment", "no-such.json"],
            2,
            "no-such.json",
        ),
        (
            &["--model", "mlp", "--label-smoothing", "1"],
            3,
            "smoothing",
        ),
        (&["--model", "mlp", "--weight-decay", "inf"], 3, "decay"),
    ] {
        forgeling(&train)
            .args(options)
            .arg("--out")
            .arg(&out)
            .assert()
            .code(code)
            .stderr(contains(words).and(contains("panicked").not()));
        assert!(!out.exists(), "{options:?}");
    }
    let data = format!("cifar:{}", folder.path().display());
    forgeling(&["train", "--model", "mlp", "--data", &data, "--out"])
        .arg(&out)
        .assert()
        .code(3)
        .stderr(contains("test_batch.bin and batches.meta.txt"));
}
