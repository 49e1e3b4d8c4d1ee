//! How well each context is known after each.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const OPERATION: &str = "accuracy_matrix";

/// What each context counts in a mean over several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// The same, as in the papers.
    Contexts,
    /// The number of its test examples.
    Examples,
}

/// Accuracies on the test examples of each context (the columns), before training (row 0) and after each context (row `i`
/// after the context `i − 1`, counted from 0). Below, contexts and rows are counted from 1 as in the papers, so that
/// `R[i, j]` is the accuracy on context `j` after context `i`, and `R[0, j]` that of the untrained network.
///
/// Every mean has the [`Weighting`] that is asked for; the papers' formulas are those of [`Weighting::Contexts`].
///
/// ```
/// use forgeling::continual::{AccuracyMatrix, ContextScore, Weighting};
///
/// let context = ContextScore { examples: 100, chance: 0.5 };
/// let mut matrix = AccuracyMatrix::new(vec![context; 2])?;
/// for row in [[0.5, 0.4], [0.9, 0.6], [0.7, 0.8]] {
///     matrix.push(row.to_vec())?;
/// }
/// let forgetting = matrix.forgetting(2, Weighting::Contexts).unwrap();
/// assert!((forgetting - 0.2).abs() < 1e-12);
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct AccuracyMatrix {
    contexts: Vec<ContextScore>,
    rows: Vec<Vec<f64>>,
}

/// What is known of the test examples of a context.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextScore {
    /// How many there are.
    pub examples: usize,
    /// How many of them always the same answer gets right: [`Context::chance`](super::Context::chance).
    pub chance: f64,
}

/// What follows from a matrix after its last row. What needs more contexts than there are is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Contexts that were learned.
    pub contexts: usize,
    /// [`AccuracyMatrix::average_accuracy`], every context counting the same.
    pub average_accuracy: Option<f64>,
    /// The same with every example counting the same.
    pub example_accuracy: Option<f64>,
    /// [`AccuracyMatrix::backward_transfer`], every context counting the same.
    pub backward_transfer: Option<f64>,
    /// [`AccuracyMatrix::forward_transfer`], every context counting the same.
    pub forward_transfer: Option<f64>,
    /// [`AccuracyMatrix::forgetting`], every context counting the same.
    pub forgetting: Option<f64>,
    /// [`AccuracyMatrix::first_minus_last`], every context counting the same.
    pub first_minus_last: Option<f64>,
    /// [`AccuracyMatrix::at_chance`]: where it is not empty, a mean over runs must not take this one in without saying so.
    pub at_chance: Vec<usize>,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    contexts: Vec<ContextScore>,
    rows: Vec<Vec<f64>>,
}

impl TryFrom<Parts> for AccuracyMatrix {
    type Error = Error;

    fn try_from(parts: Parts) -> Result<Self> {
        let mut matrix = Self::new(parts.contexts)?;
        parts
            .rows
            .into_iter()
            .try_for_each(|row| matrix.push(row))?;
        Ok(matrix)
    }
}

impl AccuracyMatrix {
    /// A matrix without rows.
    ///
    /// # Errors
    /// When there is no context, one has no example, or a chance does not lie in 0..=1.
    pub fn new(contexts: Vec<ContextScore>) -> Result<Self> {
        let fits = |of: &ContextScore| of.examples > 0 && (0.0..=1.0).contains(&of.chance);
        if contexts.is_empty() || !contexts.iter().all(fits) {
            return Err(
                Error::invalid(OPERATION, "no contexts, or one without examples")
                    .expected("one or more, each with examples and a chance in 0..=1")
                    .got(format!("{contexts:?}")),
            );
        }
        let rows = Vec::new();
        Ok(Self { contexts, rows })
    }

    /// Adds the accuracies on all contexts: first of the untrained network, then after each context.
    ///
    /// # Errors
    /// When there is not one for each context, one does not lie in 0..=1, or there are rows for all contexts already.
    pub fn push(&mut self, row: Vec<f64>) -> Result<()> {
        let count = self.contexts.len();
        if self.rows.len() > count {
            return Err(Error::invalid(OPERATION, "there are rows for all contexts")
                .expected(format!("at most {} rows", count + 1)));
        }
        if row.len() != count || !row.iter().all(|value| (0.0..=1.0).contains(value)) {
            let message = "a row has not an accuracy for each context";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{count} values in 0..=1"))
                .got(format!("{row:?}")));
        }
        self.rows.push(row);
        Ok(())
    }

    /// What is known of each context.
    pub fn contexts(&self) -> &[ContextScore] {
        &self.contexts
    }

    /// The rows so far, that of the untrained network first.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// How many contexts have been learned.
    pub fn learned(&self) -> usize {
        self.rows.len().saturating_sub(1)
    }

    /// The mean of `value` over contexts, which are counted from 1. `None` of none, and where `after` contexts have not been
    /// learned.
    fn mean(
        &self,
        after: usize,
        contexts: std::ops::RangeInclusive<usize>,
        weighting: Weighting,
        value: impl Fn(usize) -> f64,
    ) -> Option<f64> {
        if after > self.learned() || contexts.is_empty() {
            return None;
        }
        let weight = |context: usize| match weighting {
            Weighting::Contexts => 1.0,
            Weighting::Examples => self.contexts[context - 1].examples as f64,
        };
        let all: f64 = contexts.clone().map(weight).sum();
        let sum: f64 = contexts.map(|j| weight(j) * value(j)).sum();
        Some(sum / all)
    }

    /// `R[i, j]`.
    fn at(&self, row: usize, context: usize) -> f64 {
        self.rows[row][context - 1]
    }

    /// Average accuracy after `k` contexts on these: `mean of R[k, j] over j in 1..=k`.
    ///
    /// Lopez-Paz and Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017. `None` where `k` is 0 or not
    /// reached.
    pub fn average_accuracy(&self, k: usize, weighting: Weighting) -> Option<f64> {
        self.mean(k, 1..=k, weighting, |j| self.at(k, j))
    }

    /// Backward transfer after `k` contexts: `mean of R[k, j] − R[j, j] over j in 1..k`, below 0 where something was
    /// forgotten.
    ///
    /// Lopez-Paz and Ranzato, 2017. `None` where `k` is below 2 or not reached.
    pub fn backward_transfer(&self, k: usize, weighting: Weighting) -> Option<f64> {
        let earlier = 1..=k.saturating_sub(1);
        self.mean(k, earlier, weighting, |j| self.at(k, j) - self.at(j, j))
    }

    /// Forward transfer up to context `k`: `mean of R[j − 1, j] − R[0, j] over j in 2..=k`, what was known of a context
    /// before it was learned and not before anything was.
    ///
    /// Lopez-Paz and Ranzato, 2017, whose `b` is the row of the untrained network. `None` where `k` is below 2 or not
    /// reached.
    pub fn forward_transfer(&self, k: usize, weighting: Weighting) -> Option<f64> {
        self.mean(k, 2..=k, weighting, |j| self.at(j - 1, j) - self.at(0, j))
    }

    /// Forgetting after `k` contexts: `mean of (max of R[l, j] over l in 1..k) − R[k, j] over j in 1..k`. It is below 0 where
    /// contexts are known better than ever before.
    ///
    /// Chaudhry et al., "Riemannian walk for incremental learning", ECCV 2018. Mammoth's code takes the last row into the
    /// maximum, so that its values are never below 0; Avalanche's is [`Self::first_minus_last`]. `None` where `k` is below 2 or
    /// not reached.
    pub fn forgetting(&self, k: usize, weighting: Weighting) -> Option<f64> {
        let best = |j: usize| (1..k).map(|row| self.at(row, j)).fold(0.0, f64::max);
        let earlier = 1..=k.saturating_sub(1);
        self.mean(k, earlier, weighting, |j| best(j) - self.at(k, j))
    }

    /// What Avalanche calls forgetting: `mean of R[j, j] − R[k, j] over j in 1..k`, backward transfer with the other sign.
    /// `None` where `k` is below 2 or not reached.
    pub fn first_minus_last(&self, k: usize, weighting: Weighting) -> Option<f64> {
        let earlier = 1..=k.saturating_sub(1);
        self.mean(k, earlier, weighting, |j| self.at(j, j) - self.at(k, j))
    }

    /// Intransigence up to context `k`: `mean of joint[j] − R[j, j] over j in 1..=k`, what is lost because a context was not
    /// learned with all those before it together.
    ///
    /// Chaudhry et al., 2018, who have the value of the last context only. `joint[j − 1]` is the accuracy on context `j` of
    /// the same network trained on contexts 1 to `j` at once. `None` where `k` is 0 or not reached.
    ///
    /// # Errors
    /// When there is not one joint accuracy in 0..=1 for each of the first `k` contexts, or more than there are contexts.
    pub fn intransigence(
        &self,
        k: usize,
        joint: &[f64],
        weighting: Weighting,
    ) -> Result<Option<f64>> {
        let in_range = joint.iter().all(|value| (0.0..=1.0).contains(value));
        if !in_range || joint.len() < k || joint.len() > self.contexts.len() {
            let message = "there is not one joint accuracy for each context";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{k} to {} values in 0..=1", self.contexts.len()))
                .got(format!("{joint:?}")));
        }
        Ok(self.mean(k, 1..=k, weighting, |j| joint[j - 1] - self.at(j, j)))
    }

    /// The contexts, counted from 0, that were not learned at all: whose accuracy right after training on them is at most
    /// three standard errors above what always the same answer gets, `R[j, j] ≤ c + 3 √(c (1 − c) / n)` with `c` the chance
    /// and `n` the examples.
    pub fn at_chance(&self) -> Vec<usize> {
        let learned = (1..=self.learned()).filter(|&j| {
            let ContextScore { examples, chance } = self.contexts[j - 1];
            let error = (chance * (1.0 - chance) / examples as f64).sqrt();
            self.at(j, j) <= chance + 3.0 * error
        });
        learned.map(|j| j - 1).collect()
    }

    /// All of it after the last row.
    pub fn summary(&self) -> Summary {
        let (k, each) = (self.learned(), Weighting::Contexts);
        Summary {
            contexts: k,
            average_accuracy: self.average_accuracy(k, each),
            example_accuracy: self.average_accuracy(k, Weighting::Examples),
            backward_transfer: self.backward_transfer(k, each),
            forward_transfer: self.forward_transfer(k, each),
            forgetting: self.forgetting(k, each),
            first_minus_last: self.first_minus_last(k, each),
            at_chance: self.at_chance(),
        }
    }

    /// A table with a line for each value: `after` (0 for the untrained network), `context` (from 1), `examples`,
    /// `accuracy`.
    pub fn to_csv(&self) -> String {
        let mut csv = String::from("after,context,examples,accuracy\n");
        for (after, row) in self.rows.iter().enumerate() {
            for (place, (value, context)) in row.iter().zip(&self.contexts).enumerate() {
                let (number, examples) = (place + 1, context.examples);
                // Writing to a string does not fail.
                let _ = writeln!(csv, "{after},{number},{examples},{value}");
            }
        }
        csv
    }
}
