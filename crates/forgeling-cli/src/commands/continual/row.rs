//! What the runs of a strategy came to, on average.

use forgeling::continual::{Outcome, StrategyName};
use forgeling::report::grouped;
use serde_json::{Map, Value, json};

use super::super::supervised::readable;
use super::one::Done;
use super::plan::{self, Plan};
use super::words;

/// The runs of one strategy.
pub struct Row {
    pub plan: Plan,
    pub runs: Vec<Done>,
    /// From the stream, in each run.
    pub batches: usize,
}

/// A figure of a run.
pub struct Measure {
    pub key: &'static str,
    pub label: &'static str,
    unit: Unit,
    pub of: fn(&Outcome) -> Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    /// Fractions, shown in percent.
    Share,
    /// Differences of such.
    Points,
    Seconds,
}

pub const MEASURES: [Measure; 8] = [
    Measure {
        key: "accuracy",
        label: "accuracy",
        unit: Unit::Share,
        of: |outcome| Some(outcome.accuracies.average),
    },
    Measure {
        key: "bwt",
        label: "backward transfer, points",
        unit: Unit::Points,
        of: |outcome| outcome.accuracies.summary.as_ref()?.backward_transfer,
    },
    Measure {
        key: "forgetting",
        label: "forgetting (best before - last), points",
        unit: Unit::Points,
        of: |outcome| outcome.accuracies.summary.as_ref()?.forgetting,
    },
    Measure {
        key: "forgetting_first_last",
        label: "forgetting (first - last), points",
        unit: Unit::Points,
        of: |outcome| outcome.accuracies.summary.as_ref()?.first_minus_last,
    },
    Measure {
        key: "fwt",
        label: "forward transfer, points",
        unit: Unit::Points,
        of: |outcome| outcome.accuracies.summary.as_ref()?.forward_transfer,
    },
    Measure {
        key: "untrained",
        label: "accuracy before training",
        unit: Unit::Share,
        of: |outcome| mean_of(&outcome.accuracies.before),
    },
    Measure {
        key: "worst_within",
        label: "worst since learned",
        unit: Unit::Share,
        // Of the last context it is the accuracy at the end.
        of: |outcome| mean_of(outcome.accuracies.worst.as_ref()?.split_last()?.1),
    },
    Measure {
        key: "seconds",
        label: "seconds",
        unit: Unit::Seconds,
        of: |outcome| Some(outcome.seconds),
    },
];

/// A count of a run.
pub struct Count {
    pub key: &'static str,
    label: &'static str,
    pub of: fn(&Outcome) -> u64,
}

pub const COUNTS: [Count; 7] = [
    Count {
        key: "model_bytes",
        label: "bytes of the model",
        of: |outcome| outcome.model_bytes,
    },
    Count {
        key: "buffer_bytes",
        label: "bytes of examples kept",
        of: |outcome| outcome.buffer_bytes,
    },
    Count {
        key: "state_bytes",
        label: "bytes of what else is kept",
        of: |outcome| outcome.state_bytes,
    },
    Count {
        key: "examples_seen",
        label: "examples seen",
        of: |outcome| outcome.examples_seen,
    },
    Count {
        key: "examples_replayed",
        label: "examples replayed",
        of: |outcome| outcome.examples_replayed,
    },
    Count {
        key: "steps",
        label: "steps",
        of: |outcome| outcome.steps as u64,
    },
    Count {
        key: "multiply_adds",
        label: "multiply-adds",
        of: |outcome| outcome.multiply_adds,
    },
];

/// A mean, and its standard error where there are several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    pub mean: f64,
    pub se: Option<f64>,
}

impl Mean {
    /// Of values that all are there.
    pub fn of(values: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let values = values.collect::<Option<Vec<f64>>>()?;
        let mean = mean_of(&values)?;
        let count = values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let se = (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt());
        Some(Self { mean, se })
    }

    fn said(self, unit: Unit) -> String {
        let (factor, digits, sign) = match unit {
            Unit::Share => (100.0, 2, " %"),
            Unit::Points => (100.0, 2, ""),
            Unit::Seconds => (1.0, 1, ""),
        };
        let mean = factor * self.mean;
        match self.se {
            Some(se) => format!("{mean:.digits$}{sign} ± {:.digits$}", factor * se),
            None => format!("{mean:.digits$}{sign}"),
        }
    }
}

fn mean_of(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / count)
}

/// Whether a run is no better than chance, on average or on a context right after it was learned.
pub fn is_at_chance(outcome: &Outcome) -> bool {
    outcome.accuracies.at_chance || !contexts_at_chance(outcome).is_empty()
}

fn contexts_at_chance(outcome: &Outcome) -> &[usize] {
    let summary = outcome.accuracies.summary.as_ref();
    summary.map_or(&[], |summary| &summary.at_chance)
}

/// Numbers with commas between.
fn listed(numbers: impl Iterator<Item = u64>) -> String {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    numbers.join(", ")
}

impl Row {
    pub fn name(&self) -> StrategyName {
        self.plan.name
    }

    fn all(&self) -> Vec<&Outcome> {
        self.runs.iter().map(|done| &done.outcome).collect()
    }

    fn seeds_at_chance(&self) -> Vec<u64> {
        let runs = self.runs.iter();
        let runs = runs.filter(|done| is_at_chance(&done.outcome));
        runs.map(|done| done.seed).collect()
    }

    /// The runs that are better than chance, where there are others too.
    fn without_chance(&self) -> Option<Vec<&Outcome>> {
        let all = self.all().into_iter();
        let better: Vec<&Outcome> = all.filter(|outcome| !is_at_chance(outcome)).collect();
        (!better.is_empty() && better.len() < self.runs.len()).then_some(better)
    }

    /// The mean of a measure over all runs.
    pub fn mean(&self, measure: &Measure) -> Option<Mean> {
        Mean::of(self.runs.iter().map(|done| (measure.of)(&done.outcome)))
    }

    /// The mean accuracy matrix, with the row of the untrained network; `None` where contexts do not end one by one.
    pub fn matrix(&self) -> Option<Vec<Vec<f64>>> {
        let matrices = self.runs.iter().map(|done| {
            let matrix = done.outcome.accuracies.matrix.as_ref()?;
            Some(matrix.rows())
        });
        let matrices = matrices.collect::<Option<Vec<_>>>()?;
        let (first, count) = (matrices.first()?, matrices.len() as f64);
        let cell = |row: usize, column: usize| {
            matrices.iter().map(|of| of[row][column]).sum::<f64>() / count
        };
        let row = |row: usize| (0..first[row].len()).map(|at| cell(row, at)).collect();
        Some((0..first.len()).map(row).collect())
    }

    /// What is to be said of runs that are no better than chance.
    pub fn flagged(&self) -> Vec<String> {
        let mut said = Vec::new();
        let average = self.runs.iter();
        let average = average.filter(|done| done.outcome.accuracies.at_chance);
        let seeds = listed(average.map(|done| done.seed));
        if !seeds.is_empty() {
            said.push(format!(
                "At chance: {}, seeds {seeds}: the average accuracy is no better than that of always the same answer.",
                self.name()
            ));
        }
        for Done { seed, outcome } in &self.runs {
            let contexts = contexts_at_chance(outcome);
            if !contexts.is_empty() {
                let contexts = listed(contexts.iter().map(|context| *context as u64 + 1));
                said.push(format!(
                    "At chance: {}, seed {seed}: contexts {contexts} right after they were learned.",
                    self.name()
                ));
            }
        }
        if let (false, Some(better)) = (said.is_empty(), self.without_chance()) {
            said.push(format!(
                "The means of {} contain all {} runs; those of the {} that are not at chance stand beside them.",
                self.name(),
                self.runs.len(),
                better.len()
            ));
        }
        said
    }

    /// As under `--json`.
    pub fn object(&self) -> Map<String, Value> {
        let Plan {
            name,
            protocol,
            changed,
        } = &self.plan;
        let changed = changed
            .iter()
            .map(|change| json!({ "option": change.option, "from": change.from, "to": change.to }));
        let own = json!({
            "strategy": name,
            "head": words::head(protocol.head),
            "buffer": protocol.buffer.map(|(budget, _)| words::budget(budget)),
            "policy": protocol.buffer.map(|(_, policy)| policy),
            "protocol": protocol,
            "changed": changed.collect::<Vec<_>>(),
            "batch_size": plan::batch_size(protocol.pace),
            "batches": self.batches,
            "seeds": self.runs.iter().map(|done| done.seed).collect::<Vec<_>>(),
            "accuracies": self
                .runs
                .iter()
                .map(|done| done.outcome.accuracies.average)
                .collect::<Vec<_>>(),
            "seeds_at_chance": self.seeds_at_chance(),
            "without_runs_at_chance": self.without_chance().map(|better| means(&better)),
        });
        let mut object = means(&self.all());
        object.extend(own.as_object().cloned().unwrap_or_default());
        object
    }
}

/// The means of runs, by their keys.
fn means(outcomes: &[&Outcome]) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("runs".into(), outcomes.len().into());
    for Measure { key, of, .. } in &MEASURES {
        let mean = Mean::of(outcomes.iter().map(|outcome| of(outcome)));
        let se = mean.and_then(|mean| mean.se);
        object.insert((*key).into(), json!(mean.map(|mean| mean.mean)));
        object.insert(format!("{key}_se"), json!(se));
    }
    for Count { key, of, .. } in COUNTS {
        object.insert(key.into(), count(outcomes, of).into());
    }
    object
}

/// The mean of a count, to the nearest whole.
fn count(outcomes: &[&Outcome], of: fn(&Outcome) -> u64) -> u64 {
    let sum: f64 = outcomes.iter().map(|outcome| of(outcome) as f64).sum();
    (sum / outcomes.len().max(1) as f64).round() as u64
}

/// A table of rows: names of its columns, and for each line what it is of and a cell for each column. Lines that are empty in
/// all columns are left out.
pub fn table(rows: &[Row]) -> (Vec<String>, Vec<(String, Vec<String>)>) {
    let mut columns: Vec<(String, &Row, Vec<&Outcome>)> = Vec::new();
    for row in rows {
        let (name, runs) = (row.name(), row.runs.len());
        let named = match runs {
            1 => name.to_string(),
            _ => format!("{name} ({runs} runs)"),
        };
        columns.push((named, row, row.all()));
        if let Some(better) = row.without_chance() {
            let named = format!("{name} (not at chance: {} runs)", better.len());
            columns.push((named, row, better));
        }
    }
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    let mut line = |label: &str, cell: &dyn Fn(&Row, &[&Outcome]) -> Option<String>| {
        let cells: Vec<Option<String>> = columns
            .iter()
            .map(|(_, row, outcomes)| cell(row, outcomes))
            .collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or("-".into()));
            lines.push((label.into(), cells.collect()));
        }
    };
    line("head", &|row, _| {
        Some(words::head(row.plan.protocol.head).into())
    });
    line("buffer", &|row, _| {
        let (budget, _) = row.plan.protocol.buffer?;
        Some(words::budget(budget))
    });
    for Measure {
        label, unit, of, ..
    } in &MEASURES
    {
        line(label, &|_, outcomes| {
            let mean = Mean::of(outcomes.iter().map(|outcome| of(outcome)));
            mean.map(|mean| mean.said(*unit))
        });
    }
    for Count { key, label, of } in COUNTS {
        line(label, &|_, outcomes| {
            let count = count(outcomes, of);
            Some(match key.ends_with("_bytes") {
                true => readable(count),
                false => grouped(count),
            })
        });
    }
    (columns.into_iter().map(|column| column.0).collect(), lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_have_standard_errors_where_there_are_several() {
        let of = |values: &[f64]| Mean::of(values.iter().map(|value| Some(*value)));
        let two = of(&[0.5, 0.7]).unwrap();
        // Deviations of 0.1: variance 0.02, standard error 0.1.
        assert!((two.mean - 0.6).abs() < 1e-12 && (two.se.unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(two.said(Unit::Share), "60.00 % ± 10.00");
        let one = of(&[-0.25]).unwrap();
        assert_eq!((one.mean, one.se), (-0.25, None));
        assert_eq!(one.said(Unit::Points), "-25.00");
        assert_eq!(of(&[]), None);
        assert_eq!(Mean::of([Some(1.0), None].into_iter()), None);
    }
}
