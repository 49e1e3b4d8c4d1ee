//! Runs that are asked to end, and disks that are full.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(120);

/// A long run, in a shell that prepares something first.
fn start(before: &str, arguments: &[&str], temporary: &Path) -> Child {
    let program = assert_cmd::cargo::cargo_bin("forgeling");
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before}\nexec \"$@\""), "sh"])
        .arg(program)
        .args(arguments)
        .env_remove("FORGELING_DEVICE")
        .env("TMPDIR", temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn send(child: &Child, signals: &[&str]) {
    for signal in signals {
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
    }
}

/// Waits until it listens to SIGTERM.
fn listening(child: &mut Child) {
    const SIGTERM: u64 = 1 << 14;
    let begun = Instant::now();
    loop {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not listen");
        }
        assert_eq!(child.try_wait().unwrap(), None, "it has ended");
        let status = format!("/proc/{}/status", child.id());
        let Ok(status) = fs::read_to_string(status) else {
            // Not on Linux.
            std::thread::sleep(Duration::from_secs(10));
            return;
        };
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        if caught & SIGTERM != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether this process, and so what it starts, ignores a signal; on Linux.
fn is_ignored(signal: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits & (1 << (signal - 1)) != 0)
}

fn finish(mut child: Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it goes on");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn object(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn long(out: &Path) -> [Vec<&str>; 2] {
    let out = ["--json", "--out", text(out)];
    let fewshot = ["fewshot", "train", "--episodes", "100000000"];
    [
        [&MLP[..], &["--epochs", "1000000"], &out].concat(),
        [&fewshot[..], &FEWSHOT, &out].concat(),
    ]
}

#[test]
fn a_run_that_is_asked_to_end_saves_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    // A terminal that is closed sends SIGHUP twice, and systemd SIGTERM with SIGHUP.
    for signals in [&["TERM"][..], &["HUP", "HUP"], &["TERM", "HUP"], &["INT"]] {
        // A shell starts what goes on in the background with SIGINT ignored, nohup with SIGHUP, and so it stays.
        let ignored = [("HUP", 1), ("INT", 2)]
            .into_iter()
            .find(|(name, number)| signals.contains(name) && is_ignored(*number));
        if let Some((name, _)) = ignored {
            eprintln!("skipped: SIG{name}, which is ignored here");
            continue;
        }
        for arguments in long(&out) {
            let mut child = start("", &arguments, folder.path());
            listening(&mut child);
            send(&child, signals);
            let object = object(&finish(child));
            assert_eq!(object["stopped"], true, "{signals:?} {object}");
            assert_eq!(object["model"], text(&out));
            fs::remove_file(&out).unwrap();
        }
    }
}

#[test]
fn continual_learning_that_is_asked_to_end_saves_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let command = ["continual", "run", "--device", "cpu", "--data", "glyphs"];
    let options = ["--model", "mlp", "--iterations", "1000000", "--json"];
    let arguments = [&command[..], &options, &["--out", text(&out)]].concat();
    let mut child = start("", &arguments, folder.path());
    listening(&mut child);
    send(&child, &["TERM"]);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["code"], "cancelled");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("the same command goes on"), "{error}");
    assert_eq!(files(&out.join("er-seed0")).len(), 1, "a checkpoint");
}

#[test]
fn a_hangup_that_was_ignored_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let [arguments, _] = long(&out);
    let mut child = start("trap '' HUP", &arguments, folder.path());
    listening(&mut child);
    send(&child, &["HUP"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(child.try_wait().unwrap(), None, "as under nohup");
    send(&child, &["TERM"]);
    assert_eq!(object(&finish(child))["stopped"], true);
    assert!(out.exists());
}

#[test]
fn a_model_that_cannot_be_saved_at_the_end_is_kept_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let place = folder.path().join("place");
    let out = place.join("model");
    let eval = [&["eval"][..], &["fewshot", "eval", "--episodes", "5"]];
    for (arguments, eval) in long(&out).into_iter().zip(eval) {
        let mut child = start("", &arguments, &temporary);
        listening(&mut child);
        fs::remove_dir_all(&place).unwrap();
        fs::write(&place, b"a file now").unwrap();
        send(&child, &["TERM"]);
        let output = finish(child);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        let rescued = &files(&temporary)[..];
        assert_eq!(rescued.len(), 1, "{error}");
        assert!(message.contains(text(&rescued[0])), "{error}");
        assert_eq!(error["error"]["code"], "io");
        forgeling(eval)
            .args(["--device", "cpu", "--data", "glyphs", "--model"])
            .arg(&rescued[0])
            .assert()
            .success();
        fs::remove_file(&rescued[0]).unwrap();
        fs::remove_file(&place).unwrap();
    }
}

/// A limit of the size of files stands for a disk that is full.
#[test]
fn a_full_disk_is_noticed_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    for arguments in long(&out) {
        let full = "trap '' XFSZ\nulimit -f 8";
        let output = finish(start(full, &arguments, folder.path()));
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(files(folder.path()).is_empty());
    }
}

/// When the folder of checkpoints is gone, the model is still saved.
#[test]
fn a_run_whose_checkpoint_cannot_be_saved_saves_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let (out, run) = (folder.path().join("model"), folder.path().join("run"));
    let [mut arguments, _] = long(&out);
    arguments.retain(|word| *word != "--json");
    arguments.extend(["--checkpoint-dir", text(&run), "--checkpoint-every", "1"]);
    let mut child = start("", &arguments, folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let epoch = lines.find(|line| line.as_ref().unwrap().starts_with("Epoch 1/"));
    epoch.unwrap().unwrap();
    while !run.is_file() {
        // A checkpoint may be written meanwhile.
        let _ = fs::remove_dir_all(&run);
        let _ = fs::write(&run, b"a file now");
    }
    // So that it is not waited for a reader.
    let rest = std::thread::spawn(move || lines.count());
    let output = finish(child);
    rest.join().unwrap();
    let mut said = String::new();
    (&output.stderr[..]).read_to_string(&mut said).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("steps was saved to"), "{said}");
    assert!(said.contains(text(&out)), "{said}");
    let object = json(
        forgeling(&["eval", "--device", "cpu", "--data", "glyphs", "--model"]).arg(&out),
        0,
    );
    assert_eq!(object["network"], "mlp");
}
