//! Models made smaller, as a user types it.

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use common::{forgeling, json};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// Small convolutions that know glyphs.
fn trained(model: &Path) {
    let mut train = forgeling();
    train
        .args(["train", "--device", "cpu", "--model", "conv4"])
        .args(["--width", "16", "--data", "glyphs", "--epochs", "3"])
        .args(["--batch-size", "32", "--learning-rate", "0.005", "--out"])
        .arg(model);
    json(&mut train, 0);
}

fn compress(model: &Path, options: &[&str]) -> Command {
    let mut command = forgeling();
    command
        .args(["compress", "--device", "cpu", "--data", "glyphs", "--model"])
        .arg(model)
        .args(options);
    command
}

fn number(object: &Value, key: &str) -> f64 {
    let value = object[key].as_f64();
    value.unwrap_or_else(|| panic!("{key} in {object}"))
}

#[test]
fn half_of_the_channels_go_and_the_file_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let [model, small, bare] =
        ["whole", "small", "bare"].map(|name| folder.path().join(format!("{name}.safetensors")));
    trained(&model);
    let whole = fs::read(&model).unwrap();

    // A plan alone writes nothing, and says what would go.
    let dry = ["--prune", "0.5", "--protect", "blocks.1", "--dry-run"];
    compress(&model, &dry).assert().success().stdout(
        contains("16 -> 8")
            .and(contains("blocks.3"))
            .and(contains("Nothing")),
    );
    let object = json(&mut compress(&model, &dry), 0);
    let layers = object["plan"]["layers"].as_array().unwrap();
    let channels = |name: &str| {
        let own = layers.iter().find(|layer| layer["layer"] == name);
        own.unwrap()["channels"].clone()
    };
    assert_eq!(channels("blocks.0"), serde_json::json!([16, 8]));
    assert_eq!(channels("blocks.1"), serde_json::json!([16, 16]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let out = small.to_str().unwrap();
    let mut command = compress(&model, &["--prune", "0.5", "--steps", "2", "--epochs", "2"]);
    command.args(["--learning-rate", "0.003", "--distill", "--out", out]);
    let object = json(&mut command, 0);
    assert_eq!(object["command"], "compress");
    assert_eq!(number(&object, "steps"), 2.0);
    assert_eq!(
        (object["stopped"].as_bool(), object["dry_run"].as_bool()),
        (Some(false), Some(false))
    );
    assert_eq!(object["plan"]["after"]["values"], object["trained_values"]);
    let [before, after] = ["accuracy_before", "accuracy"].map(|key| number(&object, key));
    assert!(before > 0.7 && after > before - 0.2, "{object}");
    assert!(number(&object, "bytes") < 0.45 * number(&object["plan"]["before"], "bytes"));
    assert!(fs::read(&small).unwrap().len() < whole.len() / 2);
    assert_eq!(fs::read(&model).unwrap(), whole);
    // What was written is a model like any other.
    let mut eval = forgeling();
    eval.args(["eval", "--device", "cpu", "--data", "glyphs", "--model"]);
    let found = json(eval.arg(&small), 0);
    assert!(number(&found, "accuracy") > after - 0.15, "{found}");

    // Without training it knows less, and is as small.
    let out = bare.to_str().unwrap();
    let options = [
        "--prune",
        "0.5",
        "--criterion",
        "l2",
        "--epochs",
        "0",
        "--out",
        out,
    ];
    let object = json(&mut compress(&model, &options), 0);
    assert_eq!(number(&object, "steps"), 0.0);
    assert!(number(&object, "accuracy") < after, "{object}");
    let lengths = [&small, &bare].map(|file| fs::read(file).unwrap().len());
    assert!(lengths[0].abs_diff(lengths[1]) < 1000, "{lengths:?}");
}

#[test]
fn weights_become_bytes_and_the_model_is_one_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let [model, small, half] =
        ["whole", "small", "half"].map(|name| folder.path().join(format!("{name}.safetensors")));
    trained(&model);
    let whole = fs::read(&model).unwrap().len() as f64;
    let names = |object: &Value| -> Vec<String> {
        let rows = object["rows"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().into())
            .collect()
    };

    let dry = ["--quantize", "int8", "--float", "head", "--dry-run"];
    let told = compress(&model, &dry).assert().success();
    told.stdout(
        contains("8 bits: blocks.0, blocks.1")
            .and(contains("head (linear): asked for"))
            .and(contains("Nothing")),
    );
    let object = json(&mut compress(&model, &dry), 0);
    assert_eq!(object["float_layers"][0]["layer"], "head");
    assert_eq!(object["int8_layers"].as_array().unwrap().len(), 4);

    let out = small.to_str().unwrap();
    let options = [
        "--quantize",
        "int8",
        "--qat-epochs",
        "2",
        "--distill",
        "--out",
        out,
    ];
    let object = json(&mut compress(&model, &options), 0);
    assert_eq!(names(&object), ["whole", "int8", "int8, trained"]);
    let [before, after] = ["accuracy_before", "accuracy"].map(|key| number(&object, key));
    assert!(after > before - 0.08, "{object}");
    let length = fs::read(&small).unwrap().len() as f64;
    assert!(
        (length - number(&object, "bytes")).abs() < 500.0,
        "{object}"
    );
    assert!(length < 0.45 * whole, "{length} of {whole}");
    let mut eval = forgeling();
    eval.args(["eval", "--device", "cpu", "--data", "glyphs", "--model"]);
    let found = json(eval.arg(&small), 0);
    assert!(number(&found, "accuracy") > after - 0.15, "{found}");
    let mut models = forgeling();
    models
        .arg("models")
        .arg(&small)
        .assert()
        .success()
        .stdout(contains("f16"));
    let mut bench = forgeling();
    bench.args([
        "bench", "model", "--device", "cpu", "--rounds", "5", "--batch", "1,3",
    ]);
    let found = json(bench.arg(&small), 0);
    let latencies = found["latencies"].as_array().unwrap();
    assert_eq!(latencies.len(), 2);
    for (latency, batch) in latencies.iter().zip([1.0, 3.0]) {
        assert_eq!(number(latency, "batch"), batch);
        let times = ["low_ms", "median_ms", "high_ms"].map(|key| number(latency, key));
        assert!(times[0] > 0.0 && times.is_sorted(), "{found}");
    }
    assert_eq!(number(&found, "bytes"), length);
    for wrong in [["--rounds", "0"], ["--batch", "0"]] {
        let mut bench = forgeling();
        bench.args(["bench", "model"]).args(wrong).arg(&small);
        let said = json(&mut bench, 3).to_string();
        assert!(said.contains(wrong[0]), "{said}");
    }
    let mut export = forgeling();
    let export = export.arg("export").arg(&small).arg("--onnx");
    let found = json(export.arg(folder.path().join("small.onnx")), 0);
    assert!(
        number(&found["operators"], "QuantizeLinear") >= 4.0,
        "{found}"
    );

    let out = half.to_str().unwrap();
    let options = [
        "--prune",
        "0.5",
        "--epochs",
        "0",
        "--quantize",
        "f16",
        "--out",
        out,
    ];
    let object = json(&mut compress(&model, &options), 0);
    assert_eq!(names(&object), ["whole", "pruned", "f16"]);
    assert!((fs::read(&half).unwrap().len() as f64) < 0.3 * whole);
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("whole.safetensors");
    trained(&model);
    let out = folder.path().join("small.safetensors");
    let out = out.to_str().unwrap();
    for (options, said) in [
        (&["--prune", "1.5"][..], "fraction of channels"),
        (&[], "nothing to do"),
        (&["--quantize", "int8", "--float", "tail"], "'tail'"),
        (
            &["--quantize", "int8", "--calibration-batches", "0"],
            "no batch",
        ),
        (
            &[
                "--quantize",
                "int8",
                "--qat-epochs",
                "1",
                "--qat-learning-rate=-1",
            ],
            "rate",
        ),
        (&["--prune", "0.95"], "floor"),
        (&["--prune", "0.999", "--of", "values"], "trained values"),
        (&["--prune", "0.5", "--protect", "nothing"], "'nothing'"),
        (&["--prune", "0.5", "--round-to", "0"], "round_to"),
        (&["--prune", "0.5", "--steps", "0"], "steps"),
        (&["--prune", "0.5", "--validation", "0"], "--validation"),
        (
            &["--prune", "0.5", "--epochs", "0", "--learning-rate=-1"],
            "rate",
        ),
    ] {
        let mut command = compress(&model, options);
        let object = json(command.args(["--out", out]), 3);
        assert!(object.to_string().contains(said), "{object}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // A file to write is asked for, and help shows how.
    compress(&model, &["--prune", "0.5"]).assert().code(2);
    let help = forgeling().args(["compress", "--help"]).assert().success();
    help.stdout(contains("Examples:"));
}
