//! Printing: text for people, one JSON object for programs, progress for both on standard error.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use forgeling::device::{Device, DeviceInfo};
use forgeling::meta::{FineTuneEvent, Method};
use forgeling::train::{Step, StepEvent};
use forgeling::{Error, ErrorKind, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use crate::heartbeat::Heartbeat;

/// Exit statuses, as scripts rely on them; wrong usage has clap's own.
const USAGE: u8 = 2;
const BAD_INPUT: u8 = 3;
const DEVICE: u8 = 4;
const OTHER: u8 = 1;

pub struct Output {
    json: bool,
    /// What first kept standard output from being written.
    failure: Cell<Option<io::Error>>,
    /// Whether a part of the input was bad, and the rest went on.
    partly: Cell<bool>,
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
        Self {
            json,
            failure: Cell::new(None),
            partly: Cell::new(false),
        }
    }

    /// A line for people; nothing under `--json`.
    pub fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            self.print(&text);
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
            self.print(&json!(object));
        }
    }

    /// As [`object`](Self::object), of a command that uses no device and no seed.
    pub fn plain_object(&self, command: &str, own: impl Serialize) {
        #[derive(Serialize)]
        struct Plain<'a, T> {
            command: &'a str,
            version: &'a str,
            #[serde(flatten)]
            own: T,
        }
        if self.json {
            let version = env!("CARGO_PKG_VERSION");
            self.print(&json!(Plain {
                command,
                version,
                own
            }));
        }
    }

    /// Prints what went wrong, if anything did, and gives the exit status of `contract.md`. Output that was lost is a
    /// failure too.
    pub fn end(&self, result: &Result<()>) -> ExitCode {
        let status = result
            .as_ref()
            .map_or_else(|error| self.error(error), |()| 0);
        let status = match status {
            0 if self.partly.get() => BAD_INPUT,
            status => status,
        };
        ExitCode::from(self.written(status))
    }

    /// Tells of a part of the input that is bad, where the rest goes on; the command fails in the end.
    pub fn bad_part(&self, error: &Error) {
        self.partly.set(true);
        complain(error);
    }

    fn error(&self, error: &Error) -> u8 {
        if self.json {
            self.print(&json!({ "error": describe(error) }));
        } else {
            complain(error);
        }
        match error.kind() {
            _ if error.is_bad_input() => BAD_INPUT,
            ErrorKind::Device | ErrorKind::OutOfMemory => DEVICE,
            _ => OTHER,
        }
    }

    /// A line on standard output.
    fn print(&self, line: &dyn std::fmt::Display) {
        self.keep(writeln!(io::stdout(), "{line}"));
    }

    /// Remembers a failure to write. A reader that has closed its end, such as `head`, has all that it wants.
    fn keep(&self, result: io::Result<()>) {
        if let Err(cause) = result
            && cause.kind() != io::ErrorKind::BrokenPipe
        {
            let first = self.failure.take();
            self.failure.set(Some(first.unwrap_or(cause)));
        }
    }

    /// The exit status of a run that would have had `status`, had all of its output been written.
    fn written(&self, status: u8) -> u8 {
        self.keep(io::stdout().flush());
        match self.failure.take() {
            None => status,
            Some(cause) => {
                complain(&format_args!("standard output cannot be written: {cause}"));
                if status == 0 { OTHER } else { status }
            }
        }
    }
}

/// An error on standard error. Nobody is left to hear that this cannot be written.
fn complain(what: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "error: {what}");
}

/// Help and the version, which clap prints, and wrong usage, which is an object like every other error under `--json`.
pub fn usage(error: &clap::Error, json: bool) -> ExitCode {
    let (output, wrong) = (Output::new(json), error.use_stderr());
    if !wrong {
        output.keep(error.print());
    } else if json {
        let text = error.to_string();
        // What is wrong stands before the first empty line; after it come usage and hints.
        let head = text.split("\n\n").next().unwrap_or_default();
        let message = head.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        output.print(&json!({ "error": { "code": "usage", "message": message } }));
    } else {
        let _ = error.print();
    }
    ExitCode::from(output.written(if wrong { USAGE } else { 0 }))
}

/// An error as JSON has it.
pub fn describe(error: &Error) -> Value {
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

/// How far a run is, on standard error: a bar where that is a terminal, elsewhere a line from time to time.
struct Meter {
    bar: ProgressBar,
    unit: String,
    begun: Instant,
    /// For lines.
    heartbeat: RefCell<Heartbeat>,
}

impl Meter {
    /// Over so many of a unit; 0 where that is not known yet.
    fn new(length: u64, unit: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let template = format!("{{wide_bar:.cyan/black.dim}} {{pos}}/{{len}} {unit}  {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("━━╌"));
        }
        Self {
            bar,
            unit: unit.to_owned(),
            begun: Instant::now(),
            heartbeat: RefCell::default(),
        }
    }

    fn update(&self, position: u64, message: String) {
        let length = self.bar.length().unwrap_or(0);
        let position = position.min(length);
        self.bar.set_position(position);
        if self.bar.is_hidden() {
            let seconds = self.begun.elapsed().as_secs_f64();
            if self.heartbeat.borrow_mut().due(seconds, position, length) {
                let percent = 100.0 * position as f64 / length.max(1) as f64;
                let line = format!(
                    "{position}/{length} {} ({percent:.0} %)  {message}",
                    self.unit
                );
                let _ = writeln!(io::stderr(), "{}", line.trim_end());
            }
        } else {
            self.bar.set_message(message);
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Over the episodes or seconds of training.
pub struct Progress {
    meter: Meter,
    by_time: bool,
}

impl Progress {
    /// Over the `episodes` of a method, or over the `seconds` where only these limit its run.
    pub fn new(method: Method, episodes: Option<usize>, seconds: Option<f64>) -> Self {
        let (length, by_time) = match (episodes, seconds) {
            (Some(episodes), _) => (episodes as u64, false),
            (None, seconds) => (seconds.unwrap_or(0.0).ceil() as u64, true),
        };
        let unit = if by_time { "s" } else { "episodes" };
        let meter = Meter::new(length, &format!("{unit} of {method}"));
        Self { meter, by_time }
    }

    pub fn update(&self, event: &StepEvent) {
        let position = if self.by_time {
            event.seconds as u64
        } else {
            event.episode as u64
        };
        let message = format!(
            "loss {:.3}  accuracy {:>5.1} %  {:.1} episodes/s",
            event.loss,
            100.0 * event.accuracy,
            event.episodes_per_second
        );
        self.meter.update(position, message);
    }

    /// Prints lines without the bar in the way.
    pub fn aside(&self, print: impl FnOnce()) {
        self.meter.bar.suspend(print);
    }

    pub fn finish(&self) {
        self.meter.finish();
    }
}

/// Over the episodes of an evaluation.
pub struct TestProgress {
    meter: Meter,
}

impl TestProgress {
    /// Over so many episodes.
    pub fn new(episodes: usize) -> Self {
        let meter = Meter::new(episodes as u64, "test episodes");
        Self { meter }
    }

    /// So many have been answered.
    pub fn update(&self, episodes: usize) {
        self.meter.update(episodes as u64, String::new());
    }

    pub fn finish(&self) {
        self.meter.finish();
    }
}

/// Over the steps of supervised training.
pub struct StepProgress {
    meter: Meter,
}

impl StepProgress {
    /// Over so many steps.
    pub fn new(steps: usize) -> Self {
        let meter = Meter::new(steps as u64, "steps");
        Self { meter }
    }

    pub fn update(&self, step: &Step) {
        let accuracy = step.accuracy.unwrap_or(0.0);
        let message = format!(
            "loss {:.3}  accuracy {:>5.1} %  {:.0} images/s",
            step.loss,
            100.0 * accuracy,
            step.examples_per_second
        );
        self.meter.update(step.step as u64, message);
    }

    /// Prints lines without the bar in the way.
    pub fn aside(&self, print: impl FnOnce()) {
        self.meter.bar.suspend(print);
    }

    pub fn finish(&self) {
        self.meter.finish();
    }
}

/// Over the batches of a run of continual learning.
pub struct RunProgress {
    meter: Meter,
}

impl RunProgress {
    /// Over so many batches.
    pub fn new(batches: usize, strategy: &str, seed: u64) -> Self {
        let unit = format!("batches of {strategy}, seed {seed}");
        let meter = Meter::new(batches as u64, &unit);
        Self { meter }
    }

    /// A step on a batch was taken.
    pub fn step(&self, step: &Step) {
        self.meter.update(step.step as u64, Self::message(step));
    }

    /// A step was taken that is not on a batch of the stream.
    pub fn beside(&self, step: &Step) {
        let position = self.meter.bar.position();
        let message = format!(
            "step {} on what is kept: {}",
            step.step,
            Self::message(step)
        );
        self.meter.update(position, message);
    }

    /// So many batches passed by.
    pub fn batch(&self, batches: usize) {
        self.meter.update(batches as u64, String::new());
    }

    fn message(step: &Step) -> String {
        let accuracy = 100.0 * step.accuracy.unwrap_or(0.0);
        format!("loss {:.3}  accuracy {accuracy:>5.1} %", step.loss)
    }

    /// Prints lines without the bar in the way.
    pub fn aside(&self, print: impl FnOnce()) {
        self.meter.bar.suspend(print);
    }

    pub fn finish(&self) {
        self.meter.finish();
    }
}

/// Over the epochs of a fine-tuning.
pub struct EpochProgress {
    meter: Meter,
}

impl EpochProgress {
    pub fn new() -> Self {
        let meter = Meter::new(0, "epochs");
        Self { meter }
    }

    pub fn update(&self, event: &FineTuneEvent) {
        self.meter.bar.set_length(event.epochs as u64);
        let held_out = match event.held_out_loss {
            Some(loss) => format!("  held out {loss:.3}"),
            None => String::new(),
        };
        let message = format!("loss {:.3}{held_out}", event.loss);
        self.meter.update(event.epoch as u64, message);
    }

    pub fn finish(&self) {
        self.meter.finish();
    }
}
