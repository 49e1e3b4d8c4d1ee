//! Training on several processes is training on one, and ends when one of them does. Needs the cargo feature `mpi`.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use forgeling::train::{Sgd, SgdConfig};
use forgeling::{Device, DeviceChoice, Readback};
use forgeling_tests::assert_close;
use forgeling_tests::parallel_work::{EXAMPLES, RATE, STEPS, classify, examples, mlp, values};
use serde_json::Value;

/// What a job may take, which it does in seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// What `mpirun` gave.
struct Job {
    success: bool,
    output: String,
    errors: String,
}

fn text(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    pipe.unwrap().read_to_string(&mut text).unwrap();
    text
}

fn wait(child: &mut Child) -> bool {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        if begun.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("the job hangs");
        }
        sleep(Duration::from_millis(20));
    }
}

fn job(ranks: usize, how: &str) -> Job {
    job_of(ranks, &[how])
}

fn job_of(ranks: usize, words: &[&str]) -> Job {
    let mut child = Command::new("mpirun")
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(ranks.to_string())
        .arg(env!("CARGO_BIN_EXE_forgeling-mpi"))
        .args(words)
        .env("RAYON_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mpirun is needed: Debian's openmpi-bin");
    let success = wait(&mut child);
    Job {
        success,
        output: text(child.stdout.take()),
        errors: text(child.stderr.take()),
    }
}

#[test]
fn parameters_are_those_of_one_process() {
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let mut expected = mlp(0, &device).unwrap();
    let mut losses = Vec::new();
    let mut sgd = Sgd::new(SgdConfig {
        momentum: 0.5,
        ..Default::default()
    })
    .unwrap();
    for step in 0..STEPS {
        let own = classify(&expected, examples(step, 0..EXAMPLES), &device).unwrap();
        let [loss] = pollster::block_on(Readback::new().with(own.loss).run()).unwrap();
        losses.push(loss[0]);
        expected = sgd.step(RATE, expected, own.gradients);
    }
    for (ranks, shares) in [(1, vec![31]), (2, vec![16, 15]), (4, vec![8, 8, 8, 7])] {
        let job = job(ranks, "train");
        assert!(job.success, "{}", job.errors);
        let got: Value = serde_json::from_str(&job.output).unwrap();
        let numbers = |key: &str| -> Vec<f32> { serde_json::from_value(got[key].clone()).unwrap() };
        let name = format!("{ranks} ranks");
        assert_close(&name, &numbers("values"), &values(&expected), 1e-5);
        assert_close(&name, &numbers("losses"), &losses, 1e-4);
        // Ranks of one machine are the same bit for bit whenever they are compared.
        assert_eq!(got["events"], serde_json::json!([]));
        assert_eq!(got["shares"], serde_json::json!(shares));
    }
}

#[test]
fn a_rank_that_fails_ends_the_job_with_an_error_that_names_it() {
    for ranks in [2, 4] {
        let job = job(ranks, "error");
        assert!(!job.success);
        // Whichever rank comes first ends the others, so that one may not come to speak.
        let own = "rank 1 has an error in step 5: test: the device was lost";
        let other =
            "an error in step 5: average_gradients: rank 1 failed: test: the device was lost";
        let said = |line| job.errors.contains(line);
        assert!(said(own) || said(other), "{}", job.errors);
    }
}

#[test]
fn a_rank_that_ends_without_more_ado_ends_the_job() {
    for (how, said) in [
        ("kill", "on signal 9"),
        ("panic", "the driver has a fault"),
        ("leave", "rank 1 ended before the others"),
    ] {
        let job = job(3, how);
        assert!(!job.success, "{how}: {}", job.output);
        assert!(job.errors.contains(said), "{how}: {}", job.errors);
        assert!(job.output.is_empty(), "{how}: {}", job.output);
    }
}

#[test]
fn a_rank_with_other_parameters_is_found() {
    let job = job(3, "tamper");
    assert!(!job.success);
    let said = "rank 1 does not have the parameters of the first replica";
    assert!(
        job.errors.contains("has an error in step 9"),
        "{}",
        job.errors
    );
    assert!(job.errors.contains(said), "{}", job.errors);
}

/// A rank is killed in step 25 of a whole run; the same command again goes on from the checkpoint of step 20, and ends as a
/// run on one process.
#[test]
fn a_job_that_lost_a_rank_goes_on_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let whole = job_of(1, &["fit", &path("one")]);
    assert!(whole.success, "{}", whole.errors);
    let whole: Value = serde_json::from_str(&whole.output).unwrap();
    for ranks in [2, 4] {
        let path = path(&format!("{ranks}"));
        let killed = job_of(ranks, &["fit", &path, "kill"]);
        assert!(!killed.success && killed.output.is_empty());
        assert!(killed.errors.contains("on signal 9"), "{}", killed.errors);
        let resumed = job_of(ranks, &["fit", &path]);
        assert!(resumed.success, "{}", resumed.errors);
        let resumed: Value = serde_json::from_str(&resumed.output).unwrap();
        assert_eq!(resumed["from"], 20);
        let numbers =
            |value: &Value| -> Vec<f32> { serde_json::from_value(value.clone()).unwrap() };
        let losses = numbers(&whole["losses"]);
        assert_close("losses", &numbers(&resumed["losses"]), &losses[20..], 1e-2);
        let values = numbers(&whole["values"]);
        assert_close("values", &numbers(&resumed["values"]), &values, 1e-2);
        assert!(losses[STEPS - 1] < losses[0]);
    }
}
