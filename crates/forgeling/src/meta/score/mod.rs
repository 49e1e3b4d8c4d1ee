//! What an evaluation says beyond mean accuracy: by task, by class, and how far probabilities can be believed.

use std::collections::BTreeMap;

mod summary;

pub use crate::train::Tally;
pub use summary::{Calibration, CalibrationBin, Classification, Regression, Score};

use crate::error::{Error, ErrorKind, Result};
use crate::train::score::chosen;

const OPERATION: &str = "score";

/// Bins of the calibration error, as in the paper.
const BINS: usize = 15;

/// Collects the answers to tasks, one task after the other, all of classes or all of numbers to predict.
///
/// ```
/// use forgeling::meta::{Score, Scores};
/// # fn main() -> forgeling::Result<()> {
/// let classes = ["oak".to_owned(), "elm".to_owned()];
/// let mut scores = Scores::new();
/// scores.classified(&[2.0, 0.0, 0.0, 1.0], &[0, 1], &classes)?;
/// scores.classified(&[0.0, 3.0, 0.0, 1.0], &[0, 1], &classes)?;
/// let Score::Classification(score) = scores.score()? else { unreachable!() };
/// assert_eq!((score.accuracy, score.accuracies), (0.75, vec![1.0, 0.5]));
/// assert_eq!(score.classes["oak"].right, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Scores {
    kind: Option<Kind>,
}

#[derive(Debug, Clone)]
enum Kind {
    Classes(Box<Classes>),
    /// The mean squared error of each task.
    Values(Vec<f64>),
}

#[derive(Debug, Clone, Default)]
struct Classes {
    accuracies: Vec<f64>,
    classes: BTreeMap<String, Tally>,
    queries: usize,
    /// Sum of the negative log likelihoods, in nats.
    surprise: f64,
    bins: [Bin; BINS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    count: usize,
    right: usize,
    /// Sum over the bin.
    confidence: f64,
}

impl Scores {
    /// Of no task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        match &self.kind {
            None => 0,
            Some(Kind::Classes(classes)) => classes.accuracies.len(),
            Some(Kind::Values(errors)) => errors.len(),
        }
    }

    /// Adds a task: the logits `[queries, ways]`, the right class of each query, below `ways`, and the names of the classes.
    /// Of several largest logits the last one is the answer. Gives the task's accuracy.
    ///
    /// # Errors
    /// When there is no query or no class, not one row of logits for each query, a label that is no class, or a logit that
    /// is not finite, and when the tasks before were of numbers. The task is then left out.
    pub fn classified<S: AsRef<str>>(
        &mut self,
        logits: &[f32],
        labels: &[usize],
        names: &[S],
    ) -> Result<f64> {
        check(logits, labels, names.len())?;
        let kind = self
            .kind
            .get_or_insert_with(|| Kind::Classes(Box::default()));
        let Kind::Classes(all) = kind else {
            return Err(mixed());
        };
        let mut task_right = 0;
        for (row, &label) in logits.chunks_exact(names.len()).zip(labels) {
            let (best, right) = (chosen(row), usize::from(chosen(row) == label));
            let exps = row
                .iter()
                .map(|&z| libm::exp(f64::from(z) - f64::from(row[best])));
            let sum: f64 = exps.sum();
            let confidence = 1.0 / sum;
            all.surprise += libm::log(sum) + f64::from(row[best]) - f64::from(row[label]);
            let bin = &mut all.bins[bin_of(confidence)];
            bin.count += 1;
            bin.right += right;
            bin.confidence += confidence;
            let tally = all.classes.entry(names[label].as_ref().to_owned());
            let tally = tally.or_default();
            tally.total += 1;
            tally.right += right;
            task_right += right;
        }
        all.queries += labels.len();
        let accuracy = task_right as f64 / labels.len() as f64;
        all.accuracies.push(accuracy);
        Ok(accuracy)
    }

    /// Adds a task: the numbers predicted and the right ones, of all its queries and outputs. Gives the task's mean squared
    /// error.
    ///
    /// # Errors
    /// When there is none or not as many of these as of those, when one is not finite, and when the tasks before were of
    /// classes. The task is then left out.
    pub fn predicted(&mut self, values: &[f32], targets: &[f32]) -> Result<f64> {
        if values.is_empty() || values.len() != targets.len() {
            return Err(
                Error::invalid(OPERATION, "not one prediction for each target")
                    .expected(format!("{} and at least 1", targets.len()))
                    .got(values.len()),
            );
        }
        finite(values, "a prediction")?;
        finite(targets, "a target")?;
        let Kind::Values(errors) = self.kind.get_or_insert_with(|| Kind::Values(Vec::new())) else {
            return Err(mixed());
        };
        let squares = values.iter().zip(targets).map(|(&value, &target)| {
            let difference = f64::from(value) - f64::from(target);
            difference * difference
        });
        let error = squares.sum::<f64>() / values.len() as f64;
        errors.push(error);
        Ok(error)
    }

    /// What the tasks come to.
    ///
    /// # Errors
    /// When there are fewer than two, of which there is no interval.
    pub fn score(&self) -> Result<Score> {
        let enough = self.kind.as_ref().filter(|_| self.tasks() >= 2);
        let Some(kind) = enough else {
            return Err(Error::invalid(OPERATION, "too few tasks for an interval")
                .expected("at least 2")
                .got(self.tasks()));
        };
        Ok(match kind {
            Kind::Classes(classes) => Score::Classification(classes.score()),
            Kind::Values(errors) => {
                let (mean_squared_error, ci95) = mean_and_interval(errors);
                Score::Regression(Regression {
                    mean_squared_error,
                    ci95,
                    errors: errors.clone(),
                })
            }
        })
    }
}

impl Classes {
    fn score(&self) -> Classification {
        let (accuracy, ci95) = mean_and_interval(&self.accuracies);
        let queries = self.queries as f64;
        let gap = |bin: &Bin| (bin.right as f64 - bin.confidence).abs();
        Classification {
            accuracy,
            ci95,
            accuracies: self.accuracies.clone(),
            queries: self.queries,
            classes: self.classes.clone(),
            negative_log_likelihood: self.surprise / queries,
            calibration: Calibration {
                expected_error: self.bins.iter().map(gap).sum::<f64>() / queries,
                bins: self.bins.iter().map(Bin::mean).collect(),
            },
        }
    }
}

impl Bin {
    fn mean(&self) -> CalibrationBin {
        let count = self.count.max(1) as f64;
        CalibrationBin {
            count: self.count,
            accuracy: self.right as f64 / count,
            confidence: self.confidence / count,
        }
    }
}

/// How often a query of each class (the row) was said to be of each class (the column), from logits `[queries, ways]` and
/// the right class of each query.
///
/// # Errors
/// As [`Scores::classified`].
pub fn confusion(logits: &[f32], labels: &[usize], ways: usize) -> Result<Vec<Vec<usize>>> {
    check(logits, labels, ways)?;
    let mut counts = vec![vec![0; ways]; ways];
    for (row, &label) in logits.chunks_exact(ways).zip(labels) {
        counts[label][chosen(row)] += 1;
    }
    Ok(counts)
}

/// Mean and half the width of the 95 % confidence interval `1.96 s / sqrt(n)` of two or more values.
fn mean_and_interval(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (count - 1.0);
    (mean, 1.96 * (variance / count).sqrt())
}

fn bin_of(confidence: f64) -> usize {
    let above = (1..BINS).filter(|&edge| confidence > edge as f64 / BINS as f64);
    above.count()
}

fn check(logits: &[f32], labels: &[usize], ways: usize) -> Result<()> {
    if labels.is_empty() || ways == 0 {
        return Err(Error::invalid(OPERATION, "no query or no class to score")
            .expected("at least 1 of either")
            .got(format!("{} queries, {ways} classes", labels.len())));
    }
    if Some(logits.len()) != labels.len().checked_mul(ways) {
        return Err(
            Error::invalid(OPERATION, "not one row of logits for each query")
                .expected(format!("[{}, {ways}]", labels.len()))
                .got(format!("{} logits", logits.len())),
        );
    }
    if let Some(label) = labels.iter().find(|&&label| label >= ways) {
        let error = Error::invalid(OPERATION, "a label is no class of the task");
        return Err(error.expected(format!("below {ways}")).got(label));
    }
    finite(logits, "a logit")
}

fn finite(values: &[f32], what: &str) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => {
            let message = format!("{what} is not finite");
            Err(Error::new(ErrorKind::Diverged, OPERATION, message).got(value))
        }
    }
}

fn mixed() -> Error {
    Error::invalid(
        OPERATION,
        "classes and numbers to predict have no score in common",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_textbook() {
        // Mean 2.5, s = sqrt(5/3), n = 4.
        let (mean, interval) = mean_and_interval(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(mean, 2.5);
        assert!((interval - 1.96 * (5.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-12);
    }

    fn classification(scores: &Scores) -> Classification {
        match scores.score().unwrap() {
            Score::Classification(score) => score,
            Score::Regression(_) => unreachable!("they were classified"),
        }
    }

    /// Rows with a confidence of 3/4 in the first class, or of 1/2 in the second one, which a tie is.
    fn rows(sure: usize, ties: usize) -> Vec<f32> {
        let sure = vec![[3f32.ln(), 0.0]; sure].concat();
        [sure, vec![0.0; 2 * ties]].concat()
    }

    #[test]
    fn values_are_those_computed_by_hand() {
        let names = ["a", "b"];
        let mut scores = Scores::new();
        // 3 of 4 at 3/4: calibrated. A tie is the last class's.
        let first = scores.classified(&rows(4, 1), &[0, 0, 1, 0, 1], &names);
        assert_eq!(first.unwrap(), 0.8);
        // 0 of 2 at 3/4, 1 of 3 at 1/2.
        let second = scores.classified(&rows(2, 3), &[1, 1, 0, 0, 1], &["c", "a"]);
        assert_eq!(second.unwrap(), 0.2);
        let score = classification(&scores);
        assert!((score.accuracy - 0.5).abs() < 1e-12);
        // s = 0.3 sqrt(2), n = 2.
        assert!((score.ci95 - 1.96 * 0.3).abs() < 1e-12, "{}", score.ci95);
        let of = |name: &str| (score.classes[name].right, score.classes[name].total);
        assert_eq!((of("a"), of("b"), of("c")), ((4, 6), (1, 2), (0, 2)));
        assert_eq!(score.classes["a"].accuracy(), 4.0 / 6.0);
        // 6 queries at 3/4 with 3 right, 4 at 1/2 with 2 right.
        assert_eq!(score.calibration.bins.len(), 15);
        let (half, sure) = (score.calibration.bins[7], score.calibration.bins[11]);
        assert_eq!((half.count, half.accuracy, half.confidence), (4, 0.5, 0.5));
        assert_eq!((sure.count, sure.accuracy), (6, 0.5));
        assert!((sure.confidence - 0.75).abs() < 1e-7);
        let error = score.calibration.expected_error;
        assert!((error - 0.6 * 0.25).abs() < 1e-7, "{error}");
        let nats = (3.0 * (4.0f64 / 3.0).ln() + 3.0 * 4f64.ln() + 4.0 * 2f64.ln()) / 10.0;
        assert!((score.negative_log_likelihood - nats).abs() < 1e-7);
    }

    #[test]
    fn bins_include_their_upper_edge() {
        assert_eq!(
            [1e-9, 1.0 / 15.0, 0.0667, 0.5, 14.0 / 15.0, 1.0].map(bin_of),
            [0, 0, 1, 7, 13, 14]
        );
    }

    #[test]
    fn huge_logits_have_a_finite_likelihood() {
        let mut scores = Scores::new();
        for label in [0, 1] {
            scores
                .classified(&[f32::MAX, f32::MIN], &[label], &["a", "b"])
                .unwrap();
        }
        let score = classification(&scores);
        assert_eq!(score.accuracies, [1.0, 0.0]);
        assert_eq!(score.negative_log_likelihood, f64::from(f32::MAX));
    }

    #[test]
    fn squared_errors_are_of_each_task() {
        let mut scores = Scores::new();
        assert_eq!(scores.predicted(&[1.0, 2.0], &[0.0, 4.0]).unwrap(), 2.5);
        assert_eq!(scores.predicted(&[1.0], &[1.5]).unwrap(), 0.25);
        let score = scores.score().unwrap();
        let json = serde_json::to_string(&score).unwrap();
        assert!(
            json.starts_with(r#"{"kind":"regression","mean_squared_error":1.375,"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Score>(&json).unwrap(), score);
        assert!(
            scores
                .classified(&[0.0], &[0], &["a"])
                .unwrap_err()
                .is_bad_input()
        );
    }

    #[test]
    fn bad_answers_are_errors_and_left_out() {
        let names = ["a", "b"];
        let mut scores = Scores::new();
        assert!(scores.score().unwrap_err().is_bad_input());
        scores.classified(&[0.0, 1.0], &[0], &names).unwrap();
        assert!(
            scores
                .score()
                .unwrap_err()
                .to_string()
                .contains("at least 2, got 1")
        );
        let cases: [(&[f32], &[usize]); 4] = [
            (&[], &[]),
            (&[0.0, 1.0, 2.0], &[0]),
            (&[0.0, 1.0], &[2]),
            (&[0.0], &[0]),
        ];
        for (logits, labels) in cases {
            assert!(
                scores
                    .classified(logits, labels, &names)
                    .unwrap_err()
                    .is_bad_input()
            );
        }
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(
                scores
                    .classified(&[0.0, bad], &[0], &names)
                    .unwrap_err()
                    .is_diverged()
            );
            assert!(confusion(&[0.0, bad], &[0], 2).unwrap_err().is_diverged());
            assert!(
                Scores::new()
                    .predicted(&[bad], &[0.0])
                    .unwrap_err()
                    .is_diverged()
            );
        }
        assert!(
            Scores::new()
                .predicted(&[], &[])
                .unwrap_err()
                .is_bad_input()
        );
        assert!(
            Scores::new()
                .predicted(&[1.0], &[1.0, 2.0])
                .unwrap_err()
                .is_bad_input()
        );
        assert!(scores.predicted(&[1.0], &[1.0]).unwrap_err().is_bad_input());
        assert!(
            scores
                .classified::<&str>(&[], &[0], &[])
                .unwrap_err()
                .is_bad_input()
        );
        assert_eq!(scores.tasks(), 1);
    }

    #[test]
    fn rows_of_the_confusion_are_the_right_classes() {
        let logits = [0.0, 1.0, 2.0, 0.0, 0.0, 0.0];
        assert_eq!(confusion(&logits, &[0, 1, 0], 2).unwrap(), [[0, 2], [1, 0]]);
    }
}
