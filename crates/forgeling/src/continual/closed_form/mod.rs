//! Classifiers that are computed from sums over all that came, not trained: one pass, no examples kept, and a result that
//! does not depend on the order in which examples come.
//!
//! - `streaming_lda`, `ridge`, `nearest_mean`: what each [`ClosedFormRule`] adds up, and the scores that follow.
//! - `sums`: what all of them keep. `state`: the same in a checkpoint.
//! - `linear`: scores from weights.
//! - `random_features`: what they may learn on.

mod linear;
mod nearest_mean;
mod random_features;
mod ridge;
mod state;
mod streaming_lda;
mod sums;

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use self::linear::Linear;
use self::sums::Sums;
use crate::error::{Error, Result};

pub use random_features::RandomFeatures;

/// How a [`ClosedForm`] tells classes apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClosedFormRule {
    /// Streaming linear discriminant analysis: a mean `μ` for each class and one covariance for all,
    /// `w = Λ μ`, `b = −½ μᵀ Λ μ` with `Λ = [(1 − ε) S / N + ε I]⁻¹`.
    ///
    /// Hayes and Kanan, "Lifelong machine learning with deep streaming linear discriminant analysis", CVPR Workshops 2020.
    /// An example `x` of a class that has `n` of them adds `n / (n + 1) (x − μ)(x − μ)ᵀ` to `S`, then moves `μ`; the
    /// examples of one call are added in one go, which comes to the same (Chan, Golub and LeVeque, 1983). `N` counts all
    /// examples, so that this is the batch method with all its covariance's degrees of freedom and classes that are
    /// equally likely, however many examples they have.
    ///
    /// The authors' code, and Avalanche's after it, has in the place of `n` the number of examples of all classes, and takes
    /// the mean of a class without examples for 0, so that the whole square of its first example enters `S`: it differs from
    /// batch LDA, and depends on the order of examples. It can begin with the covariance of a first batch by oracle
    /// approximating shrinkage, which is not done here.
    ///
    /// It keeps `8 (d (d + 1) / 2 + d C)` bytes for `d` features and `C` classes, and their counts; an example costs `d² / 2`
    /// multiplications, and the first scores after one `d³ / 6`.
    StreamingLda {
        /// `ε`, above 0 and at most 1, in units of a feature's variance; 1e-4 in the paper.
        shrinkage: f64,
    },
    /// Ridge regression on one-hot labels: `W = (G + λ I)⁻¹ Q`, where an example adds `h hᵀ` to `G` and `h yᵀ` to `Q`.
    /// There is no bias.
    ///
    /// McDonnell et al., "RanPAC: random projections and pre-trained models for continual learning", NeurIPS 2023. Their
    /// code chooses λ anew after each task among powers of ten, by the error on a fifth of the task's examples, for which
    /// it keeps all examples of the task; here it stays what it is.
    ///
    /// It keeps and costs as much as streaming LDA.
    Ridge {
        /// `λ`, above 0, in units of the sum of a feature's squares over all examples.
        penalty: f64,
    },
    /// The class with the nearest mean, in Euclidean distance: `−½ ‖x − μ‖²`.
    ///
    /// It keeps `8 d C` bytes and the counts; an example costs `d` additions.
    NearestMean,
}

impl ClosedFormRule {
    /// Streaming LDA with the paper's ε, 1e-4.
    pub const STREAMING_LDA: Self = Self::StreamingLda { shrinkage: 1e-4 };
    /// Ridge regression with λ = 1.
    pub const RIDGE: Self = Self::Ridge { penalty: 1.0 };

    fn check(self) -> Result<()> {
        let (fits, expected, got) = match self {
            Self::StreamingLda { shrinkage } => (
                shrinkage > 0.0 && shrinkage <= 1.0,
                "a shrinkage above 0, at most 1",
                shrinkage,
            ),
            Self::Ridge { penalty } => (
                penalty > 0.0 && penalty.is_finite(),
                "a finite penalty above 0",
                penalty,
            ),
            Self::NearestMean => return Ok(()),
        };
        match fits {
            true => Ok(()),
            false => Err(Error::invalid("new_closed_form", "a value is out of range")
                .expected(expected)
                .got(got)),
        }
    }
}

/// A classifier that is computed from sums over all that came.
///
/// Features are rows of `width` values, such as pixels, the outputs of a frozen encoder, or [`RandomFeatures`] of either. All
/// sums are in f64 and the same bit for bit on every platform; other orders and batch sizes change them by f64's rounding
/// only. A run goes on with the same bits from its [`RunState`](crate::train::parts::RunState).
///
/// ```
/// use forgeling::continual::{ClosedForm, ClosedFormRule};
///
/// let mut classifier = ClosedForm::new(ClosedFormRule::STREAMING_LDA, 2, 3)?;
/// classifier.learn(&[0.0, 0.0, 0.2, 1.0], &[0, 0])?;
/// classifier.learn(&[1.0, 0.0, 1.2, 1.0], &[1, 1])?;
/// let scores = classifier.scores(&[1.1, 0.6])?;
/// assert!(scores[1] > scores[0] && scores[2] == f32::NEG_INFINITY);
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClosedForm {
    rule: ClosedFormRule,
    sums: Sums,
    /// What follows from the sums, once it is asked for.
    fitted: OnceLock<Linear>,
}

impl ClosedForm {
    /// One that has seen nothing, for rows of `width` features and labels below `classes`.
    ///
    /// # Errors
    /// When a size is zero, the sums of this width do not fit in memory, or a value of the rule is out of its range.
    pub fn new(rule: ClosedFormRule, width: usize, classes: usize) -> Result<Self> {
        rule.check()?;
        let square = !matches!(rule, ClosedFormRule::NearestMean);
        Ok(Self {
            rule,
            sums: Sums::new(width, classes, square)?,
            fitted: OnceLock::new(),
        })
    }

    /// Learns from examples: `features` `[rows, width]`, row by row, and a label for each row. Neither is kept. Each call
    /// goes over all of a matrix of `width²`, so that many examples at once cost less than one by one, up to about 256.
    ///
    /// # Errors
    /// When there is not a row for each label, a label is out of range, or a feature is not finite. Nothing has then been
    /// learned.
    pub fn learn(&mut self, features: &[f32], labels: &[usize]) -> Result<()> {
        self.sums.check(features, labels)?;
        if labels.is_empty() {
            return Ok(());
        }
        match self.rule {
            ClosedFormRule::StreamingLda { .. } => {
                streaming_lda::learn(&mut self.sums, features, labels);
            }
            ClosedFormRule::Ridge { .. } => ridge::learn(&mut self.sums, features, labels),
            ClosedFormRule::NearestMean => nearest_mean::learn(&mut self.sums, features, labels),
        }
        self.fitted.take();
        Ok(())
    }

    /// A score for each row and class, `[rows, classes]`, of which the largest is the answer: the rule's own less the
    /// largest of the row, which is then 0, so that f32 loses nothing that tells classes apart. Of classes that have not been
    /// seen, [`f32::NEG_INFINITY`].
    ///
    /// The first call after something was learned computes the weights.
    ///
    /// # Errors
    /// When `features` are not whole rows or one is not finite, or when the matrix to invert is not positive definite in f64,
    /// which a larger shrinkage or penalty makes it.
    pub fn scores(&self, features: &[f32]) -> Result<Vec<f32>> {
        self.sums.check_rows(features)?;
        if self.fitted.get().is_none() {
            let linear = match self.rule {
                ClosedFormRule::StreamingLda { shrinkage } => {
                    streaming_lda::fit(&self.sums, shrinkage)?
                }
                ClosedFormRule::Ridge { penalty } => ridge::fit(&self.sums, penalty)?,
                ClosedFormRule::NearestMean => nearest_mean::fit(&self.sums),
            };
            // Another thread may have been faster, with the same result.
            let _ = self.fitted.set(linear);
        }
        let rows = features.len() / self.sums.width;
        let mut scores = Vec::new();
        if let Some(linear) = self.fitted.get() {
            scores = linear.scores(features, rows, &self.sums.counts);
        }
        Ok(scores)
    }

    /// The rule.
    pub fn rule(&self) -> ClosedFormRule {
        self.rule
    }

    /// Features of a row.
    pub fn width(&self) -> usize {
        self.sums.width
    }

    /// Classes there are, seen or not.
    pub fn classes(&self) -> usize {
        self.sums.counts.len()
    }

    /// How many examples of each class came.
    pub fn counts(&self) -> &[u64] {
        &self.sums.counts
    }

    /// Bytes that are kept of what came, as many as in a checkpoint. The weights that follow from them, and what they are
    /// computed in, are not counted.
    pub fn bytes(&self) -> u64 {
        self.sums.bytes()
    }
}
