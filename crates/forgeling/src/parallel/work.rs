//! What is computed on each device, and batches that can be split.

use std::ops::Range;

use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::data::{EpisodeBatch, Labelled};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::BatchStatistics;

/// What a share of a batch brings.
pub struct Contribution {
    /// Gradients of the share's mean loss, or of a multiple of it that is the same for all shares (see
    /// [`Optimizer::set_loss_scale`](crate::train::Optimizer::set_loss_scale)). A parameter without one counts as one with
    /// zeros where another share has one.
    pub gradients: GradientsParams,
    /// Mean loss over the share, `[1]`.
    pub loss: Tensor<1>,
    /// Other means over the share, `[1]` each; the same ones for all shares.
    pub metrics: Vec<Tensor<1>>,
    /// How much the share's means weigh: its examples, 1 or more.
    pub examples: usize,
    /// What [`Work::absorb`] is given.
    pub statistics: Vec<BatchStatistics>,
}

/// What gradients are computed of: a function of a network and a share of a batch.
///
/// A closure from network, share and device to a [`Contribution`] is such work, where the network has no running
/// statistics.
pub trait Work<M, B>: Send + Sync + 'static {
    /// The gradients of one share, which has an example at least. `model` is on `device`, with automatic differentiation.
    ///
    /// # Errors
    /// Those for which [`Error::is_device`] holds, and panics, are the device's fault: it trains no more. Others end the
    /// step.
    fn contribute(&self, model: &M, share: B, device: &Device) -> Result<Contribution>;

    /// The network with the statistics of its own share taken in, after the optimizer's step.
    fn absorb(&self, model: M, statistics: Vec<BatchStatistics>) -> M;
}

impl<M, B, F> Work<M, B> for F
where
    F: Fn(&M, B, &Device) -> Result<Contribution> + Send + Sync + 'static,
{
    fn contribute(&self, model: &M, share: B, device: &Device) -> Result<Contribution> {
        let contribution = self(model, share, device)?;
        if !contribution.statistics.is_empty() {
            let message = "a closure cannot take statistics in; implement `Work`";
            return Err(Error::invalid("contribute", message)
                .expected("no statistics")
                .got(contribution.statistics.len()));
        }
        Ok(contribution)
    }

    fn absorb(&self, model: M, _statistics: Vec<BatchStatistics>) -> M {
        model
    }
}

/// A batch of examples that can be split: pictures, or whole episodes.
pub trait Splittable {
    /// How many examples there are.
    fn len(&self) -> usize;

    /// The examples with these numbers, which are below [`len`](Self::len).
    #[must_use]
    fn part(&self, range: Range<usize>) -> Self;

    /// Whether there is no example.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parts of these sizes, one after the other, `None` where a size is 0. The sizes' sum is at most
    /// [`len`](Self::len).
    fn split(&self, sizes: &[usize]) -> Vec<Option<Self>>
    where
        Self: Sized,
    {
        let parts = ranges(sizes).into_iter();
        parts
            .map(|range| (!range.is_empty()).then(|| self.part(range)))
            .collect()
    }
}

/// Where shares of these sizes lie in the batch.
pub(super) fn ranges(sizes: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    let range = |&size: &usize| {
        start += size;
        start - size..start
    };
    sizes.iter().map(range).collect()
}

/// Splits by episodes.
impl Splittable for EpisodeBatch {
    fn len(&self) -> usize {
        self.episodes
    }

    fn part(&self, range: Range<usize>) -> Self {
        fn rows<T: Copy>(all: &[T], each: usize, range: &Range<usize>) -> Vec<T> {
            all[range.start * each..range.end * each].to_vec()
        }
        let ways = self.ways.get();
        let (support, query) = (ways * self.shots.get(), ways * self.queries.get());
        let pixels = self.shape.len();
        Self {
            episodes: range.len(),
            ways: self.ways,
            shots: self.shots,
            queries: self.queries,
            shape: self.shape,
            support: rows(&self.support, support * pixels, &range),
            query: rows(&self.query, query * pixels, &range),
            classes: rows(&self.classes, ways, &range),
            support_examples: rows(&self.support_examples, support, &range),
            query_examples: rows(&self.query_examples, query, &range),
        }
    }
}

/// Splits by images.
impl Splittable for Labelled {
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

/// Splits by elements, such as tasks.
impl<T: Clone> Splittable for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn part(&self, range: Range<usize>) -> Self {
        self[range].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{EpisodeSampler, Glyphs, ImageShape, Queries, Shots, Split, Ways};

    #[test]
    fn episodes_are_split_as_they_were_drawn() {
        let glyphs = Glyphs::new(1, Split::Train, 20).unwrap();
        let sampler = || {
            let (ways, shots) = (Ways::new(3).unwrap(), Shots::new(2).unwrap());
            EpisodeSampler::new(ways, shots, Queries::new(1).unwrap(), 4)
        };
        let whole = sampler().sample_batch(&glyphs, 5).unwrap();
        let mut sampler = sampler();
        let parts = whole.split(&[2, 0, 3]);
        assert!(parts[1].is_none());
        for part in parts.iter().flatten() {
            let drawn = sampler.sample_batch(&glyphs, part.len()).unwrap();
            assert_eq!(*part, drawn);
        }
    }

    #[test]
    fn images_go_with_their_labels() {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 2,
        };
        let batch = Labelled {
            shape,
            images: (0..6).map(|n| n as f32).collect(),
            labels: vec![7, 8, 9],
        };
        let part = batch.part(1..3);
        assert_eq!(part.images, [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(part.labels, [8, 9]);
        assert_eq!(vec!["a", "b", "c"].part(0..2), ["a", "b"]);
    }
}
