//! Printing: text for people, one JSON object for programs, progress for both on standard error.

use std::io::Write as _;
use std::process::ExitCode;

use forgeling::device::{Device, DeviceInfo};
use forgeling::meta::FineTuneEvent;
use forgeling::train::{Step, StepEvent};
use forgeling::{Error, ErrorKind};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

/// Exit statuses, as scripts rely on them; wrong usage has clap's own.
const USAGE: u8 = 2;
const BAD_INPUT: u8 = 3;
const DEVICE: u8 = 4;
const OTHER: u8 = 1;

pub struct Output {
    json: bool,
}

/// The keys every object has; a command's own are beside them.
#[derive(Serialize)]
struct Object<'a, T> {
    command: &'a str,
    version: &'a str,
    device: &'a DeviceInfo,
    seed: u64,
    #[serde(flatten)]
    own: T,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line for people; nothing under `--json`.
    pub fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            print(&text);
        }
    }

    /// The command's object under `--json`.
    pub fn object(&self, command: &str, device: &Device, seed: u64, own: impl Serialize) {
        if self.json {
            let version = env!("CARGO_PKG_VERSION");
            let object = Object {
                command,
                version,
                device: device.info(),
                seed,
                own,
            };
            print(&json!(object));
        }
    }

    /// Prints what went wrong and gives the exit status of `contract.md`.
    pub fn error(&self, error: &Error) -> ExitCode {
        if self.json {
            print(&json!({ "error": describe(error) }));
        } else {
            eprintln!("error: {error}");
        }
        ExitCode::from(match error.kind() {
            _ if error.is_bad_input() => BAD_INPUT,
            ErrorKind::Device | ErrorKind::OutOfMemory => DEVICE,
            _ => OTHER,
        })
    }
}

/// A line on standard output. A reader that has closed it, such as `head`, is no error.
fn print(line: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Wrong usage under `--json`: one object, like every other error.
pub fn usage(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    // What is wrong stands before the first empty line; after it come usage and hints.
    let head = text.split("\n\n").next().unwrap_or_default();
    let message = head.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    print(&json!({ "error": { "code": "usage", "message": message } }));
    ExitCode::from(USAGE)
}

fn describe(error: &Error) -> Value {
    let mut value = json!({
        "code": error.kind().code(),
        "message": error.message(),
        "operation": error.operation(),
    });
    let optional = [
        ("expected", error.expectation().map(str::to_string)),
        ("got", error.found().map(str::to_string)),
        ("path", error.file().map(|path| path.display().to_string())),
    ];
    for (key, entry) in optional {
        if let Some(entry) = entry {
            value[key] = entry.into();
        }
    }
    value
}

/// A bar on standard error when that is a terminal.
fn bar(length: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let template = format!("{{wide_bar:.cyan/black.dim}} {{pos}}/{{len}} {unit}  {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━━╌"));
    }
    bar
}

/// A bar over episodes or seconds, on standard error when that is a terminal.
pub struct Progress {
    bar: ProgressBar,
    by_time: bool,
}

impl Progress {
    /// Over `episodes`, or over `seconds` where only these limit the run.
    pub fn new(episodes: Option<usize>, seconds: Option<f64>) -> Self {
        let (length, by_time) = match (episodes, seconds) {
            (Some(episodes), _) => (episodes as u64, false),
            (None, seconds) => (seconds.unwrap_or(0.0).ceil() as u64, true),
        };
        let bar = bar(length, if by_time { "s" } else { "episodes" });
        Self { bar, by_time }
    }

    pub fn update(&self, event: &StepEvent) {
        let position = if self.by_time {
            event.seconds as u64
        } else {
            event.episode as u64
        };
        self.bar
            .set_position(position.min(self.bar.length().unwrap_or(u64::MAX)));
        self.bar.set_message(format!(
            "loss {:.3}  accuracy {:>5.1} %  {:.1} episodes/s",
            event.loss,
            100.0 * event.accuracy,
            event.episodes_per_second
        ));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar over the steps of supervised training, on standard error when that is a terminal.
pub struct StepProgress {
    bar: ProgressBar,
}

impl StepProgress {
    /// Over so many steps.
    pub fn new(steps: usize) -> Self {
        Self {
            bar: bar(steps as u64, "steps"),
        }
    }

    pub fn update(&self, step: &Step) {
        self.bar.set_position(step.step as u64);
        let accuracy = step.accuracy.unwrap_or(0.0);
        self.bar.set_message(format!(
            "loss {:.3}  accuracy {:>5.1} %  {:.0} images/s",
            step.loss,
            100.0 * accuracy,
            step.examples_per_second
        ));
    }

    /// Prints lines without the bar in the way.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar over the epochs of a fine-tuning, on standard error when that is a terminal.
pub struct EpochProgress {
    bar: ProgressBar,
}

impl EpochProgress {
    pub fn new() -> Self {
        Self {
            bar: bar(0, "epochs"),
        }
    }

    pub fn update(&self, event: &FineTuneEvent) {
        self.bar.set_length(event.epochs as u64);
        self.bar.set_position(event.epoch as u64);
        let held_out = match event.held_out_loss {
            Some(loss) => format!("  held out {loss:.3}"),
            None => String::new(),
        };
        self.bar
            .set_message(format!("loss {:.3}{held_out}", event.loss));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
