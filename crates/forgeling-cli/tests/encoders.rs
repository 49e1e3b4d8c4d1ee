//! A trained network as an encoder of a stranger's photographs, and one whose training goes on.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{forgeling, json};
use forgeling::train::weights::NamedTensor;
use forgeling::train::{SavedNetwork, weights};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::photographs::{OBJECTS, object, write_tree};
use predicates::str::contains;
use serde_json::Value;

/// A small ResNet-18 by torchvision's names, for three classes.
const WEIGHTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/golden/weights.pth"
);
const SHOTS: usize = 3;
const QUERIES: usize = 2;

/// A model file and photographs of objects.
struct Given {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Given {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.safetensors");
        let mut import = forgeling();
        import.args(["import", WEIGHTS, "--model", "resnet18"]);
        import.args(["--option", "width=1", "--input", "3x32x32", "--out"]);
        import.arg(&model).assert().success();
        for (part, examples) in [("support", 0..SHOTS), ("query", SHOTS..SHOTS + QUERIES)] {
            let class = |class: usize| {
                let photographs = examples.clone().map(|example| object(1, class, example));
                (OBJECTS[class], photographs.collect::<Vec<_>>())
            };
            let classes: Vec<_> = (0..OBJECTS.len()).map(class).collect();
            write_tree(&folder.path().join(part), &classes).unwrap();
        }
        Self { folder, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn classify(&self, options: &[&str]) -> Value {
        let mut command = forgeling();
        command.args(["fewshot", "classify", "--device", "cpu", "--model"]);
        command.arg(&self.model).args(options);
        command.arg("--support").arg(self.path("support"));
        command.arg("--query").arg(self.path("query/mug"));
        json(&mut command, 0)
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn features_are_computed_once_whatever_is_made_of_them() {
    let given = Given::new();
    let cache = given.path("cache");
    let cached = ["--cache", cache.to_str().unwrap()];
    let all = OBJECTS.len() * SHOTS + QUERIES;
    let first = given.classify(&cached);
    let counts = |found: &Value| {
        let features = &found["features"];
        ["computed", "from_cache"].map(|key| features[key].as_u64().unwrap() as usize)
    };
    assert_eq!(counts(&first), [all, 0]);
    assert_eq!(first["predictions"].as_array().unwrap().len(), QUERIES);
    assert_eq!(files(&cache).len(), all);
    let second = given.classify(&cached);
    assert_eq!(counts(&second), [0, all]);
    assert_eq!(second["predictions"], first["predictions"]);
    let none = given.classify(&["--no-cache"]);
    assert_eq!(counts(&none), [all, 0]);
    assert_eq!(none["predictions"], first["predictions"]);
    // A file that is damaged is as good as none.
    let damaged = &files(&cache)[0];
    fs::write(damaged, b"forgeling features 1\n").unwrap();
    let mended = given.classify(&cached);
    assert_eq!(counts(&mended), [1, all - 1]);
    assert_eq!(mended["predictions"], first["predictions"]);
    for adaptation in ["prototypes", "lda", "ridge", "head"] {
        let found = given.classify(&[&cached[..], &["--adapt", adaptation]].concat());
        assert_eq!(counts(&found), [0, all], "{adaptation}");
        assert_eq!(found["adaptation"]["name"], adaptation);
    }
    let mirrored = given.classify(&[&cached[..], &["--mirrored"]].concat());
    assert_eq!(counts(&mirrored), [all, 0]);
    assert_ne!(mirrored["predictions"], first["predictions"]);
    let adapters = given.classify(&[&cached[..], &["--adapt", "lora"]].concat());
    assert_eq!(counts(&adapters), [0, 0]);
    // A folder that cannot be written to costs time and nothing else.
    fs::write(given.path("file"), b"").unwrap();
    let nowhere = given.path("file/cache");
    let found = given.classify(&["--cache", nowhere.to_str().unwrap()]);
    assert_eq!(found["predictions"], first["predictions"]);
}

#[test]
fn training_goes_on_with_a_head_of_its_own() {
    let given = Given::new();
    let train = |out: &Path, options: &[&str]| {
        let mut command = forgeling();
        command.args(["train", "--device", "cpu", "--epochs", "1", "--model"]);
        command.arg(&given.model).args(options).arg("--data");
        command.arg(format!("folder:{}", given.path("support").display()));
        command.arg("--out").arg(out);
        command
    };
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let values = |path: &Path| {
        let saved = SavedNetwork::load(path, &device).unwrap();
        pollster::block_on(weights::collect(&saved.network)).unwrap()
    };
    let before = values(&given.model);
    for (freeze, same) in [("encoder", true), ("none", false)] {
        let out = given.path(&format!("{freeze}.safetensors"));
        let found = json(&mut train(&out, &["--freeze", freeze]), 0);
        assert_eq!(found["normalization"]["mean"][0], 0.485, "{freeze}");
        let after = values(&out);
        assert_eq!(after.len(), before.len());
        for (old, new) in before.iter().zip(&after) {
            assert_eq!(old.name, new.name);
            let kept = old.values == new.values;
            if old.name.starts_with("head") {
                assert!(!kept, "{}", old.name);
            } else if freeze == "encoder" {
                assert!(kept, "{}", old.name);
            }
        }
        let of = |all: &[NamedTensor]| {
            let convolution = all.iter().find(|tensor| tensor.shape.len() == 4);
            convolution.unwrap().values.clone()
        };
        assert_eq!(of(&before) == of(&after), same, "{freeze}");
        let mut shown = forgeling();
        let shown = json(shown.arg("models").arg(&out), 0);
        assert_eq!(shown["classes"], serde_json::json!(OBJECTS));
        assert_eq!(shown["model"], "resnet18");
    }
    // A run goes on only from the same file and with the same part frozen.
    let folder = given.path("checkpoints");
    let checkpoints = ["--checkpoint-dir", folder.to_str().unwrap()];
    let out = given.path("again.safetensors");
    train(&out, &checkpoints).assert().success();
    let frozen = [&checkpoints[..], &["--freeze", "encoder", "--epochs", "2"]].concat();
    let mut other = forgeling();
    other.args(["train", "--device", "cpu", "--model"]);
    other.arg(&given.model).args(&frozen).arg("--data");
    other.arg(format!("folder:{}", given.path("support").display()));
    other
        .arg("--out")
        .arg(&out)
        .assert()
        .code(3)
        .stderr(contains("frozen"));
}

#[test]
fn what_needs_a_trained_model_says_so() {
    let given = Given::new();
    for options in [["--freeze", "encoder"], ["--normalize", "model"]] {
        let mut command = forgeling();
        command.args(["train", "--model", "conv4", "--data", "glyphs", "--out"]);
        command.arg(given.path("out.safetensors")).args(options);
        command
            .assert()
            .code(3)
            .stderr(contains("FILE.safetensors"));
    }
    let mut absent = forgeling();
    absent.args([
        "train",
        "--model",
        "absent.safetensors",
        "--data",
        "glyphs",
        "--out",
        "x",
    ]);
    absent
        .assert()
        .code(2)
        .stderr(contains("absent.safetensors"));
    let mut other = forgeling();
    other.args([
        "fewshot", "train", "--data", "glyphs", "--out", "x", "--model",
    ]);
    other.arg(&given.model).assert().code(2);
}
