//! What a strategy's runs follow from: a preset, and what was typed over it.

use forgeling::continual::{
    Kind, Pace, Preset, Protocol, Scenario, Setting, Strategy, StrategyName,
};
use forgeling::train::Schedule;
use forgeling::{Error, Result};
use serde_json::json;

use super::words;
use crate::args::ProtocolArgs;

const OPERATION: &str = "continual";

/// A strategy and its protocol.
#[derive(Clone)]
pub struct Plan {
    pub name: StrategyName,
    pub protocol: Protocol,
    /// What is not the preset's.
    pub changed: Vec<Change>,
}

/// A value that is not the preset's.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub option: &'static str,
    pub from: String,
    pub to: String,
}

/// The protocols of strategies. An option that none of them takes is an error.
pub fn all(
    args: &ProtocolArgs,
    preset: Preset,
    names: &[StrategyName],
    scenario: &Scenario,
) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    let mut refused: Vec<Vec<Option<String>>> = Vec::new();
    for &name in names {
        let (plan, results) = Draft::new(args, preset, name, scenario).typed();
        plans.push(plan);
        refused.push(results);
    }
    for option in 0..refused.first().map_or(0, Vec::len) {
        let reasons: Option<Vec<&String>> = refused.iter().map(|of| of[option].as_ref()).collect();
        if let Some(reasons) = reasons {
            return Err(Error::invalid(OPERATION, reasons[0]));
        }
    }
    Ok(plans)
}

/// A plan in the making.
struct Draft<'a> {
    args: &'a ProtocolArgs,
    name: StrategyName,
    contexts: usize,
    protocol: Protocol,
    changed: Vec<Change>,
    /// Of each option that was typed, why it is not for this strategy, if it is not.
    refused: Vec<Option<String>>,
}

impl<'a> Draft<'a> {
    fn new(
        args: &'a ProtocolArgs,
        preset: Preset,
        name: StrategyName,
        scenario: &Scenario,
    ) -> Self {
        let budget = args.buffer.map(|buffer| buffer.0);
        let usual = preset.protocol(name, scenario, None);
        let mut draft = Self {
            args,
            name,
            contexts: scenario.len(),
            protocol: preset.protocol(name, scenario, budget),
            changed: Vec::new(),
            refused: Vec::new(),
        };
        if budget.is_some() {
            let (from, to) = (usual.buffer, draft.protocol.buffer);
            let result = match to {
                Some(_) => Ok((words::buffer(from), words::buffer(to))),
                None => Err("keeps no examples"),
            };
            draft.note("--buffer", result);
        }
        let once = Pace::Epochs {
            epochs: 1,
            batch_size: batch_size(draft.protocol.pace),
        };
        let blurred = matches!(scenario.config().kind, Kind::Blurred { .. });
        if blurred && draft.protocol.pace != once && args.iterations.is_none() {
            let from = words::pace(std::mem::replace(&mut draft.protocol.pace, once));
            draft.changed.push(Change {
                option: "blurred contexts, which come once",
                from,
                to: words::pace(once),
            });
        }
        draft
    }

    /// Takes note of an option that was typed, with its value before and now, or what the strategy has not.
    fn note(&mut self, option: &'static str, result: Result<(String, String), &str>) {
        let refused = match result {
            Ok((from, to)) => {
                if from != to {
                    self.changed.push(Change { option, from, to });
                }
                None
            }
            Err(why) => {
                let name = self.name;
                Some(format!(
                    "{option} is not for the strategy {name}, which {why}"
                ))
            }
        };
        self.refused.push(refused);
    }

    /// With what was typed.
    fn typed(mut self) -> (Plan, Vec<Option<String>>) {
        if let Some(head) = self.args.head {
            let head = head.into();
            let from = std::mem::replace(&mut self.protocol.head, head);
            self.note(
                "--head",
                Ok((words::head(from).into(), words::head(head).into())),
            );
        }
        self.pace();
        if let Some(rate) = self.args.learning_rate {
            let result = self.learning_rate(rate);
            self.note("--learning-rate", result);
        }
        if let Some(lambda) = self.args.lambda {
            let result = match strength(&mut self.protocol.strategy) {
                Some(own) => {
                    let from = std::mem::replace(own, lambda);
                    Ok((from.to_string(), lambda.to_string()))
                }
                None => Err("has no such factor"),
            };
            self.note("--lambda", result);
        }
        if let Some(fisher) = self.args.fisher {
            let result = match &mut self.protocol.strategy {
                Strategy::Ewc(config) => {
                    let from = std::mem::replace(&mut config.fisher, fisher.0);
                    Ok((
                        words::numbers(&json!(from)),
                        words::numbers(&json!(fisher.0)),
                    ))
                }
                _ => Err("measures no Fisher information"),
            };
            self.note("--fisher", result);
        }
        if let Some(examples) = self.args.replayed {
            let result = match replayed(&mut self.protocol.strategy) {
                Some(own) => {
                    let from = std::mem::replace(own, examples);
                    Ok((from.to_string(), examples.to_string()))
                }
                None => Err("replays no examples step by step"),
            };
            self.note("--replayed", result);
        }
        let plan = Plan {
            name: self.name,
            protocol: self.protocol,
            changed: self.changed,
        };
        (plan, self.refused)
    }

    fn pace(&mut self) {
        let args = self.args;
        let before = self.protocol.pace;
        let batch_size = args.batch_size.unwrap_or(batch_size(before));
        self.protocol.pace = match (args.iterations, args.epochs, before) {
            (Some(iterations), ..) => {
                let at_once = match self.name {
                    StrategyName::Joint => self.contexts,
                    _ => 1,
                };
                Pace::Iterations {
                    iterations: iterations.saturating_mul(at_once),
                    batch_size,
                }
            }
            (None, Some(epochs), _) | (None, None, Pace::Epochs { epochs, .. }) => {
                Pace::Epochs { epochs, batch_size }
            }
            (None, None, Pace::Iterations { iterations, .. }) => Pace::Iterations {
                iterations,
                batch_size,
            },
        };
        let option = match (args.iterations, args.epochs, args.batch_size) {
            (Some(_), ..) => "--iterations",
            (None, Some(_), _) => "--epochs",
            (None, None, Some(_)) => "--batch-size",
            (None, None, None) => return,
        };
        let now = words::pace(self.protocol.pace);
        self.note(option, Ok((words::pace(before), now)));
    }

    fn learning_rate(&mut self, rate: f64) -> Result<(String, String), &'static str> {
        let protocol = &mut self.protocol;
        match &mut protocol.strategy {
            Strategy::ClosedForm { .. } => Err("is computed and takes no steps"),
            Strategy::GDumb(config) => {
                let from = config.initial;
                // The course stays the same.
                config.last *= rate / from;
                config.initial = rate;
                Ok((from.to_string(), rate.to_string()))
            }
            _ => {
                let now = Schedule::Constant { rate };
                let from = std::mem::replace(&mut protocol.schedule, now);
                Ok((words::rate(&from), rate.to_string()))
            }
        }
    }
}

pub fn batch_size(pace: Pace) -> usize {
    let (Pace::Iterations { batch_size, .. } | Pace::Epochs { batch_size, .. }) = pace;
    batch_size
}

/// How strongly a strategy holds on, if it has such a number.
fn strength(strategy: &mut Strategy) -> Option<&mut f64> {
    match strategy {
        Strategy::Ewc(config) => Some(&mut config.lambda),
        Strategy::Mas(config) => Some(&mut config.lambda),
        Strategy::Si(config) => Some(&mut config.c),
        Strategy::Lwf(config) => Some(&mut config.alpha),
        Strategy::Der(config) => Some(&mut config.alpha),
        _ => None,
    }
}

/// Examples of before at each step, if a strategy has some.
fn replayed(strategy: &mut Strategy) -> Option<&mut usize> {
    match strategy {
        Strategy::Er(config) | Strategy::ErAce(config) => Some(&mut config.examples),
        Strategy::AGem(config) => Some(&mut config.examples),
        Strategy::Icarl(config) => Some(&mut config.examples),
        Strategy::Der(config) => Some(&mut config.examples),
        _ => None,
    }
}

impl Plan {
    /// What the strategy keeps and does, for people.
    pub fn said(&self, setting: Setting) -> String {
        let Protocol {
            strategy,
            head,
            pace,
            optimizer,
            schedule,
            buffer,
        } = &self.protocol;
        let each = match self.name {
            StrategyName::Joint => " of all contexts together",
            _ if setting == Setting::Free => "",
            _ => " of each context",
        };
        let training = match strategy {
            Strategy::ClosedForm { .. } => String::new(),
            Strategy::GDumb(_) => format!(", {}", words::numbers(&json!(optimizer))),
            _ => format!(
                ", {}, learning rate {}",
                words::numbers(&json!(optimizer)),
                words::rate(schedule)
            ),
        };
        let kept = match buffer {
            Some(_) => format!(", buffer of {}", words::buffer(*buffer)),
            None => String::new(),
        };
        format!(
            "{}; head {}; {}{each}{training}{kept}",
            words::numbers(&json!(strategy)),
            words::head(*head),
            words::pace(*pace),
        )
    }
}
