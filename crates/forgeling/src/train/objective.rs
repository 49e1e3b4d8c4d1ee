//! What is trained, and on what.

use std::ops::Range;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Tensor, TensorData};

use crate::data::{EpisodeBatch, ImageBatch, ImageShape};
use crate::error::{Error, Result};
use crate::nn::Pass;
use crate::ops::softmax_cross_entropy;
use crate::train::score::chosen;

/// A network that can be trained: a module of burn's. What batch norms find in training goes by itself to the norms that
/// found it.
pub trait Trainable: Module {}

/// A network that tells images apart.
pub trait Classify: Trainable {
    /// Logits `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When the images do not fit the network.
    fn logits<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<2>>;
}

/// A network that makes features of images.
pub trait Encoder: Trainable + ModuleDisplay {
    /// Feature maps `[batch, channels, height, width]` of images `[batch, channels, height, width]`. Where a network has
    /// one number for each feature, height and width are 1.
    ///
    /// # Errors
    /// When the images do not fit the network.
    fn maps<'a>(&'a self, images: Tensor<4>, pass: &mut Pass<'a>) -> Result<Tensor<4>>;
}

/// What a step is taken on, which can be dealt out in parts: micro-batches, or the shares of several devices.
pub trait Batch: Clone + Send {
    /// Examples, or whatever the loss is the mean of: episodes, for example.
    fn len(&self) -> usize;

    /// The examples with these numbers, which are below [`len`](Self::len).
    #[must_use]
    fn part(&self, range: Range<usize>) -> Self;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Consecutive parts of these lengths, whose sum is at most [`len`](Self::len).
    fn split(&self, lengths: &[usize]) -> Vec<Self> {
        let parts = ranges(lengths).into_iter();
        parts.map(|range| self.part(range)).collect()
    }
}

/// Where consecutive parts of these lengths lie.
pub(crate) fn ranges(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    let range = |&length: &usize| {
        start += length;
        start - length..start
    };
    lengths.iter().map(range).collect()
}

/// What is minimised: a loss of a model on a batch.
pub trait Objective<M> {
    /// What a step is taken on.
    type Batch: Batch;

    /// The forward pass and the loss.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    fn forward<'a>(
        &self,
        model: &'a M,
        batch: &Self::Batch,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome>;
}

/// What a forward pass comes to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Mean loss over the batch, `[1]`, in f32.
    pub loss: Tensor<1>,
    /// Where classes are told apart, what accuracy is counted from.
    pub predictions: Option<Predictions>,
}

/// Logits with what they should have been.
#[derive(Debug, Clone)]
pub struct Predictions {
    /// `[rows, classes]`, not tracked.
    pub logits: Tensor<2>,
    /// The class of each row.
    pub labels: Vec<usize>,
}

impl Predictions {
    /// The mean cross entropy of `logits`, and the predictions they are.
    ///
    /// # Errors
    /// As [`softmax_cross_entropy`].
    pub fn cross_entropy(logits: Tensor<2>, labels: Vec<usize>) -> Result<Outcome> {
        let loss = softmax_cross_entropy(logits.clone(), &labels)?;
        Ok(Outcome {
            loss,
            predictions: Some(Self {
                logits: logits.without_autodiff(),
                labels,
            }),
        })
    }
}

/// How many of `labels` have the largest logit of their row; of several, the last one counts.
pub fn count_right(logits: &[f32], labels: &[usize]) -> usize {
    let classes = logits.len() / labels.len().max(1);
    let rows = logits.chunks_exact(classes.max(1)).zip(labels);
    rows.filter(|(row, label)| chosen(row) == **label).count()
}

impl Batch for ImageBatch {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn part(&self, range: Range<usize>) -> Self {
        let pixels = self.shape.len();
        Self {
            shape: self.shape,
            images: self.images[range.start * pixels..range.end * pixels].to_vec(),
            labels: self.labels[range].to_vec(),
        }
    }
}

impl Batch for EpisodeBatch {
    fn len(&self) -> usize {
        self.episodes
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self::part(self, range)
    }
}

/// Split by elements, such as tasks.
impl<T: Clone + Send> Batch for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn part(&self, range: Range<usize>) -> Self {
        self[range].to_vec()
    }
}

/// The mean cross entropy of a [`Classify`]'s logits on labelled images.
#[derive(Debug, Clone, Copy, Default)]
pub struct CrossEntropy;

impl<M: Classify> Objective<M> for CrossEntropy {
    type Batch = ImageBatch;

    fn forward<'a>(
        &self,
        model: &'a M,
        batch: &ImageBatch,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        let logits = logits(model, batch, pass)?;
        Predictions::cross_entropy(logits, batch.labels.clone())
    }
}

/// Of the images of a batch.
pub(super) fn logits<'a, M: Classify>(
    model: &'a M,
    batch: &ImageBatch,
    pass: &mut Pass<'a>,
) -> Result<Tensor<2>> {
    let ImageShape {
        channels,
        height,
        width,
    } = batch.shape;
    let count = batch.labels.len();
    if batch.images.len() != count * batch.shape.len() {
        return Err(
            Error::invalid("cross_entropy", "not one image for each label")
                .expected(format!("{count} images of {}", batch.shape))
                .got(format!("{} values", batch.images.len())),
        );
    }
    let dims = [count, channels, height, width];
    let images = pass.values(TensorData::new(batch.images.clone(), dims));
    let logits = model.logits(images, pass)?;
    Ok(pass.output(logits))
}
