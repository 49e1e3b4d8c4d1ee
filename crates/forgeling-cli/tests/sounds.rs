//! `forgeling train`, `eval` and `predict` on sounds, as a user types them.

mod common;

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use common::json;
use predicates::prelude::*;
use predicates::str::contains;

fn forgeling(arguments: &[&str]) -> Command {
    let mut command = common::forgeling();
    command.args(["--device", "cpu"]).args(arguments);
    command
}

/// A tone of half a second in 16 bits.
fn tone(path: &Path, rate: u32, frequency: f64) {
    let sample =
        |n: u32| (9000.0 * (TAU * frequency * f64::from(n) / f64::from(rate)).sin()) as i16;
    let data: Vec<u8> = (0..rate / 2)
        .flat_map(|n| sample(n).to_le_bytes())
        .collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(rate.to_le_bytes());
    bytes.extend((2 * rate).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Low and high tones.
fn tones(dir: &Path, each: usize, first: f64) {
    for place in 0..each {
        let pitch = first + 7.0 * place as f64;
        tone(&dir.join(format!("low/{place}.wav")), 16_000, pitch);
        tone(&dir.join(format!("high/{place}.wav")), 16_000, 10.0 * pitch);
    }
}

#[test]
fn sounds_are_learned_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let source = |name: &str| format!("sounds:{}", text(name));
    tones(&at("all/train"), 20, 180.0);
    tones(&at("all/test"), 4, 183.0);
    for (network, width, options, shape) in [
        ("conv4", "4", &["--input", "1x32x51"][..], [1, 32, 51]),
        ("conv1d", "16", &[], [40, 1, 101]),
    ] {
        let model = text("model.safetensors");
        let data = source("all");
        let train = [
            "train", "--model", network, "--width", width, "--epochs", "10",
        ];
        let train = [&train[..], &["--data", &data, "--out", &model], options].concat();
        let found = json(&mut forgeling(&train), 0);
        let input = ["channels", "height", "width"].map(|side| found["input"][side].clone());
        assert_eq!(input, shape, "{found}");
        assert_eq!(found["sounds"]["log_mel"]["sample_rate"], 16_000);
        assert!(found["pictures"].is_null());
        assert_eq!(found["validation_accuracy"], 1.0, "{network}: {found}");

        let eval = ["eval", "--model", &model, "--data", &data];
        let found = json(&mut forgeling(&eval), 0);
        assert_eq!(found["examples"], 8);
        assert_eq!(found["accuracy"], 1.0, "{network}: {found}");

        // At another rate, and one that is broken.
        tone(&at("new/a.wav"), 44_100, 190.0);
        tone(&at("new/b.wav"), 44_100, 1900.0);
        fs::write(at("new/c.wav"), "no sound").unwrap();
        let new = text("new");
        let predict = ["predict", "--model", &model, "--sounds", &new];
        let found = json(&mut forgeling(&predict), 3);
        let best = |place: usize| &found["predictions"][place]["classes"][0]["class"];
        assert_eq!([best(0), best(1)], ["low", "high"], "{network}: {found}");
        let failed = found["failed"][0]["path"].as_str().unwrap();
        assert!(failed.ends_with("c.wav"));
        forgeling(&predict)
            .assert()
            .stdout(contains("Listened to").and(contains("2 resampled")));
        forgeling(&["models", &model])
            .assert()
            .success()
            .stdout(contains("at 16000 Hz"));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sounds = dir.path().join("sounds");
    tones(&sounds, 4, 180.0);
    let source = format!("sounds:{}", sounds.display());
    let model = dir.path().join("model.safetensors");
    let model = model.to_str().unwrap();
    let refused = |arguments: &[&str], words: &str| {
        let failed = forgeling(arguments).assert().code(3);
        failed.stderr(contains(words).and(contains("panicked").not()));
    };
    let train = |more: &[&str], words: &str| {
        let train = ["train", "--model", "conv4", "--width", "2", "--out", model];
        refused(&[&train[..], more].concat(), words);
    };
    train(&["--data", "sounds:/nonexistent"], "/nonexistent");
    train(&["--data", &source, "--input", "3x32x32"], "spectrogram");
    train(&["--data", &source, "--input", "1x300x32"], "mel band");
    train(
        &["--data", &source, "--validation-data", "glyphs"],
        "sounds",
    );
    train(
        &["--data", "glyphs", "--validation-data", &source],
        "images",
    );
    refused(
        &["fewshot", "train", "--data", &source, "--out", model],
        "sounds are no images",
    );
    let drawings = [
        "train", "--model", "mlp", "--epochs", "1", "--data", "glyphs",
    ];
    forgeling(&[&drawings[..], &["--per-class", "4", "--out", model]].concat())
        .assert()
        .success();
    refused(&["eval", "--model", model, "--data", &source], "images");
    let sound_model = ["train", "--model", "conv4", "--width", "2", "--epochs", "1"];
    forgeling(&[&sound_model[..], &["--data", &source, "--out", model]].concat())
        .assert()
        .success();
    refused(
        &["eval", "--model", model, "--data", "glyphs"],
        "sounds:DIR",
    );
    fs::write(sounds.join("low/0.wav"), [0; 100]).unwrap();
    train(&["--data", &source], "0.wav");
}
