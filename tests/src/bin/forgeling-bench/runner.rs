//! Lets the implementations of one workload take turns, so that a machine that warms up or is busy for a
//! while does so for all of them.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use burn::tensor::Device as Tensors;
use forgeling::Device;
use forgeling::device::LaunchCounter;
use serde_json::{Value, json};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Time for the threads of whoever had the turn before to go to sleep; some wait actively for a while.
const PAUSE: Duration = Duration::from_millis(20);

/// One way of doing a workload.
pub trait Contestant {
    fn name(&self) -> &str;

    /// Where it runs.
    fn device(&self) -> &str;

    /// Takes training steps one after the other, each with its loss read.
    fn turn(&mut self, steps: usize) -> Result<Turn>;

    /// Milliseconds of a step, the median of all, in which no device computed. For several devices.
    fn synchronization(&self) -> Option<f64> {
        None
    }
}

/// What one turn took and brought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// From the first step until the device had finished the last one.
    pub elapsed: Duration,
    /// Of the last step.
    pub loss: f64,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Rounds of each workload, instead of as many as the time of its steps allows.
    pub rounds: Option<usize>,
    /// The smallest workload of each kind alone.
    pub smallest: bool,
}

impl Extent {
    /// What becomes of a workload's usual pace.
    pub fn pace(self, usual: Pace) -> Pace {
        Pace {
            rounds: self.rounds.unwrap_or(usual.rounds),
            ..usual
        }
    }
}

/// How often each implementation has its turn, and with how many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub rounds: usize,
    pub steps: usize,
}

impl Pace {
    /// Fewer rounds where a step takes seconds; `work` grows with a step's size.
    pub const fn of(slow_device: bool, work: usize) -> Self {
        let (rounds, steps) = match (slow_device, work) {
            (true, 1..) => (5, 1),
            (true, 0) => (10, 2),
            (false, 256..) => (7, 1),
            (false, 1..) => (15, 3),
            (false, 0) => (25, 5),
        };
        Self { rounds, steps }
    }

    /// For steps of about a second, and on a software adapter of many.
    pub const fn long(slow_device: bool) -> Self {
        let rounds = if slow_device { 1 } else { 7 };
        Self { rounds, steps: 1 }
    }
}

/// Warms up, lets all take turns, and prints a line for each. The first one is what the others are compared
/// with where it is ours.
pub fn compare(
    workload: &str,
    episodes: Option<usize>,
    pace: Pace,
    device: &Device,
    implementations: &mut [&mut dyn Contestant],
) -> Result<()> {
    let mut counts = Vec::new();
    for implementation in implementations.iter_mut() {
        counts.push(count(*implementation, device)?);
    }
    take_turns(workload, episodes, pace, counts, implementations)
}

/// What a GPU does in one step.
#[derive(Debug, Clone, Copy)]
struct Counts {
    launches: usize,
    bytes: u64,
    peak: Option<u64>,
}

/// Warms up, and counts in one step.
fn count(implementation: &mut dyn Contestant, device: &Device) -> Result<Counts> {
    // The first steps allocate, and compile kernels.
    implementation.turn(2)?;
    let counter = LaunchCounter::on(device);
    implementation.turn(1)?;
    Ok(Counts {
        launches: counter.total(),
        bytes: counter.bytes(),
        peak: counter.peak_bytes(),
    })
}

/// [`compare`] of implementations that are warm and counted.
fn take_turns(
    workload: &str,
    episodes: Option<usize>,
    pace: Pace,
    counts: Vec<Counts>,
    implementations: &mut [&mut dyn Contestant],
) -> Result<()> {
    let mut turns = vec![Vec::new(); implementations.len()];
    for _ in 0..pace.rounds {
        for (implementation, turns) in implementations.iter_mut().zip(&mut turns) {
            sleep(PAUSE);
            let turn = implementation.turn(pace.steps)?;
            if !turn.loss.is_finite() {
                let name = implementation.name();
                return Err(format!("{workload}, {name}: the loss is {}", turn.loss).into());
            }
            turns.push(turn);
        }
    }
    let ours = implementations
        .iter()
        .position(|implementation| implementation.name() == OURS)
        .map(|index| Times::of(&turns[index], pace.steps).median);
    for ((implementation, turns), counts) in implementations.iter().zip(&turns).zip(counts) {
        let times = Times::of(turns, pace.steps);
        let mut line = times.line(workload, pace, episodes);
        line["implementation"] = implementation.name().into();
        line["device"] = implementation.device().into();
        // PyTorch runs in a process of its own, where nothing is counted.
        let Counts {
            launches,
            bytes,
            peak,
        } = counts;
        if launches > 0 {
            line["launches"] = launches.into();
            line["peak_bytes"] = peak.into();
        }
        if bytes > 0 {
            line["bytes"] = bytes.into();
        }
        if let Some(ours) = ours.filter(|_| implementation.name() != OURS) {
            line["ratio"] = (times.median / ours).into();
        }
        if let Some(milliseconds) = implementation.synchronization() {
            line["sync_ms"] = milliseconds.into();
        }
        println!("{line}");
        let last = turns.last().map_or(f64::NAN, |turn| turn.loss);
        eprintln!("loss of {} at the end: {last:.3}", implementation.name());
    }
    Ok(())
}

/// A device of ours, for people.
pub fn description(device: &Device) -> String {
    format!("{} ({})", device.info().name, device.info().backend)
}

/// Times `steps` calls of `step`, which gives its loss, with what they leave to do on `device`.
pub fn timed(
    device: &Tensors,
    steps: usize,
    mut step: impl FnMut() -> Result<f64>,
) -> Result<Turn> {
    let begun = Instant::now();
    let mut loss = f64::NAN;
    for _ in 0..steps {
        loss = step()?;
    }
    // The optimizer's part of the last step may still be under way.
    device.sync().map_err(|error| format!("{error:?}"))?;
    Ok(Turn {
        elapsed: begun.elapsed(),
        loss,
    })
}

/// The name of our own implementation.
pub const OURS: &str = "forgeling";

/// Milliseconds of a step.
#[derive(Debug, PartialEq)]
struct Times {
    median: f64,
    min: f64,
    max: f64,
}

impl Times {
    /// Of turns of `steps` steps; at least one turn.
    fn of(turns: &[Turn], steps: usize) -> Self {
        let mut times: Vec<f64> = turns
            .iter()
            .map(|turn| 1000.0 * turn.elapsed.as_secs_f64() / steps as f64)
            .collect();
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let median = if times.len() % 2 == 1 {
            times[middle]
        } else {
            (times[middle - 1] + times[middle]) / 2.0
        };
        Self {
            median,
            min: times[0],
            max: times[times.len() - 1],
        }
    }

    fn line(&self, workload: &str, pace: Pace, episodes: Option<usize>) -> Value {
        let mut line = json!({
            "workload": workload,
            "median_ms": self.median,
            "min_ms": self.min,
            "max_ms": self.max,
            "rounds": pace.rounds,
            "steps": pace.steps,
        });
        if let Some(episodes) = episodes {
            line["episodes_per_second"] = (1000.0 * episodes as f64 / self.median).into();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(Vec<usize>);

    impl Contestant for Counting {
        fn name(&self) -> &str {
            OURS
        }

        fn device(&self) -> &str {
            "none"
        }

        fn turn(&mut self, steps: usize) -> Result<Turn> {
            self.0.push(steps);
            Ok(turn(1.0))
        }
    }

    fn turn(milliseconds: f64) -> Turn {
        Turn {
            elapsed: Duration::from_secs_f64(milliseconds / 1000.0),
            loss: 1.0,
        }
    }

    #[test]
    fn rounds_are_those_asked_for() {
        let usual = Pace::of(false, 1);
        assert_eq!(Extent::default().pace(usual), usual);
        let one = Extent {
            rounds: Some(1),
            ..Default::default()
        };
        let expected = Pace {
            rounds: 1,
            steps: 3,
        };
        assert_eq!(one.pace(usual), expected);
    }

    #[test]
    fn times_are_those_of_a_step() {
        let times = |all: &[f64]| Times::of(&all.iter().map(|t| turn(*t)).collect::<Vec<_>>(), 2);
        let odd = times(&[8.0, 2.0, 4.0]);
        assert_eq!((odd.min, odd.median, odd.max), (1.0, 2.0, 4.0));
        assert_eq!(times(&[2.0, 4.0, 20.0, 8.0]).median, 3.0);
    }

    #[test]
    fn a_line_has_episodes_where_there_are_some() {
        let pace = Pace {
            rounds: 3,
            steps: 2,
        };
        let times = Times::of(&[turn(200.0)], 2);
        let line = times.line("w", pace, Some(8));
        assert_eq!(line["episodes_per_second"], 80.0);
        assert_eq!((&line["rounds"], &line["steps"]), (&json!(3), &json!(2)));
        assert_eq!(
            times.line("w", pace, None)["episodes_per_second"],
            Value::Null
        );
    }

    #[test]
    fn all_have_their_turns() {
        let (mut one, mut two) = (Counting(Vec::new()), Counting(Vec::new()));
        let pace = Pace {
            rounds: 2,
            steps: 3,
        };
        let device = pollster::block_on(Device::open(forgeling::DeviceChoice::Cpu)).unwrap();
        compare("w", None, pace, &device, &mut [&mut one, &mut two]).unwrap();
        assert_eq!((one.0, two.0), (vec![2, 1, 3, 3], vec![2, 1, 3, 3]));
    }
}
