//! SimpleShot: a classifier of the base classes, and nearest centroids of its features.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use super::few_shot::{FewShot, answered};
use super::metric::{Centroids, answer, encode};
use super::stack::{Side, Stack};
use crate::data::{Dataset, Rng};
use crate::error::{Error, Result};
use crate::nn::{LinearLayer, Normalization, Pass};
use crate::ops::Activation;
use crate::train::{Encoder, Outcome, Predictions, Trainable};

const OPERATION: &str = "simple_shot";

/// An encoder that is trained to tell all classes of a set apart, and answers tasks by the [`Centroids`] of its features.
///
/// Training knows no tasks: the loss is the mean cross entropy of a linear layer over the set's classes, on all images of
/// the tasks, support and queries alike. So tasks must have been read from a set, whose classes their
/// [plan](crate::data::Task::plan) names. Answers come of the features alone, centered by their mean, which
/// [`center`](Self::center) takes once training is over; before, it is 0. Wang et al., *SimpleShot: Revisiting
/// Nearest-Neighbor Classification for Few-Shot Learning*, 2019 (arXiv 1911.04623).
#[derive(Module, Debug)]
pub struct SimpleShot<E: Module + ModuleDisplay> {
    /// From images to features.
    pub encoder: E,
    /// From features to the set's classes.
    pub classifier: LinearLayer,
    /// How features are compared.
    pub centroids: Centroids,
}

impl<E: Encoder> SimpleShot<E> {
    /// An encoder of so many features (the product of a map's sizes), with a classifier of so many classes whose weights
    /// are drawn from a seed.
    ///
    /// # Errors
    /// When there are no features or classes.
    pub fn new(encoder: E, features: usize, classes: usize, seed: u64) -> Result<Self> {
        if features == 0 || classes == 0 {
            return Err(Error::invalid(OPERATION, "nothing to classify")
                .expected("at least 1 feature and 1 class")
                .got(format!("{features} features, {classes} classes")));
        }
        let device = encoder.devices().into_iter().next();
        let device = device.ok_or_else(|| Error::invalid(OPERATION, "no parameter"))?;
        Ok(Self {
            encoder,
            classifier: LinearLayer::new(features, classes, &mut Rng::new(seed), &device),
            centroids: Centroids::new(Tensor::zeros([features], &device)),
        })
    }

    /// Centers features by their mean over `images` images, see [`Centroids::of`].
    ///
    /// # Errors
    /// As [`Centroids::of`].
    pub fn center(&mut self, dataset: &dyn Dataset, images: usize) -> Result<()> {
        self.centroids = Centroids::of(&self.encoder, dataset, images)?;
        Ok(())
    }

    /// The set's class of each image, in the order in which a stack gives them.
    fn labels(&self, stack: &Stack<'_>) -> Result<Vec<usize>> {
        let [_, classes] = self.classifier.weight.dims();
        let mut labels = Vec::new();
        for side in [Side::Support, Side::Query] {
            let own = stack.classes(side);
            for (task, own) in stack
                .tasks()
                .iter()
                .zip(own.chunks(stack.rows(side).max(1)))
            {
                let plan = task.plan().ok_or_else(|| {
                    Error::invalid(OPERATION, "a task that says not which classes it has")
                        .expected("tasks read from a set")
                })?;
                labels.extend(own.iter().map(|&class| plan.classes[class]));
            }
        }
        match labels.iter().max() {
            Some(&largest) if largest >= classes => Err(Error::invalid(
                OPERATION,
                "a class that the classifier has not",
            )
            .expected(format!("below {classes}"))
            .got(largest)),
            _ => Ok(labels),
        }
    }
}

impl<E: Encoder> Trainable for SimpleShot<E> {}

impl<E: Encoder> FewShot for SimpleShot<E> {
    fn loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome> {
        let labels = self.labels(stack)?;
        let images = stack.images(&[Side::Support, Side::Query], pass);
        let features = self.encoder.maps(images, pass)?.flatten::<2>(1, 3);
        let logits = self.classifier.forward(features, Activation::None)?;
        Predictions::cross_entropy(pass.output(logits), labels)
    }

    /// Of the answers: the classes of other data are not those of the classifier.
    fn held_out_loss<'a>(&'a self, stack: &Stack<'_>, _pass: &mut Pass<'a>) -> Result<Outcome> {
        answered(self, stack)
    }

    fn predict(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<Tensor<3>> {
        answer(&self.encoder, &self.centroids, stack, normalization)
    }

    fn features(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<[Tensor<3>; 2]> {
        encode(&self.encoder, stack, normalization)
    }
}
