//! What scores come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::train::Tally;

/// What [`Scores`](super::Scores) come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Score {
    /// Of classes.
    Classification(Classification),
    /// Of numbers to predict.
    Regression(Regression),
}

/// How well queries were classified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Mean of the tasks' accuracies, each of which counts alike.
    pub accuracy: f64,
    /// Half the width of its 95 % confidence interval, `1.96 s / sqrt(n)`, where `s` is the standard deviation of the
    /// accuracies (with `n - 1`).
    pub ci95: f64,
    /// The accuracy of each task, as a fraction.
    pub accuracies: Vec<f64>,
    /// Queries of all tasks.
    pub queries: usize,
    /// How often the queries of each class were classified correctly.
    pub classes: BTreeMap<String, Tally>,
    /// Mean negative log likelihood of the right classes over all queries, in nats.
    pub negative_log_likelihood: f64,
    /// How far confidence is from accuracy, over all queries.
    pub calibration: Calibration,
}

/// Confidence, which is the largest probability that softmax gives, beside accuracy.
///
/// Paper: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, with its 15 bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The expected calibration error `Σ n_b / n · |accuracy_b - confidence_b|` over the bins.
    pub expected_error: f64,
    /// Bin `b` of `B` is of the confidences above `b / B`, up to and including `(b + 1) / B`.
    pub bins: Vec<CalibrationBin>,
}

/// The queries whose confidence lies in one range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// How many there are.
    pub count: usize,
    /// The share of them that was classified correctly; 0 where there is none.
    pub accuracy: f64,
    /// Their mean confidence; 0 where there is none.
    pub confidence: f64,
}

/// How well numbers were predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// Mean of the tasks' mean squared errors, each of which counts alike.
    pub mean_squared_error: f64,
    /// Half the width of its 95 % confidence interval, as for [`Classification::ci95`].
    pub ci95: f64,
    /// The mean squared error of each task.
    pub errors: Vec<f64>,
}
