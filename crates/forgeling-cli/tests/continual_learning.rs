//! Contexts one after the other, as a user types it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use common::json;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// A command on four characters in two contexts, with a small network.
fn continual(command: &str, out: &Path, options: &[&str]) -> Command {
    let mut forgeling = common::forgeling();
    forgeling
        .args(["continual", command, "--device", "cpu", "--data", "glyphs"])
        .args(["--classes", "4", "--per-class", "20", "--input", "1x12x12"])
        .args(["--contexts", "2", "--model", "mlp", "--width", "16"])
        .args(["--iterations", "15", "--batch-size", "8", "--out"])
        .arg(out)
        .args(options);
    forgeling
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

fn refused(command: &mut Command, words: &str) {
    let error = json(command, 3);
    let error = error["error"].to_string();
    assert!(error.contains(words), "no '{words}' in {error}");
}

#[test]
fn a_strategy_is_run_for_each_seed_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let options = ["--seeds", "2", "--seed", "3", "--test-every", "5"];
    let options = [&options[..], &["--replayed", "4", "--buffer", "5/class"]].concat();
    let run = || continual("run", &out, &options);
    let found = json(&mut run(), 0);

    for (key, value) in [
        ("command", "continual run"),
        ("strategy", "er"),
        ("scenario", "split"),
        ("setting", "class"),
        ("preset", "vandeven"),
        ("head", "all"),
        ("buffer", "5/class"),
        ("policy", "per_class_at_end"),
    ] {
        assert_eq!(found[key], value, "{key}");
    }
    assert_eq!(found["seeds"], serde_json::json!([3, 4]));
    let number = |key: &str| found[key].as_f64().unwrap_or_else(|| panic!("{key}"));
    let accuracies = found["accuracies"].as_array().unwrap();
    let mean = accuracies.iter().map(|v| v.as_f64().unwrap()).sum::<f64>() / 2.0;
    assert!((number("accuracy") - mean).abs() < 1e-12);
    for key in [
        "bwt",
        "fwt",
        "forgetting",
        "forgetting_first_last",
        "untrained",
    ] {
        assert!((-1.0..=1.0).contains(&number(key)), "{key}");
        assert!(number(&format!("{key}_se")) >= 0.0, "{key}");
    }
    // Of two contexts, only the first can be forgotten, and that right after it was learned is the best before the last.
    assert!((number("forgetting") + number("bwt")).abs() < 1e-12);
    // Two contexts of 15 batches of 8.
    assert_eq!((number("batches"), number("examples_seen")), (30.0, 240.0));
    assert_eq!((number("steps"), number("batch_size")), (30.0, 8.0));
    // From the second context on.
    assert_eq!(number("examples_replayed"), 15.0 * 4.0);
    // Five drawings of four classes: a byte for each value and eight more, or four bytes for each.
    let bytes = number("buffer_bytes");
    assert!(
        bytes == 20.0 * (144.0 + 8.0) || bytes == 20.0 * (4.0 * 144.0 + 8.0),
        "{bytes}"
    );
    let values = 144 * 16 + 16 + 16 * 4 + 4;
    assert_eq!(number("model_bytes"), f64::from(4 * values));
    assert_eq!(number("state_bytes"), 0.0);
    assert!(number("multiply_adds") > 0.0 && number("seconds") > 0.0);

    let matrix = found["matrix"].as_array().unwrap();
    assert_eq!(matrix.len(), 3);
    let cell = |row: usize, column: usize| matrix[row][column].as_f64().unwrap();
    assert!((number("accuracy") - (cell(2, 0) + cell(2, 1)) / 2.0).abs() < 1e-12);
    assert!((number("untrained") - (cell(0, 0) + cell(0, 1)) / 2.0).abs() < 1e-12);
    // The mean of lowest values is at most the lowest mean.
    assert!(number("worst_within") <= cell(1, 0).min(cell(2, 0)) + 1e-12);
    let changed = found["changed"].to_string();
    for option in ["--iterations", "--buffer", "--replayed"] {
        assert!(changed.contains(option), "{changed}");
    }

    // Files.
    let page = text(out.join("report.html"));
    for words in [
        "Accuracy on each context after each",
        "after 2: context 1:",
        "Accuracy over contexts",
        "Forgetting",
        "15 batches of 8 instead of 2000 batches of 128",
        "forgeling continual run --device cpu",
    ] {
        assert!(page.contains(words), "no {words} in the report");
    }
    assert!(!page.contains("http://") && !page.contains("https://"));
    let csv = text(out.join("R.csv"));
    assert_eq!(csv.lines().count(), 1 + 2 * 3 * 2);
    assert_eq!(
        csv.lines().next(),
        Some("strategy,seed,after,context,accuracy")
    );
    assert!(csv.contains("\ner,4,2,2,"), "{csv}");
    assert_eq!(text(out.join("rows.csv")).lines().count(), 3);
    for seed in [3, 4] {
        let names: Vec<String> = fs::read_dir(out.join(format!("er-seed{seed}")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(
            names,
            ["outcome.json"],
            "checkpoints of a finished run are removed"
        );
    }

    // What is done is not done again, by this command or by one with more seeds; of other runs nothing is taken.
    let outcome = text(out.join("er-seed3/outcome.json"));
    let again = json(&mut run(), 0);
    assert_eq!(again, found);
    run()
        .args(["--learning-rate", "0.1"])
        .assert()
        .code(3)
        .stderr(contains(
            "of a run with another learning rate schedule; --restart",
        ));
    assert_eq!(text(out.join("er-seed3/outcome.json")), outcome);
    let anew = json(run().args(["--learning-rate", "0.1", "--restart"]), 0);
    assert_ne!(anew["matrix"], found["matrix"]);
    assert_eq!(text(out.join("old-1/er-seed3/outcome.json")), outcome);
}

#[test]
fn people_see_a_table_and_what_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--strategy", "ewc", "--fisher", "exact:10", "--lambda", "7"];
    continual("run", &folder.path().join("out"), &options)
        .args(["--setting", "task", "--seeds", "2"])
        .assert()
        .success()
        .stdout(
            contains("changed by --lambda: 7 instead of 100000")
                .and(contains(
                    "changed by --fisher: exact of (examples 10) instead of exact",
                ))
                .and(contains("ewc (2 runs)"))
                .and(contains("backward transfer, points"))
                .and(contains("per-task"))
                .and(contains("untrained"))
                .and(contains("Ctrl-C stops and saves")),
        );
}

#[test]
fn strategies_are_compared_on_equal_terms() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let strategies = ["--strategies", "naive,joint,er,agem"];
    let options = [&strategies[..], &["--buffer", "5/class", "--replayed", "4"]].concat();
    let found = json(&mut continual("compare", &out, &options), 0);
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<&Value> = rows.iter().map(|row| &row["strategy"]).collect();
    assert_eq!(names, ["naive", "joint", "er", "agem"]);
    assert_eq!(rows[0]["buffer"], Value::Null);
    assert_eq!(rows[3]["buffer"], "5/class");
    assert!(rows.iter().all(|row| row["batches"] == 30));
    // Whose contexts come at once.
    assert_eq!(rows[1]["bwt"], Value::Null);
    assert!(rows[1]["accuracy"].is_number() && rows[1]["untrained"].is_number());
    assert!(rows[2].get("matrix").is_none());
    let page = text(out.join("report.html"));
    // Of all but joint.
    let maps = page.matches("aria-label=\"Accuracy on each context after each\"");
    assert_eq!(maps.count(), 3);
    assert!(page.contains("stroke-dasharray=\"6 4\""));

    for (options, words) in [
        (
            &["--strategies", "er,gdumb"][..],
            "unequal buffers: er 100/class, gdumb 4400",
        ),
        (
            &["--strategies", "naive,cumulative", "--preset", "mammoth"],
            "unequal numbers of batches: naive",
        ),
        (&["--strategies", "er,er"], "a strategy is named twice"),
    ] {
        // Without a number of batches for all.
        let mut command = common::forgeling();
        command
            .args([
                "continual",
                "compare",
                "--device",
                "cpu",
                "--data",
                "glyphs",
            ])
            .args(["--classes", "4", "--per-class", "20", "--input", "1x12x12"])
            .args([
                "--contexts",
                "2",
                "--model",
                "mlp",
                "--width",
                "16",
                "--out",
            ])
            .arg(folder.path().join("refused"))
            .args(options);
        refused(&mut command, words);
    }
    assert!(!folder.path().join("refused").exists());
    let unequal = ["--strategies", "naive,slda", "--preset", "mammoth"];
    let mut command = common::forgeling();
    command
        .args([
            "continual",
            "compare",
            "--device",
            "cpu",
            "--data",
            "glyphs",
        ])
        .args(["--classes", "4", "--per-class", "20", "--input", "1x12x12"])
        .args(["--contexts", "2", "--iterations", "10", "--out"])
        .arg(folder.path().join("unequal"))
        .args(unequal);
    let found = json(&mut command, 0);
    assert_eq!(found["rows"][1]["steps"], 0);
    assert!(found["rows"][1]["state_bytes"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (options, words) in [
        (
            &["--setting", "free", "--strategy", "ewc"][..],
            "told where contexts end",
        ),
        (
            &["--setting", "free", "--preset", "vandeven"],
            "a setting with boundaries",
        ),
        (&["--head", "per-task"], "needs the context of each example"),
        (
            &["--strategy", "naive", "--buffer", "100"],
            "--buffer is not for the strategy naive, which keeps no examples",
        ),
        (
            &["--strategy", "er", "--lambda", "1"],
            "--lambda is not for the strategy er",
        ),
        (
            &["--strategy", "si", "--fisher", "sample"],
            "--fisher is not for the strategy si",
        ),
        (
            &["--strategy", "ncm", "--learning-rate", "0.1"],
            "--learning-rate is not for the strategy ncm",
        ),
        (
            &["--strategy", "ewc", "--replayed", "3"],
            "--replayed is not for the strategy ewc",
        ),
        (
            &["--overlap", "1"],
            "--overlap is not for the scenario that was asked for",
        ),
        (
            &["--scenario", "blurred", "--setting", "class"],
            "no boundaries",
        ),
    ] {
        refused(&mut continual("run", &out, options), words);
    }
    let mut sizes = common::forgeling();
    sizes
        .args(["continual", "run", "--device", "cpu", "--data", "glyphs"])
        .args(["--classes", "4", "--sizes", "2,3", "--out"])
        .arg(&out);
    refused(&mut sizes, "or more than are left");
    assert!(!out.exists(), "nothing was written");
    continual("run", &out, &["--strategy", "rehearsal"])
        .assert()
        .code(2)
        .stderr(contains("naive, joint, cumulative, er, er-ace"));
    // A place that cannot be written is known before the first step.
    fs::write(&out, b"a file").unwrap();
    let mut long = continual("run", &out, &["--seeds", "1000"]);
    refused(&mut long, "not a folder");
}

#[test]
fn other_scenarios_files_and_trained_networks_are_learned() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let trained = place("trained.safetensors");
    common::forgeling()
        .args([
            "train", "--device", "cpu", "--model", "mlp", "--width", "32",
        ])
        .args(["--data", "glyphs", "--classes", "6", "--per-class", "20"])
        .args(["--input", "1x12x12", "--epochs", "20", "--out"])
        .arg(&trained)
        .assert()
        .success();
    let run = |name: &str, options: &[&str]| {
        let mut command = common::forgeling();
        command
            .args(["continual", "run", "--device", "cpu", "--data", "glyphs"])
            .args(["--classes", "4", "--per-class", "20", "--out"])
            .arg(place(name))
            .args(options);
        json(&mut command, 0)
    };
    let small = ["--input", "1x12x12", "--model", "mlp", "--width", "8"];
    let blurred = ["--scenario", "blurred", "--contexts", "2"];
    let found = run("blurred", &[&small[..], &blurred].concat());
    assert_eq!(
        (&found["setting"], &found["preset"]),
        (&"free".into(), &"mammoth".into())
    );
    // All contexts end at once.
    assert_eq!(found["matrix"], Value::Null);
    let rotated = ["--scenario", "rotated", "--degrees=-20,0,20"];
    let few = ["--setting", "domain", "--iterations", "5"];
    let found = run("rotated", &[&small[..], &rotated, &few].concat());
    assert_eq!(found["contexts"], 3);
    let permuted = ["--scenario", "permuted", "--contexts", "2"];
    let found = run("permuted", &[&small[..], &permuted, &few].concat());
    // With a border of two.
    assert_eq!(found["model_bytes"], 4 * (16 * 16 * 8 + 8 + 8 * 4 + 4));

    let weights = trained.to_str().unwrap();
    let ncm = ["--strategy", "ncm", "--contexts", "2", "--weights", weights];
    let found = run("ncm", &ncm);
    // Of four classes.
    assert!(found["accuracy"].as_f64().unwrap() > 0.5, "{found}");
    assert_eq!(found["model_bytes"], 4 * (144 * 32 + 32));
    let refused = ["--model", "mlp", "--weights", weights];
    continual("run", &place("both"), &refused).assert().code(2);
}

/// What a run came to, but for the time it took.
fn outcome(out: &Path, strategy: &str) -> Value {
    let path = out.join(format!("{strategy}-seed0/outcome.json"));
    let mut kept: Value = serde_json::from_str(&text(path)).unwrap();
    kept["outcome"].as_object_mut().unwrap().remove("seconds");
    kept["outcome"].take()
}

/// The step of the latest checkpoint.
fn latest(folder: &Path) -> Option<u64> {
    let names = fs::read_dir(folder).ok()?;
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let step = |name: String| {
        let digits = name.strip_prefix("checkpoint-")?;
        digits.strip_suffix(".safetensors")?.parse().ok()
    };
    names.filter_map(step).max()
}

/// Waits for a checkpoint later than that of this step, and for a moment more. Gives false where the process ended before.
fn wait_for_checkpoint(
    child: &mut Child,
    folder: &Path,
    after: Option<u64>,
    more: Duration,
) -> bool {
    let begun = Instant::now();
    while latest(folder) <= after {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint");
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(more);
    child.try_wait().unwrap().is_none()
}

#[test]
fn a_run_that_is_killed_again_and_again_comes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (strategy, options) in [
        ("derpp", &["--setting", "class", "--preset", "mammoth"][..]),
        ("ewc", &["--setting", "task", "--fisher", "exact"]),
        ("icarl", &["--setting", "class", "--buffer", "5/class"]),
    ] {
        let command = |out: &Path| {
            let mut command = continual("run", out, &["--strategy", strategy]);
            command.args(options).args(["--checkpoint-every", "4"]);
            command.args(["--test-every", "10"]);
            command
        };
        let whole = folder.path().join(format!("{strategy}-whole"));
        command(&whole).assert().success();
        let out = folder.path().join(strategy);
        let run = out.join(format!("{strategy}-seed0"));
        let mut kills = 0;
        for round in 0..20u64 {
            let after = latest(&run);
            let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("forgeling"))
                .env_remove("FORGELING_DEVICE")
                .args(command(&out).get_args())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // At moments that have nothing to do with its steps.
            let more = Duration::from_micros(round * round * 977 % 5000);
            let killed = wait_for_checkpoint(&mut child, &run, after, more);
            child.kill().unwrap();
            child.wait().unwrap();
            kills += usize::from(killed);
            if !killed {
                break;
            }
        }
        assert!(kills >= 3, "{strategy}: killed {kills} times");
        command(&out).assert().success();
        assert_eq!(
            outcome(&out, strategy),
            outcome(&whole, strategy),
            "{strategy}"
        );
        assert_eq!(
            latest(&run),
            None,
            "checkpoints of a finished run are removed"
        );
    }
}
