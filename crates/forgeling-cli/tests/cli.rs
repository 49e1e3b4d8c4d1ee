//! The command as a user types it.

mod common;

use std::path::Path;

use common::{forgeling, json};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn small_model(folder: &Path) -> String {
    let model = folder.join("model.safetensors");
    let path = model.to_str().unwrap().to_string();
    forgeling()
        .args([
            "fewshot",
            "train",
            "--device",
            "cpu",
            "--data",
            "glyphs",
            "--filters",
            "8",
        ])
        .args(["--episodes", "60", "--queries", "5", "--out", &path])
        .assert()
        .success();
    path
}

#[test]
fn the_tour_learns_and_writes_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tour");
    let mut command = forgeling();
    command
        .args(["tour", "--device", "cpu", "--episodes", "60", "--out"])
        .arg(&out);
    let object = json(&mut command, 0);
    for key in [
        "command",
        "version",
        "device",
        "seed",
        "episodes_per_second",
        "seconds",
    ] {
        assert!(!object[key].is_null(), "{key}");
    }
    assert_eq!(object["device"]["kind"], "cpu");
    let accuracy = |key: &str| object[key].as_f64().unwrap();
    assert!(
        accuracy("accuracy_after") > accuracy("accuracy_before") + 0.1,
        "{object}"
    );
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.matches("<svg").count() >= 3 && report.contains("Devices"));
    assert!(!report.contains("http"), "the report needs no network");
    assert!(out.join("model.safetensors").is_file());
}

#[test]
fn devices_are_listed_and_forced_choices_are_served_or_refused() {
    let object = json(forgeling().args(["devices", "--device", "cpu"]), 0);
    assert_eq!(
        (
            object["choice"].as_str(),
            object["device"]["backend"].as_str()
        ),
        (Some("cpu"), Some("flex"))
    );
    let error = json(forgeling().args(["devices", "--device", "gpu:99"]), 4);
    assert_eq!(error["error"]["code"], "device");
    let usage = json(forgeling().args(["devices", "--device", "cuda"]), 2);
    assert_eq!(usage["error"]["code"], "usage");
    // Without --json, wrong usage is told by clap.
    forgeling()
        .args(["devices", "--device", "cuda"])
        .assert()
        .code(2)
        .stderr(contains("auto, cpu, gpu or gpu:N"));
    forgeling()
        .env("FORGELING_DEVICE", "nonsense")
        .arg("devices")
        .assert()
        .code(3);
    forgeling()
        .env("FORGELING_DEVICE", "cpu")
        .arg("devices")
        .assert()
        .success()
        .stdout(contains("Chosen: CPU"));
}

/// A machine whose Vulkan loader finds no driver. Other systems have no such switch.
#[test]
#[cfg(target_os = "linux")]
fn without_a_vulkan_driver_the_cpu_is_taken_and_says_why() {
    let bare = || {
        let mut command = forgeling();
        command
            .env("VK_ICD_FILENAMES", "")
            .env("VK_DRIVER_FILES", "/nonexistent.json");
        command
    };
    let object = json(bare().arg("devices"), 0);
    assert_eq!(object["adapters"], Value::Array(Vec::new()));
    assert_eq!(object["device"]["kind"], "cpu");
    assert_eq!(object["reason"], "CPU: no GPU adapter");
    json(bare().args(["devices", "--device", "gpu"]), 4);
}

/// Lavapipe, where the test run promises it.
#[test]
#[cfg(target_os = "linux")]
fn a_software_adapter_is_taken_by_name_only() {
    if forgeling_tests::adapters().is_empty() {
        return;
    }
    let object = json(forgeling().arg("devices"), 0);
    let adapters = object["adapters"].as_array().unwrap();
    let software = adapters
        .iter()
        .find(|a| a["kind"] == "software_gpu")
        .expect("lavapipe");
    let hardware = adapters.iter().any(|a| a["kind"] != "software_gpu");
    if !hardware {
        assert_eq!(object["device"]["kind"], "cpu");
        assert!(
            object["reason"].as_str().unwrap().contains("ignored"),
            "{object}"
        );
        let error = json(forgeling().args(["devices", "--device", "gpu"]), 4);
        assert!(
            error["error"]["message"]
                .as_str()
                .unwrap()
                .contains("no hardware adapter")
        );
        let by_environment = json(forgeling().env("FORGELING_DEVICE", "gpu").arg("devices"), 0);
        assert_eq!(by_environment["device"]["kind"], "software_gpu");
    }
    let name = format!("gpu:{}", software["index"]);
    let by_index = json(forgeling().args(["devices", "--device", &name]), 0);
    assert_eq!(by_index["device"]["kind"], "software_gpu");
}

#[test]
fn train_evaluate_and_classify_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let mut eval = forgeling();
    eval.args([
        "fewshot",
        "eval",
        "--device",
        "cpu",
        "--model",
        &model,
        "--data",
        "glyphs",
        "--episodes",
        "20",
    ]);
    let object = json(&mut eval, 0);
    assert_eq!(
        (object["ways"].as_u64(), object["shots"].as_u64()),
        (Some(5), Some(5))
    );
    assert_eq!(object["transductive"], false);
    assert!(object["accuracy"].as_f64().unwrap() > 0.5 && object["ci95"].as_f64().unwrap() > 0.0);

    // Three classes of the invented alphabet as PNG files, dark ink on light paper.
    let (support, query) = (folder.path().join("support"), folder.path().join("query"));
    std::fs::create_dir_all(&query).unwrap();
    for class in 0..3 {
        let class_folder = support.join(format!("class-{class}"));
        std::fs::create_dir_all(&class_folder).unwrap();
        for example in 0..5 {
            write_glyph(class, example, &class_folder.join(format!("{example}.png")));
        }
        for example in 5..9 {
            write_glyph(
                class,
                example,
                &query.join(format!("{class}-{example}.png")),
            );
        }
    }
    let mut classify = forgeling();
    classify.args([
        "fewshot",
        "classify",
        "--device",
        "cpu",
        "--model",
        &model,
        "--support",
    ]);
    let object = json(classify.arg(&support).arg("--query").arg(&query), 0);
    let predictions = object["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 12);
    let right = |p: &&Value| {
        let file = Path::new(p["path"].as_str().unwrap())
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        p["class"].as_str().unwrap() == format!("class-{}", &file[..1])
    };
    let right = predictions.iter().filter(right).count();
    assert!(right >= 9, "{right} of 12 with a chance of 4: {object}");
    assert!(
        predictions
            .iter()
            .all(|p| (0.0..=1.0).contains(&p["probability"].as_f64().unwrap()))
    );

    assert_eq!(object["adaptation"]["name"], "method");
    adapts_to_files(&model, &support, &query);

    // One that cannot be read is told, the others are answered, and the status says so.
    std::fs::write(query.join("broken.png"), b"not an image").unwrap();
    let mut broken = forgeling();
    broken
        .args(["fewshot", "classify", "--model", &model, "--support"])
        .arg(&support)
        .arg("--query")
        .arg(&query);
    let object = json(&mut broken, 3);
    let failed = object["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0]["path"].as_str().unwrap().ends_with("broken.png"),
        "{object}"
    );
    assert_eq!(object["predictions"].as_array().map(Vec::len), Some(12));
}

/// Three classes of five examples each.
fn adapts_to_files(model: &str, support: &Path, query: &Path) {
    let adapting = |how: &str| {
        let mut command = forgeling();
        command.args(["fewshot", "classify", "--device", "cpu", "--adapt", how]);
        command.args(["--seed", "3", "--model", model, "--support"]);
        command.arg(support).arg("--query").arg(query);
        command
    };
    for how in ["prototypes", "head", "lora"] {
        let object = json(&mut adapting(how), 0);
        let (adaptation, predictions) = (&object["adaptation"], &object["predictions"]);
        assert_eq!(adaptation["name"], how);
        assert!(adaptation["seconds"].as_f64().unwrap() >= 0.0, "{object}");
        assert_eq!(predictions.as_array().map(Vec::len), Some(12));
        let trained = &adaptation["fine_tune"];
        if how == "prototypes" {
            assert!(trained.is_null(), "{object}");
            continue;
        }
        assert!(trained["epochs"].is_u64(), "{object}");
        let right = trained["held_out_accuracy"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&right), "{object}");
        let again = json(&mut adapting(how), 0);
        assert_eq!(&again["predictions"], predictions, "the same seed");
    }
    adapting("head")
        .assert()
        .success()
        .stdout(contains("Adapted (head) in").and(contains("of the held-out examples right")));
    json(&mut adapting("heads"), 2);

    // A class without an image.
    let empty = support.join("nothing");
    std::fs::create_dir(&empty).unwrap();
    let error = json(&mut adapting("head"), 3);
    assert!(
        error["error"]["path"]
            .as_str()
            .unwrap()
            .ends_with("nothing"),
        "{error}"
    );
    std::fs::remove_dir(&empty).unwrap();
}

fn write_glyph(class: usize, example: usize, path: &Path) {
    use forgeling::data::{Dataset, Glyphs, Split};
    let glyphs = Glyphs::new(5, Split::Test, 12)
        .unwrap()
        .with_size(56)
        .unwrap();
    let mut pixels = vec![0.0; glyphs.image_shape().len()];
    glyphs.read(class, example, &mut pixels).unwrap();
    let bytes: Vec<u8> = pixels.iter().map(|ink| 255 - (ink * 255.0) as u8).collect();
    image::save_buffer(path, &bytes, 56, 56, image::ExtendedColorType::L8).unwrap();
}

/// A miniature of `cargo xtask reproduce omniglot-minimal`: the same commands on small trees of our own.
#[test]
fn omniglot_trees_train_with_rotations_and_test_on_other_alphabets() {
    let folder = tempfile::tempdir().unwrap();
    let (small1, small2) = (folder.path().join("small1"), folder.path().join("small2"));
    for (tree, alphabet, first) in [
        (&small1, "Alpha", 0),
        (&small2, "Alpha", 0),
        (&small2, "Beta", 6),
    ] {
        for character in 0..6 {
            let characters = tree
                .join(alphabet)
                .join(format!("character{:02}", character + 1));
            std::fs::create_dir_all(&characters).unwrap();
            for drawing in 0..8 {
                write_glyph(
                    first + character,
                    drawing,
                    &characters.join(format!("{drawing:02}.png")),
                );
            }
        }
    }
    let source = |tree: &Path| format!("omniglot:{}", tree.display());
    let model = folder.path().join("m.safetensors");
    let mut train = forgeling();
    train
        .args([
            "fewshot",
            "train",
            "--device",
            "cpu",
            "--rotations",
            "--data",
            &source(&small1),
        ])
        .args([
            "--test-data",
            &source(&small2),
            "--ways",
            "6",
            "--shots",
            "3",
            "--queries",
            "5",
        ])
        .args(["--filters", "16", "--episodes", "80", "--out"])
        .arg(&model);
    let object = json(&mut train, 0);
    assert_eq!(object["test"]["episodes"], 600);
    let eval = |ways: &str, shots: &str, episodes: &str, code: i32| {
        let mut eval = forgeling();
        eval.args(["fewshot", "eval", "--device", "cpu", "--queries", "5"])
            .args(["--data", &source(&small2), "--exclude", &source(&small1)])
            .args(["--ways", ways, "--shots", shots, "--episodes", episodes])
            .arg("--model")
            .arg(&model);
        json(&mut eval, code)
    };
    let accuracy = eval("6", "1", "40", 0)["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.3, "{accuracy} with a chance of 0.17");
    // The other alphabet has six characters, not seven.
    let seven = eval("7", "3", "2", 3);
    assert_eq!(seven["error"]["code"], "invalid_argument");
}

#[test]
fn bad_input_is_one_clear_line_and_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let train = |arguments: &[&str], code: i32, words: &str| {
        forgeling()
            .args(["fewshot", "train", "--device", "cpu", "--out"])
            .arg(&out)
            .args(arguments)
            .assert()
            .code(code)
            .stderr(contains(words).and(contains("panicked").not()));
        assert!(!out.exists(), "nothing is written on failure");
    };
    train(
        &["--data", "mnist:x"],
        2,
        "glyphs, omniglot:PATH, idx:DIR, cifar:DIR, folder:DIR or sounds:DIR",
    );
    train(&["--data", "omniglot:/nonexistent"], 3, "/nonexistent");
    train(&["--data", "idx:/nonexistent"], 3, "/nonexistent");
    train(&["--data", "folder:/nonexistent"], 3, "/nonexistent");
    train(
        &["--data", "glyphs", "--ways", "0"],
        3,
        "classes in an episode",
    );
    train(
        &["--data", "glyphs", "--ways", "1001", "--episodes", "1"],
        3,
        "class",
    );
    train(&["--data", "glyphs", "--size", "7"], 3, "size");
    train(&["--data", "glyphs", "--minutes=-1"], 3, "--minutes");
    train(
        &["--data", "glyphs", "--learning-rate", "nan"],
        3,
        "learning rate",
    );
    train(
        &["--data", "glyphs", "--channels", "2"],
        3,
        "so many channels",
    );
    forgeling()
        .args(["fewshot", "eval", "--model", "none", "--data", "glyphs"])
        .assert()
        .code(3)
        .stderr(contains("[none]"));
}

#[test]
fn help_has_examples_everywhere() {
    for command in [
        &["--help"][..],
        &["tour", "--help"],
        &["devices", "--help"],
        &["fewshot", "train", "--help"],
        &["fewshot", "eval", "--help"],
        &["fewshot", "classify", "--help"],
    ] {
        forgeling()
            .args(command)
            .assert()
            .success()
            .stdout(contains("Examples:"));
    }
}
