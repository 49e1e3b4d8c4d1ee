//! A run of training that is killed twenty times ends as one that never was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use forgeling::data::Rng;
use forgeling::train::Checkpoint;

const STEPS: usize = 1200;
const EVERY: usize = 4;
const KILLS: usize = 20;
const SEED: u64 = 12;

fn start(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_forgeling-resume"))
        .arg(folder)
        .args([STEPS.to_string(), EVERY.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What is read of the lines of a run, until there are so many or it ends; half a line is none.
fn lines(reader: &mut impl BufRead, most: usize, out: &mut Vec<String>) {
    for _ in 0..most {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.pop() != Some('\n') {
            return;
        }
        out.push(line);
    }
}

fn step_of(line: &str) -> usize {
    line.split(' ').next().unwrap().parse().unwrap()
}

fn names(folder: &Path) -> BTreeSet<String> {
    // There is no folder yet before the first life has made it.
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Until a checkpoint is begun.
fn wait_for_a_new_file(folder: &Path) {
    let (start, before) = (Instant::now(), names(folder));
    while names(folder).is_subset(&before) && start.elapsed() < Duration::from_secs(5) {}
}

/// All checkpoints of a folder, but for the seconds they took.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let mut checkpoint = Checkpoint::decode(&fs::read(entry.path()).unwrap()).unwrap();
            assert!(checkpoint.sections.remove("time").is_some());
            (name, checkpoint.encode().unwrap())
        })
        .collect()
}

#[test]
fn a_run_that_is_killed_twenty_times_ends_as_one_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (calm, killed) = (folder.path().join("calm"), folder.path().join("killed"));
    let mut child = start(&calm);
    let mut expected = Vec::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    lines(&mut reader, usize::MAX, &mut expected);
    assert!(child.wait().unwrap().success());
    let is_step = |line: &&String| !line.contains("validated");
    assert_eq!(expected.iter().filter(is_step).count(), STEPS);
    let expected: BTreeSet<String> = expected.into_iter().collect();

    let mut rng = Rng::new(SEED);
    let mut seen = BTreeSet::new();
    let mut check = |got: &[String]| {
        for line in got {
            assert!(expected.contains(line), "{line} is not of the calm run");
            seen.insert(line.clone());
        }
    };
    let (mut furthest, mut repeated, mut halfway) = (0, 0, 0);
    for kill in 0..KILLS {
        let mut child = start(&killed);
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut got = Vec::new();
        // Some before the first step, while the last checkpoint is read.
        let most = if kill % 5 == 4 { 0 } else { 1 + rng.below(40) };
        lines(&mut reader, most, &mut got);
        if kill % 2 == 1 {
            wait_for_a_new_file(&killed);
        } else {
            sleep(Duration::from_micros(rng.below(8000) as u64));
        }
        child.kill().unwrap();
        assert!(
            !child.wait().unwrap().success(),
            "it was to be killed, not to end"
        );
        lines(&mut reader, usize::MAX, &mut got);
        check(&got);
        let half = |name: &String| name.ends_with(".partial");
        halfway += names(&killed).iter().filter(|name| half(name)).count();
        if let (Some(first), Some(last)) = (got.first(), got.last()) {
            repeated += usize::from(step_of(first) <= furthest);
            furthest = furthest.max(step_of(last));
        }
    }
    assert!(furthest < STEPS, "every kill came before the end");
    assert!(repeated > 0, "some kills came between checkpoints");
    assert!(halfway > 0, "some kills came while one was written");

    let mut child = start(&killed);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut got = Vec::new();
    lines(&mut reader, usize::MAX, &mut got);
    assert!(child.wait().unwrap().success());
    check(&got);
    assert_eq!(seen, expected);
    // Weights, moments, averages, random numbers: all of it, bit for bit.
    assert_eq!(contents(&killed), contents(&calm));
}
