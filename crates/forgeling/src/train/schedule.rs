//! Learning rates over time.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const OPERATION: &str = "schedule";

/// `rate(episode) = initial * 0.5^floor(episode / every)`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HalvingSchedule {
    /// The rate at the start. Default 1e-3.
    pub initial: f64,
    /// Episodes after which it is halved. Default 2,000, as in the ProtoNet paper.
    pub every: usize,
}

impl Default for HalvingSchedule {
    fn default() -> Self {
        Self {
            initial: 1e-3,
            every: 2000,
        }
    }
}

impl HalvingSchedule {
    /// The learning rate for a step that begins after `episode` episodes.
    pub fn rate(&self, episode: usize) -> f64 {
        let halvings = (episode / self.every.max(1)).min(1000) as i32;
        self.initial * libm::exp2(f64::from(-halvings))
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When the rate is not positive and finite or the interval is zero.
    pub fn validate(&self) -> Result<()> {
        if !(self.initial.is_finite() && self.initial > 0.0) {
            return Err(
                Error::invalid(OPERATION, "the learning rate is out of range")
                    .expected("a positive number")
                    .got(self.initial),
            );
        }
        if self.every == 0 {
            return Err(Error::invalid(OPERATION, "the halving interval is zero")
                .expected("at least 1 episode"));
        }
        Ok(())
    }
}

/// The learning rate as a function of the optimizer steps before this one, `t`, counted from 0. After its last step a
/// schedule that ends keeps its last rate.
///
/// In JSON: `{"kind": "cosine", "initial": 0.1, "floor": 0.001, "steps": 1000}`, every number required.
///
/// ```
/// use forgeling::train::Schedule;
///
/// let schedule = Schedule::Cosine { initial: 0.1, floor: 0.0, steps: 100 }.with_warm_up(4);
/// assert_eq!(schedule.rate(1), 0.05);
/// assert!((schedule.rate(4 + 50) - 0.05).abs() < 1e-15);
/// assert_eq!(schedule.rate(4 + 100), 0.0);
/// schedule.validate()?;
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same rate always.
    Constant {
        /// The rate.
        rate: f64,
    },
    /// [`HalvingSchedule`]; its episodes are steps here.
    Halving(HalvingSchedule),
    /// `initial * factor^floor(t / every)`, as PyTorch's `StepLR`.
    StepDecay {
        /// The rate at the start.
        initial: f64,
        /// What is left of the rate after each interval, above 0 and at most 1.
        factor: f64,
        /// Steps of an interval.
        every: usize,
    },
    /// `floor + (initial - floor) (1 + cos(pi min(t / steps, 1))) / 2`. Loshchilov and Hutter, *SGDR: Stochastic
    /// Gradient Descent with Warm Restarts*, 2017 (arXiv 1608.03983), without restarts.
    Cosine {
        /// The rate at the start.
        initial: f64,
        /// The rate at the end, from 0 to `initial`.
        floor: f64,
        /// Steps from one to the other.
        steps: usize,
    },
    /// `initial + (last - initial) min(t / steps, 1)`.
    Linear {
        /// The rate at the start.
        initial: f64,
        /// The rate at the end, at least 0.
        last: f64,
        /// Steps from one to the other.
        steps: usize,
    },
    /// From `peak / start_divisor` up to `peak` in the step `rising * steps - 1`, then down to
    /// `peak / (start_divisor * end_divisor)` in the step `steps - 1`, both along half a cosine. Smith and Topin,
    /// *Super-Convergence*, 2018 (arXiv 1708.07120); the numbers are those of PyTorch's `OneCycleLR`, where they are 25,
    /// 10,000 and 0.3. Where `rising * steps` is at most 1, the peak is the first step.
    OneCycle {
        /// The largest rate.
        peak: f64,
        /// The peak is so many times the first rate; at least 1.
        start_divisor: f64,
        /// The first rate is so many times the last; at least 1.
        end_divisor: f64,
        /// The part of the steps in which the rate rises, from 0 to 1.
        rising: f64,
        /// All steps.
        steps: usize,
    },
    /// `then.rate(0) * (t + 1) / steps` for the first `steps`, then `then.rate(t - steps)`. Goyal et al., *Accurate,
    /// Large Minibatch SGD*, 2017 (arXiv 1706.02677).
    WarmUp {
        /// Steps in which the rate rises; at least 1.
        steps: usize,
        /// What comes after them; no warm-up.
        then: Box<Schedule>,
    },
}

impl Default for Schedule {
    /// A rate of 1e-3, always.
    fn default() -> Self {
        Self::Constant { rate: 1e-3 }
    }
}

impl From<HalvingSchedule> for Schedule {
    fn from(schedule: HalvingSchedule) -> Self {
        Self::Halving(schedule)
    }
}

impl Schedule {
    /// This one after a rise of so many steps; without them, this one.
    #[must_use]
    pub fn with_warm_up(self, steps: usize) -> Self {
        if steps == 0 {
            return self;
        }
        let then = Box::new(self);
        Self::WarmUp { steps, then }
    }

    /// The learning rate of the step that comes after `step` others.
    pub fn rate(&self, step: usize) -> f64 {
        // The part of the way that lies behind, from 0 to 1.
        let part = |steps: usize| step.min(steps) as f64 / steps.max(1) as f64;
        match self {
            Self::Constant { rate } => *rate,
            Self::Halving(schedule) => schedule.rate(step),
            Self::StepDecay {
                initial,
                factor,
                every,
            } => initial * libm::pow(*factor, (step / (*every).max(1)) as f64),
            Self::Cosine {
                initial,
                floor,
                steps,
            } => along_cosine(*initial, *floor, part(*steps)),
            Self::Linear {
                initial,
                last,
                steps,
            } => between(*initial, *last, part(*steps)),
            Self::OneCycle {
                peak,
                start_divisor,
                end_divisor,
                rising,
                steps,
            } => {
                let first = peak / start_divisor;
                let end = steps.saturating_sub(1);
                let (now, end) = (step.min(end) as f64, end as f64);
                let top = (rising * *steps as f64 - 1.0).clamp(0.0, end);
                if now < top {
                    along_cosine(first, *peak, now / top)
                } else if end > top {
                    let part = (now - top) / (end - top);
                    along_cosine(*peak, first / end_divisor, part)
                } else {
                    *peak
                }
            }
            Self::WarmUp { steps, then } => match step.checked_sub(*steps) {
                Some(after) => then.rate(after),
                None => then.rate(0) * ((step + 1) as f64 / *steps as f64),
            },
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When a rate is not a positive number that f32 can hold (a last one may be 0), when a number of steps is zero, a
    /// factor or divisor is out of its range, a floor is above the first rate, or a warm-up holds another.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Constant { rate } => positive_rate("rate", *rate),
            Self::Halving(schedule) => schedule.validate(),
            Self::StepDecay {
                initial,
                factor,
                every,
            } => {
                positive_rate("initial", *initial)?;
                let right = *factor > 0.0 && *factor <= 1.0;
                number("factor", *factor, right, "above 0, at most 1")?;
                some_steps("every", *every)
            }
            Self::Cosine {
                initial,
                floor,
                steps,
            } => {
                positive_rate("initial", *initial)?;
                let right = *floor >= 0.0 && floor <= initial;
                number("floor", *floor, right, "0 to the initial rate")?;
                some_steps("steps", *steps)
            }
            Self::Linear {
                initial,
                last,
                steps,
            } => {
                positive_rate("initial", *initial)?;
                let right = *last >= 0.0 && (*last as f32).is_finite();
                number("last", *last, right, "a number of at least 0")?;
                some_steps("steps", *steps)
            }
            Self::OneCycle {
                peak,
                start_divisor,
                end_divisor,
                rising,
                steps,
            } => {
                positive_rate("peak", *peak)?;
                for (name, divisor) in [
                    ("start_divisor", *start_divisor),
                    ("end_divisor", *end_divisor),
                ] {
                    let right = divisor >= 1.0 && divisor.is_finite();
                    number(name, divisor, right, "a number of at least 1")?;
                }
                number("rising", *rising, (0.0..=1.0).contains(rising), "0 to 1")?;
                some_steps("steps", *steps)
            }
            Self::WarmUp { steps, then } => {
                some_steps("steps", *steps)?;
                if matches!(**then, Self::WarmUp { .. }) {
                    return Err(Error::invalid(OPERATION, "a warm-up within a warm-up"));
                }
                then.validate()
            }
        }
    }
}

fn between(from: f64, to: f64, part: f64) -> f64 {
    // Exact at both ends.
    from * (1.0 - part) + to * part
}

fn along_cosine(from: f64, to: f64, part: f64) -> f64 {
    between(to, from, (1.0 + libm::cos(PI * part)) / 2.0)
}

fn number(name: &str, value: f64, right: bool, expected: &str) -> Result<()> {
    if right {
        return Ok(());
    }
    Err(Error::invalid(OPERATION, format!("{name} is out of range"))
        .expected(expected)
        .got(value))
}

fn positive_rate(name: &str, rate: f64) -> Result<()> {
    let right = super::optimizer::positive(rate);
    number(name, rate, right, "a positive number")
}

fn some_steps(name: &str, steps: usize) -> Result<()> {
    number(name, steps as f64, steps > 0, "at least 1 step")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_halves_at_every_interval() {
        let schedule = HalvingSchedule {
            initial: 0.8,
            every: 10,
        };
        let rates: Vec<f64> = [0, 9, 10, 19, 20, 35].map(|e| schedule.rate(e)).to_vec();
        assert_eq!(rates, [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]);
        for (initial, every) in [(f64::NAN, 1), (1.0, 0)] {
            assert!(HalvingSchedule { initial, every }.validate().is_err());
        }
    }

    #[test]
    fn numbers_out_of_range_are_errors_that_name_them() {
        let cosine = |initial, floor, steps| Schedule::Cosine {
            initial,
            floor,
            steps,
        };
        let cycle = |start_divisor, end_divisor, rising| Schedule::OneCycle {
            peak: 0.1,
            start_divisor,
            end_divisor,
            rising,
            steps: 10,
        };
        let decay = |factor, every| Schedule::StepDecay {
            initial: 0.1,
            factor,
            every,
        };
        let linear = |initial, last| Schedule::Linear {
            initial,
            last,
            steps: 3,
        };
        let bad = [
            ("rate", Schedule::Constant { rate: 0.0 }),
            ("rate", Schedule::Constant { rate: 1e-60 }),
            ("factor", decay(0.0, 3)),
            ("factor", decay(1.5, 3)),
            ("every", decay(0.5, 0)),
            ("initial", cosine(f64::NAN, 0.0, 5)),
            ("floor", cosine(0.1, 0.2, 5)),
            ("floor", cosine(0.1, -0.1, 5)),
            ("steps", cosine(0.1, 0.0, 0)),
            ("last", linear(0.1, -1.0)),
            ("last", linear(0.1, f64::INFINITY)),
            ("start_divisor", cycle(0.5, 1e4, 0.3)),
            ("end_divisor", cycle(25.0, f64::INFINITY, 0.3)),
            ("rising", cycle(25.0, 1e4, 1.1)),
            (
                "warm-up",
                cosine(0.1, 0.0, 5).with_warm_up(2).with_warm_up(2),
            ),
            ("floor", cosine(0.1, 0.2, 5).with_warm_up(2)),
        ];
        for (name, schedule) in bad {
            let error = schedule.validate().unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(name),
                "{error}"
            );
        }
    }

    #[test]
    fn the_ends_are_exact_and_stay() {
        let cosine = Schedule::Cosine {
            initial: 0.3,
            floor: 0.1,
            steps: 7,
        };
        assert_eq!((cosine.rate(0), cosine.rate(7)), (0.3, 0.1));
        assert_eq!(cosine.rate(usize::MAX), 0.1);
        let warm = cosine.clone().with_warm_up(3);
        assert_eq!((warm.rate(2), warm.rate(3)), (0.3, 0.3));
        assert_eq!(cosine.clone().with_warm_up(0), cosine);
        for (rising, steps) in [(0.0, 5), (1.0, 5), (0.3, 1), (0.1, 5)] {
            let cycle = Schedule::OneCycle {
                peak: 0.1,
                start_divisor: 25.0,
                end_divisor: 1e4,
                rising,
                steps,
            };
            for step in 0..=steps {
                let rate = cycle.rate(step);
                assert!((4e-7..=0.1).contains(&rate), "{rising} {steps}: {rate}");
            }
        }
    }

    #[test]
    fn json_is_as_documented() {
        let text = r#"{"kind":"cosine","initial":0.1,"floor":0.001,"steps":1000}"#;
        let schedule: Schedule = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&schedule).unwrap(), text);
        let warm = Schedule::Halving(HalvingSchedule::default()).with_warm_up(5);
        let text = serde_json::to_string(&warm).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), warm);
        for wrong in [
            r#"{"kind":"cosine","initial":0.1}"#,
            r#"{"kind":"sine","rate":0.1}"#,
            r#"{"kind":"constant","rate":0.1,"rates":1}"#,
        ] {
            assert!(serde_json::from_str::<Schedule>(wrong).is_err(), "{wrong}");
        }
    }
}
