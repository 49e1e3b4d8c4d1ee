//! Metric learners: classes are told apart by comparing features, and nothing is adapted.
//!
//! - [`MetricLearner`]: any encoder with any head.
//! - [`MetricHead`]: how features are compared; [`Embedded`]: what they are.
//! - [`Prototypes`]: with the mean of each class, by one of three distances.
//! - [`Matching`]: with each example, by attention.
//! - [`Relation`]: by a network that is trained to.
//! - [`Ridge`]: by ridge regression, in closed form.
//! - [`Centroids`]: with means, after features were centered and scaled to length 1.

mod centroids;
mod embedded;
mod matching;
mod prototypes;
mod relation;
mod ridge;
mod scale;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use super::few_shot::FewShot;
use super::stack::{Side, Stack};
use crate::error::{Error, Result};
use crate::nn::{Normalization, Pass};
use crate::ops::EpisodeCounts;
use crate::train::{Encoder, Outcome, Predictions, Trainable};

pub use centroids::Centroids;
pub use embedded::Embedded;
pub use matching::Matching;
pub use prototypes::{Distance, Prototypes};
pub use relation::Relation;
pub use ridge::Ridge;

/// How features are compared. Parameters of its own are trained with the encoder.
pub trait MetricHead: Trainable + ModuleDisplay {
    /// Logits `[tasks, queries, ways]`, in the features' dtype. Classes may have different numbers of examples.
    ///
    /// # Errors
    /// When the features do not fit each other or the head's parameters.
    fn logits<'a>(&'a self, tasks: &Embedded, pass: &mut Pass<'a>) -> Result<Tensor<3>>;

    /// As [`logits`](Self::logits), for tasks of equal numbers of examples whose features lie class after class: all
    /// supports, then all queries. For heads that have a faster way then; by default none has.
    fn equal_logits(
        &self,
        _features: &Tensor<2>,
        _counts: EpisodeCounts,
    ) -> Option<Result<Tensor<3>>> {
        None
    }

    /// What training minimises, of logits `[rows, ways]` and the right classes. By default the mean cross entropy.
    ///
    /// # Errors
    /// When they do not fit.
    fn loss(&self, logits: Tensor<2>, labels: Vec<usize>) -> Result<Outcome> {
        Predictions::cross_entropy(logits, labels)
    }
}

/// An encoder with a head that compares features. All images of a training step, support and queries alike, go through
/// the encoder in one pass and are normalized together.
#[derive(Module, Debug)]
pub struct MetricLearner<E: Module + ModuleDisplay, H: Module + ModuleDisplay> {
    /// From images to features.
    pub encoder: E,
    /// How they are compared.
    pub head: H,
}

/// Logits `[tasks, queries, ways]` of a stack's tasks.
fn compare<'a, E: Encoder, H: MetricHead>(
    encoder: &'a E,
    head: &'a H,
    stack: &Stack<'_>,
    pass: &mut Pass<'a>,
) -> Result<Tensor<3>> {
    if !stack.is_classification() {
        return Err(
            Error::invalid("embed_tasks", "metric learners tell classes apart")
                .expected("tasks of classes")
                .got("tasks of numbers to predict"),
        );
    }
    let images = stack.images(&[Side::Support, Side::Query], pass);
    let maps = encoder.maps(images, pass)?;
    let [_, channels, height, width] = maps.dims();
    let features = maps.flatten::<2>(1, 3);
    if let Some(counts) = stack.counts()
        && let Some(logits) = head.equal_logits(&features, counts)
    {
        return Ok(pass.output(logits?));
    }
    let features = pass.output(features);
    let [support, query] = sides(&features, stack);
    let embedded = Embedded {
        support,
        query,
        onehot: stack.target_tensor(Side::Support, &features),
        map: [channels, height, width],
    };
    head.logits(&embedded, pass)
}

/// Features of all tasks' supports and queries, `[tasks, rows, features]`, from those of all inputs.
fn sides(features: &Tensor<2>, stack: &Stack<'_>) -> [Tensor<3>; 2] {
    let (tasks, length) = (stack.len(), features.dims()[1]);
    let (supports, queries) = (stack.rows(Side::Support), stack.rows(Side::Query));
    let side = |start: usize, rows: usize| {
        let part = features.clone().narrow(0, start, tasks * rows);
        part.reshape([tasks, rows, length])
    };
    [side(0, supports), side(tasks * supports, queries)]
}

/// What [`FewShot::features`] gives.
pub(super) fn encode<E: Encoder>(
    encoder: &E,
    stack: &Stack<'_>,
    normalization: Normalization,
) -> Result<[Tensor<3>; 2]> {
    let device = encoder.devices().into_iter().next();
    let device = device.ok_or_else(|| Error::invalid("features", "no parameter"))?;
    let mut pass = Pass::new(normalization, &device);
    let images = stack.images(&[Side::Support, Side::Query], &pass);
    let maps = encoder.maps(images, &mut pass)?;
    Ok(sides(&pass.output(maps).flatten::<2>(1, 3), stack))
}

/// What [`FewShot::predict`] gives.
pub(super) fn answer<E: Encoder, H: MetricHead>(
    encoder: &E,
    head: &H,
    stack: &Stack<'_>,
    normalization: Normalization,
) -> Result<Tensor<3>> {
    let device = encoder.devices().into_iter().next();
    let device = device.ok_or_else(|| Error::invalid("predict", "no parameter"))?;
    let together = |stack: &Stack<'_>| {
        let mut pass = Pass::new(normalization, &device);
        compare(encoder, head, stack, &mut pass)
    };
    match normalization {
        Normalization::Running => together(stack),
        // Statistics of several tasks together would not be those of a task.
        Normalization::Batch => {
            let each = stack.each().map(|task| together(&task));
            Ok(Tensor::cat(each.collect::<Result<Vec<_>>>()?, 0))
        }
    }
}

impl<E: Encoder, H: MetricHead> Trainable for MetricLearner<E, H> {}

impl<E: Encoder, H: MetricHead> FewShot for MetricLearner<E, H> {
    fn loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome> {
        let labels = stack.classes(Side::Query);
        let logits = compare(&self.encoder, &self.head, stack, pass)?;
        self.head
            .loss(logits.reshape([labels.len(), stack.outputs()]), labels)
    }

    fn predict(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<Tensor<3>> {
        answer(&self.encoder, &self.head, stack, normalization)
    }

    fn features(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<[Tensor<3>; 2]> {
        encode(&self.encoder, stack, normalization)
    }
}
