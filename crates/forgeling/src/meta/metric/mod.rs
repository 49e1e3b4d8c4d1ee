//! Metric learners: classes are told apart by comparing features, and nothing is adapted.
//!
//! - [`MetricLearner`]: any encoder with any head.
//! - [`MetricHead`]: how features are compared.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use super::few_shot::FewShot;
use super::stack::{Side, Stack};
use crate::error::{Error, Result};
use crate::nn::{BatchStatistics, Normalization, Pass};
use crate::train::{Encoder, Outcome, Predictions, Trainable};

/// The features of a stack's tasks.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Features of the examples to learn from, `[tasks, supports, features]`.
    pub support: Tensor<3>,
    /// 1 for the class of each of these and 0 for the others, `[tasks, supports, ways]`.
    pub onehot: Tensor<3>,
    /// Features of the queries, `[tasks, queries, features]`.
    pub query: Tensor<3>,
    /// What the features were flattened from: `[channels, height, width]`.
    pub map: [usize; 3],
}

/// How features are compared. Parameters of its own are trained with the encoder.
pub trait MetricHead: Module + ModuleDisplay {
    /// Logits `[tasks, queries, ways]`, in f32. Classes may have different numbers of examples.
    ///
    /// # Errors
    /// When the features do not fit the head's parameters.
    fn logits(&self, tasks: &Embedded) -> Result<Tensor<3>>;

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

impl<E: Encoder, H: MetricHead> MetricLearner<E, H> {
    fn embed<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Embedded> {
        if !stack.is_classification() {
            return Err(
                Error::invalid("embed_tasks", "metric learners tell classes apart")
                    .expected("tasks of classes")
                    .got("tasks of numbers to predict"),
            );
        }
        let images = stack.images(&[Side::Support, Side::Query], pass);
        let maps = self.encoder.maps(images, pass)?;
        let [_, channels, height, width] = maps.dims();
        let features = pass.output(maps).flatten::<2>(1, 3);
        let tasks = stack.len();
        let (supports, queries) = (stack.rows(Side::Support), stack.rows(Side::Query));
        let length = features.dims()[1];
        let side = |start: usize, rows: usize| {
            let part = features.clone().narrow(0, start, tasks * rows);
            part.reshape([tasks, rows, length])
        };
        Ok(Embedded {
            support: side(0, supports),
            query: side(tasks * supports, queries),
            onehot: stack.target_tensor(Side::Support, &features),
            map: [channels, height, width],
        })
    }
}

impl<E: Encoder, H: MetricHead> Trainable for MetricLearner<E, H> {
    fn absorb(self, statistics: Vec<BatchStatistics>) -> Self {
        Self {
            encoder: self.encoder.absorb(statistics),
            head: self.head,
        }
    }
}

impl<E: Encoder, H: MetricHead> FewShot for MetricLearner<E, H> {
    fn loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome> {
        let embedded = self.embed(stack, pass)?;
        let labels = stack.classes(Side::Query);
        let logits = self.head.logits(&embedded)?;
        self.head
            .loss(logits.reshape([labels.len(), stack.outputs()]), labels)
    }

    fn predict(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<Tensor<3>> {
        let answer = |stack: &Stack<'_>| {
            let device = self.devices().into_iter().next();
            let device = device.ok_or_else(|| Error::invalid("predict", "no parameter"))?;
            let mut pass = Pass::new(normalization, &device);
            let embedded = self.embed(stack, &mut pass)?;
            self.head.logits(&embedded)
        };
        match normalization {
            Normalization::Running => answer(stack),
            // Statistics of several tasks together would not be those of a task.
            Normalization::Batch => {
                let each = stack.each().map(|task| answer(&task));
                Ok(Tensor::cat(each.collect::<Result<Vec<_>>>()?, 0))
            }
        }
    }
}
