//! What is measured in a run, and kept in its checkpoints.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::continual::{AccuracyMatrix, ContextScore, ContinualBatch, Summary};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::train::parts::{Method, Part, RunState, Sections};

const OPERATION: &str = "continual_run";
const SECTION: &str = "measured";

/// Accuracies of a run so far, which a [`Keeper`] puts into its checkpoints.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured(Rc<RefCell<Tests>>);

/// What tests came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tests {
    /// Accuracies on all contexts after so many steps.
    rows: BTreeMap<usize, Vec<f64>>,
    /// Those of a test that is not over.
    unfinished: Vec<f64>,
    /// Examples that were trained on again.
    replayed: u64,
}

impl Measured {
    /// Takes notice of a test on the next context.
    pub fn tested(&self, contexts: usize, step: usize, accuracy: f64) {
        let mut tests = self.0.borrow_mut();
        tests.unfinished.push(accuracy);
        if tests.unfinished.len() == contexts {
            // Of two tests after one step the second one is that after the context has ended.
            let row = std::mem::take(&mut tests.unfinished);
            tests.rows.insert(step, row);
        }
    }

    /// Whether there is a test after so many steps.
    pub fn has(&self, step: usize) -> bool {
        self.0.borrow().rows.contains_key(&step)
    }

    /// Counts examples that are trained on again.
    pub fn replays(&self, examples: usize) {
        self.0.borrow_mut().replayed += examples as u64;
    }

    /// How many examples were trained on again.
    pub fn replayed(&self) -> u64 {
        self.0.borrow().replayed
    }

    /// What tests came to, of contexts that ended after these steps. `apart` where one answer is not right in two contexts.
    pub fn result(
        &self,
        contexts: Vec<ContextScore>,
        apart: bool,
        ends: &[usize],
    ) -> Result<Accuracies> {
        let rows = &self.0.borrow().rows;
        let missing = |step: usize| {
            let message = format!("nothing was tested after step {step}");
            Error::invalid(OPERATION, message)
        };
        let row = |step: usize| rows.get(&step).ok_or_else(|| missing(step));
        let last = row(ends.last().copied().unwrap_or(0))?.clone();
        let matrix = match ends.len() == contexts.len() {
            true => {
                let mut matrix = AccuracyMatrix::new(contexts.clone())?;
                for step in std::iter::once(&0).chain(ends) {
                    matrix.push(row(*step)?.clone())?;
                }
                Some(matrix)
            }
            false => None,
        };
        let between = rows.keys().any(|step| *step != 0 && !ends.contains(step));
        let worst = match between && matrix.is_some() {
            true => Some(worst(rows, ends)),
            false => None,
        };
        Ok(Accuracies {
            before: row(0)?.clone(),
            summary: matrix.as_ref().map(AccuracyMatrix::summary),
            average: last.iter().sum::<f64>() / last.len() as f64,
            chance: contexts.iter().map(|context| context.chance).collect(),
            at_chance: at_chance(&last, &contexts, apart),
            last,
            matrix,
            worst,
            curve: rows
                .iter()
                .map(|(step, row)| (*step, row.clone()))
                .collect(),
        })
    }
}

/// The lowest accuracy of each context at any test after it had been learned.
fn worst(rows: &BTreeMap<usize, Vec<f64>>, ends: &[usize]) -> Vec<f64> {
    let of = |(context, end): (usize, &usize)| {
        let after = rows.range(end..).map(|(_, row)| row[context]);
        after.fold(1.0, f64::min)
    };
    ends.iter().enumerate().map(of).collect()
}

/// Whether a mean over contexts is no better than always the same answer, by three standard errors. `apart` where that is
/// right in one context alone.
fn at_chance(last: &[f64], contexts: &[ContextScore], apart: bool) -> bool {
    let count = contexts.len() as f64;
    let each = contexts.iter();
    let (chance, variance) = each
        .map(|context| {
            let ContextScore { chance, examples } = *context;
            (chance, chance * (1.0 - chance) / examples as f64)
        })
        .fold((0.0, 0.0), |sum: (f64, f64), one| match apart {
            true if sum.0 >= one.0 => sum,
            true => one,
            false => (sum.0 + one.0, sum.1 + one.1),
        });
    let average = last.iter().sum::<f64>() / count;
    average <= (chance + 3.0 * variance.sqrt()) / count
}

/// How well the contexts of a run are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracies {
    /// On each context, of the untrained network.
    pub before: Vec<f64>,
    /// On each context at the end.
    pub last: Vec<f64>,
    /// Mean of these, every context counting the same.
    pub average: f64,
    /// The share of each context's test examples that always the same answer gets right.
    pub chance: Vec<f64>,
    /// Whether the average is no better than that of always the same answer, by three standard errors: a mean over runs must not take such a run in
    /// without saying so.
    pub at_chance: bool,
    /// After each context; `None` where contexts do not end one after the other, as when all are shown at once.
    pub matrix: Option<AccuracyMatrix>,
    /// What follows from the matrix.
    pub summary: Option<Summary>,
    /// The lowest accuracy of each context at any test after it had been learned (min-ACC of De Lange, van de Ven and
    /// Tuytelaars, "Continual evaluation for lifelong learning: identifying the stability gap", ICLR 2023); `None` where
    /// nothing was tested within contexts.
    pub worst: Option<Vec<f64>>,
    /// All tests: steps before each, and the accuracy on each context.
    pub curve: Vec<(usize, Vec<f64>)>,
}

/// Puts what is measured into checkpoints.
#[derive(Debug)]
pub(super) struct Keeper(pub Measured);

impl RunState for Keeper {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set(SECTION, &*self.0.0.borrow())
    }

    fn load(&mut self, from: &Sections, _device: &TensorDevice) -> Result<()> {
        *self.0.0.borrow_mut() = from.get(SECTION)?;
        Ok(())
    }
}

impl Part<Network> for Keeper {
    fn name(&self) -> &str {
        SECTION
    }
}

impl Method<Network, ContinualBatch> for Keeper {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five contexts of two classes, of which a network tells one only: as after naive training.
    #[test]
    fn a_context_that_is_known_is_better_than_chance_where_all_are_told_apart() {
        let context = ContextScore {
            examples: 200,
            chance: 0.5,
        };
        let contexts = vec![context; 5];
        let result = |last: f64, apart: bool| {
            let measured = Measured::default();
            for step in 0..2 {
                for context in 0..5 {
                    measured.tested(5, step, if context == 4 { last } else { 0.0 });
                }
            }
            let found = measured.result(contexts.clone(), apart, &[1]).unwrap();
            assert!((found.average - last / 5.0).abs() < 1e-12);
            found.at_chance
        };
        // Always the same answer is right for half of one context.
        assert!(!result(0.95, true) && result(0.55, true));
        // Or for half of each.
        assert!(result(0.95, false));
    }
}
