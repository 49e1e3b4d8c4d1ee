//! What a user gets to see: output that arrives, progress without a terminal, reports, and nothing of drivers.

mod common;

use std::path::{Path, PathBuf};

use common::{forgeling, json};
use predicates::str::contains;

/// Trains for a moment, with more arguments.
fn train(out: &Path, more: &[&str]) -> assert_cmd::Command {
    let mut command = forgeling();
    command
        .args(["fewshot", "train", "--device", "cpu", "--data", "glyphs"])
        .args(["--filters", "8", "--size", "16", "--queries", "3"])
        .args(["--episodes", "20", "--out"])
        .arg(out)
        .args(more);
    command
}

fn small_model(folder: &Path) -> PathBuf {
    let model = folder.join("small model.safetensors");
    train(&model, &[]).assert().success();
    model
}

fn eval(model: &Path) -> assert_cmd::Command {
    let mut command = forgeling();
    command
        .args(["fewshot", "eval", "--device", "cpu", "--data", "glyphs"])
        .arg("--model")
        .arg(model);
    command
}

/// Lines of standard error that tell of progress in a unit.
fn progress(command: &mut assert_cmd::Command, unit: &str) -> Vec<String> {
    let assert = command.assert().success();
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    let told = text.lines().filter(|line| line.contains(unit));
    told.map(str::to_owned).collect()
}

#[cfg(target_os = "linux")]
mod streams {
    use std::fs::OpenOptions;
    use std::process::{Command, Output, Stdio};

    /// Runs with standard output going there.
    fn run(arguments: &[&str], output: impl Into<Stdio>) -> Output {
        Command::new(assert_cmd::cargo::cargo_bin("forgeling"))
            .args(arguments)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    }

    const DEVICES: [&str; 3] = ["devices", "--device", "cpu"];

    #[test]
    fn output_that_cannot_be_written_is_an_error() {
        let cases: [(&[&str], i32); 7] = [
            (&DEVICES, 1),
            (&["devices", "--device", "cpu", "--json"], 1),
            (&["--help"], 1),
            (&["--version"], 1),
            // What went wrong before remains the reason.
            (&["devices", "--device", "gpu:99", "--json"], 4),
            (
                &["eval", "--model", "none", "--data", "glyphs", "--json"],
                3,
            ),
            (&["devices", "--device", "cuda", "--json"], 2),
        ];
        for (arguments, code) in cases {
            let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
            let output = run(arguments, full);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
            let expected = "error: standard output cannot be written: No space left on device";
            assert_eq!(said.matches(expected).count(), 1, "{arguments:?}: {said}");
            assert!(!said.contains("panicked"), "{said}");
        }
    }

    /// As of `head`, which goes when it has enough.
    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let cases: [&[&str]; 3] = [
            &DEVICES,
            &["devices", "--device", "cpu", "--json"],
            &["--help"],
        ];
        for arguments in cases {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = run(arguments, writer);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(
                (output.status.code(), said.as_str()),
                (Some(0), ""),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn an_error_that_cannot_be_told_keeps_its_status() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = Command::new(assert_cmd::cargo::cargo_bin("forgeling"))
            .args(["devices", "--device", "gpu:99"])
            .stdout(Stdio::null())
            .stderr(full)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(4));
    }
}

/// Mesa's layer and libwayland talk only where they are installed, as they are where lavapipe is.
#[test]
#[cfg(target_os = "linux")]
fn drivers_are_not_heard_on_a_machine_without_a_display() {
    let folder = tempfile::tempdir().unwrap();
    let bare = |arguments: &[&str]| {
        let mut command = forgeling();
        for name in ["XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(name);
        }
        let assert = command.args(arguments).assert().success();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert_eq!(bare(&["devices"]), "");
    let out = folder.path().join("m.safetensors");
    let said = bare(&[
        "train",
        "--model",
        "mlp",
        "--data",
        "glyphs",
        "--classes",
        "3",
        "--per-class",
        "8",
        "--epochs",
        "1",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(
        !said.contains("XDG_RUNTIME_DIR") && !said.contains("error"),
        "{said}"
    );
}

/// Vulkan's loader tells what it does when it is asked to.
#[test]
#[cfg(target_os = "linux")]
fn whoever_wants_the_cpu_starts_no_driver() {
    let loader = |device: Option<&str>, arguments: &[&str]| {
        let mut command = forgeling();
        command.env("VK_LOADER_DEBUG", "all");
        if let Some(device) = device {
            command.env("FORGELING_DEVICE", device);
        }
        let assert = command.args(arguments).assert().success();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert_eq!(loader(None, &["devices", "--device", "cpu"]), "");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let tour = ["tour", "--episodes", "2", "--out", out];
    let said = loader(None, &[&tour[..], &["--device", "cpu"]].concat());
    assert!(
        said.lines().all(|line| line.contains(" episodes")),
        "{said}"
    );
    let trial = [
        "train",
        "--model",
        "mlp",
        "--data",
        "glyphs",
        "--fast-dev-run",
    ];
    let said = loader(Some("cpu"), &trial);
    assert!(said.lines().all(|line| line.contains("steps (")), "{said}");
    if !forgeling_tests::adapters().is_empty() {
        assert!(loader(None, &["devices"]).contains("Vulkan Loader"));
    }
}

#[test]
fn progress_without_a_terminal_is_a_line_from_time_to_time() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.safetensors");
    let told = |command: &mut assert_cmd::Command, unit: &str, last: &str| {
        let lines = progress(command, unit);
        assert!((1..=25).contains(&lines.len()), "{lines:?}");
        assert!(lines[lines.len() - 1].starts_with(last), "{lines:?}");
    };
    let episodes = "20/20 episodes of protonet (100 %)  loss ";
    told(&mut train(&model, &[]), "episodes of protonet", episodes);
    told(
        &mut train(&model, &["--json"]),
        "episodes of protonet",
        episodes,
    );
    let mut tested = train(&model, &["--test-data", "glyphs"]);
    told(
        &mut tested,
        "test episodes",
        "600/600 test episodes (100 %)",
    );
    told(
        &mut eval(&model),
        "test episodes",
        "600/600 test episodes (100 %)",
    );

    let mut supervised = forgeling();
    supervised
        .args([
            "train", "--device", "cpu", "--model", "mlp", "--data", "glyphs",
        ])
        .args(["--classes", "3", "--per-class", "10", "--batch-size", "8"])
        .args(["--validation", "0", "--epochs", "2", "--out"])
        .arg(folder.path().join("mlp.safetensors"));
    told(&mut supervised, "steps", "8/8 steps (100 %)  loss ");

    let out = folder.path().join("methods");
    let mut compare = forgeling();
    compare
        .args([
            "fewshot",
            "compare",
            "--device",
            "cpu",
            "--methods",
            "protonet",
        ])
        .args([
            "--data",
            "glyphs",
            "--filters",
            "8",
            "--size",
            "16",
            "--queries",
            "3",
        ])
        .args(["--episodes", "20", "--test-episodes", "30", "--out"])
        .arg(&out);
    told(&mut compare, "test episodes", "30/30 test episodes (100 %)");
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    for words in [
        "protonet.safetensors",
        "glyphs: 1000 classes",
        "forgeling fewshot compare",
    ] {
        assert!(report.contains(words), "no {words} in the report");
    }
}

#[test]
fn reports_say_what_made_them_and_stay_small() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let report = folder.path().join("report");
    let mut command = eval(&model);
    command.args([
        "--ways",
        "1000",
        "--shots",
        "1",
        "--queries",
        "2",
        "--episodes",
        "2",
    ]);
    command.arg("--report").arg(&report).assert().success();
    let page = std::fs::read_to_string(report.join("report.html")).unwrap();
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    let made = format!("--model '{}'", model.display());
    for words in [
        "24 of 1000 classes",
        "query, 1000 of 2000",
        &made,
        "forgeling fewshot eval --device cpu --data glyphs",
        "glyphs: 1000 classes",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.contains(words), "no {words} in the report");
    }
}

#[test]
fn one_class_is_no_task() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let refused = |command: &mut assert_cmd::Command, words: &str| {
        let error = json(command, 3);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{error}");
    };
    refused(eval(&model).args(["--ways", "1"]), "one class is no task");
    let other = folder.path().join("other.safetensors");
    refused(&mut train(&other, &["--ways", "1"]), "one class is no task");
    refused(
        &mut train(&other, &["--train-ways", "1"]),
        "one class is no task",
    );
    let mut compare = forgeling();
    compare.args([
        "fewshot",
        "compare",
        "--methods",
        "protonet",
        "--data",
        "glyphs",
        "--ways",
        "1",
    ]);
    refused(
        compare.arg("--out").arg(folder.path()),
        "one class is no task",
    );

    // A list of others.
    let list = folder.path().join("episodes.json");
    let sizes = [
        "--ways",
        "2",
        "--shots",
        "1",
        "--queries",
        "1",
        "--episodes",
        "30",
    ];
    let mut saved = eval(&model);
    saved.args(sizes).arg("--save-episodes").arg(&list);
    saved
        .assert()
        .success()
        .stdout(contains("(30 episodes, not"));
    let mut value: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&list).unwrap()).unwrap();
    for key in ["classes", "support", "query"] {
        value["episodes"][7][key].as_array_mut().unwrap().pop();
    }
    std::fs::write(&list, value.to_string()).unwrap();
    refused(
        eval(&model).arg("--replay").arg(&list),
        "episodes of one class",
    );
    // A few say so.
    let few = ["--ways", "2", "--queries", "1", "--episodes", "2"];
    let assert = eval(&model).args(few).assert().success();
    assert.stdout(contains("(2 episodes, too few for a sure interval"));
}
