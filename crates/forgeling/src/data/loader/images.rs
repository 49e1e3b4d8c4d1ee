//! Batches of labelled images, epoch after epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pipeline::{Pipeline, Plan};
use super::rendering::{ImageJob, Images, room};
use super::{ORDER_STREAM, check_counts};
use crate::data::{Augmentation, Dataset, ImageShape, RandomAffine, Rng, Standardization};
use crate::error::{Error, Result};

pub(super) const OPERATION: &str = "load_images";

/// How a [`Loader`] deals a dataset into batches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Images of a batch; the last one of an epoch may have fewer. Default 32.
    pub batch_size: usize,
    /// Whether each epoch has a random order of its own; otherwise classes follow one another. Default true.
    pub shuffle: bool,
    /// Whether to leave out the last batch of an epoch where it would have fewer images. Default false.
    pub drop_last: bool,
    /// Threads that render batches; 0 for none. A browser has none, whatever is said here. Default 1.
    pub workers: usize,
    /// Batches that the workers are ahead at most, each of which takes memory. Default 2.
    pub prefetch: usize,
    /// How each image is turned, slanted, stretched and moved at random; `None` leaves it. Default `None`. For other
    /// changes see [`Loader::augmented`].
    pub augment: Option<RandomAffine>,
    /// Seed of the order and of the augmentation. Default 0.
    pub seed: u64,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 32,
            shuffle: true,
            drop_last: false,
            workers: 1,
            prefetch: 2,
            augment: None,
            seed: 0,
        }
    }
}

impl LoaderConfig {
    /// As a loader for validation is configured: in order, every image once and as it is.
    pub fn validation(batch_size: usize) -> Self {
        Self {
            batch_size,
            shuffle: false,
            ..Self::default()
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When a batch has no image, there are more than 256 workers, none or more than 65,536 batches are prefetched, or
    /// the augmentation is out of range.
    pub fn validate(&self) -> Result<()> {
        let batch = ("batch_size", self.batch_size);
        check_counts(OPERATION, batch, self.workers, self.prefetch)?;
        self.augment.map_or(Ok(()), |augment| augment.validate())
    }
}

/// Images and the class of each, for supervised learning.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageBatch {
    /// The shape of each image.
    pub shape: ImageShape,
    /// The images, `[image, channel, row, column]`.
    pub images: Vec<f32>,
    /// The class of each image.
    pub labels: Vec<usize>,
}

/// Images that may have been mixed with others, and what they show.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedBatch {
    /// The images, with the class of each.
    pub images: ImageBatch,
    /// What else they show, where the loader mixes images.
    pub mixed: Option<MixedLabels>,
}

/// The second labels of images that were mixed.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedLabels {
    /// The class of what was mixed into each image; its own where nothing was.
    pub labels: Vec<usize>,
    /// How much each image shows of its own class, from 0 to 1; the rest is of the other.
    pub shares: Vec<f32>,
}

impl ImageBatch {
    /// How many images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image. A loader's batches have some.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The four sides of `images`.
    pub fn dims(&self) -> [usize; 4] {
        let ImageShape {
            channels,
            height,
            width,
        } = self.shape;
        [self.len(), channels, height, width]
    }
}

/// Where a [`Loader`] stands, for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderState {
    /// The epoch of the next batch.
    pub epoch: u64,
    /// The place of the next batch in its epoch.
    pub next_batch: usize,
    /// As configured.
    pub seed: u64,
    /// As configured.
    pub batch_size: usize,
    /// As configured.
    pub shuffle: bool,
    /// As configured.
    pub drop_last: bool,
    /// Images of the dataset.
    pub examples: usize,
}

/// Gives the images of a [`Dataset`] with their labels in batches, epoch after epoch without end. A table of plain
/// numbers is a dataset too: [`TableSet`](crate::data::TableSet).
///
/// The batches depend on the dataset, the seed and the configuration's batch size, order and augmentation, but neither on
/// the number of workers nor on the platform. Workers start with the first batch and end when the loader is dropped.
///
/// A set with endless examples, such as [`Glyphs`](crate::data::Glyphs), is first cut to some by
/// [`Subset::first`](crate::data::Subset::first).
///
/// ```
/// use forgeling::data::{Glyphs, Loader, LoaderConfig, Split, Subset};
/// # pollster::block_on(async {
/// let glyphs = Subset::first(Glyphs::new(1, Split::Train, 10)?, 20)?;
/// let config = LoaderConfig { batch_size: 64, ..Default::default() };
/// let mut loader = Loader::new(glyphs, config)?;
/// let batch = loader.next().await?;
/// assert_eq!((batch.dims(), loader.batches_per_epoch()), ([64, 1, 28, 28], 4));
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
pub struct Loader {
    pipeline: Pipeline<ImagePlan, Images>,
    config: LoaderConfig,
    /// Whether images are mixed.
    mixes: bool,
}

impl Loader {
    /// A loader at the beginning of the first epoch.
    ///
    /// # Errors
    /// When the configuration is out of range, the dataset has no image or more than can be counted in 32 bits, or fewer
    /// than one batch where such a one is dropped.
    pub fn new(dataset: impl Dataset + 'static, config: LoaderConfig) -> Result<Self> {
        config.validate()?;
        let source = Images::new(Arc::new(dataset), &config)?;
        let plan = ImagePlan {
            batch_size: config.batch_size,
            drop_last: config.drop_last,
            shuffle: config.shuffle,
            seed: config.seed,
            examples: source.examples(),
            epoch: 0,
            next_batch: 0,
            order: None,
        };
        if plan.batches() == 0 {
            return Err(
                Error::invalid(OPERATION, "the set has fewer images than a batch")
                    .expected(format!("{} or more", config.batch_size))
                    .got(plan.examples),
            );
        }
        Ok(Self {
            pipeline: Pipeline::new(plan, source, config.workers, config.prefetch),
            config,
            mixes: false,
        })
    }

    /// Changes every image at random, step by step, in place of the configuration's `augment`. Only for a loader that has
    /// given nothing yet.
    ///
    /// # Errors
    /// When the steps do not fit the images or a number of theirs is out of range.
    pub fn augmented(mut self, augmentation: Augmentation) -> Result<Self> {
        let images = self.images()?;
        augmentation.validate(images.dataset.image_shape())?;
        let mixes = augmentation.mixes();
        images.change = Some(Box::new(augmentation));
        Ok(Self { mixes, ..self })
    }

    /// Standardises the channels of every image, after all other changes. Only for a loader that has given nothing yet.
    ///
    /// # Errors
    /// When the images have other channels than the constants, or these cannot be divided by.
    pub fn standardized(mut self, constants: Standardization) -> Result<Self> {
        let images = self.images()?;
        constants.check_channels(images.dataset.image_shape())?;
        images.standardization = Some(constants);
        Ok(self)
    }

    /// What renders the images, before anyone else has it.
    fn images(&mut self) -> Result<&mut Images> {
        let state = self.state();
        let unused = (state.epoch, state.next_batch) == (0, 0);
        let source = self.pipeline.source().filter(|_| unused);
        source.ok_or_else(|| {
            Error::invalid(OPERATION, "the loader is at work already")
                .expected("one that has given no batch")
        })
    }

    /// As configured.
    pub fn config(&self) -> &LoaderConfig {
        &self.config
    }

    /// Batches of each epoch, 1 or more.
    pub fn batches_per_epoch(&self) -> usize {
        self.pipeline.plan().batches()
    }

    /// Images of the dataset.
    pub fn example_count(&self) -> usize {
        self.pipeline.plan().examples
    }

    /// The next batch; after the last one of an epoch comes the first of the next. With workers this blocks until it is
    /// ready; without, it is rendered here, and others run in between.
    ///
    /// # Errors
    /// When an image cannot be read, the dataset panics, or memory does not suffice. The batch is then left out: the next
    /// call gives the one that follows. When images are mixed, of which one label does not tell: see
    /// [`next_mixed`](Self::next_mixed).
    pub async fn next(&mut self) -> Result<ImageBatch> {
        if self.mixes {
            return Err(Error::invalid(OPERATION, "the images are mixed")
                .expected("that both labels are asked for, as by MixedEpochs"));
        }
        Ok(self.pipeline.next().await?.images)
    }

    /// As [`next`](Self::next), with what images were mixed with.
    ///
    /// # Errors
    /// When an image cannot be read, the dataset panics, or memory does not suffice.
    pub async fn next_mixed(&mut self) -> Result<MixedBatch> {
        self.pipeline.next().await
    }

    /// Where the loader stands: behind the last batch that [`Self::next`] gave, whatever was rendered ahead.
    pub fn state(&self) -> LoaderState {
        self.pipeline.state()
    }

    /// Goes on where `state` was taken: the batches that follow are those that would have followed there.
    ///
    /// # Errors
    /// When the state was taken of a loader whose seed, batch size, order or number of images were others.
    pub fn resume(&mut self, state: LoaderState) -> Result<()> {
        let mut plan = self.pipeline.plan().clone();
        let own = plan.state();
        let told = |name: &str, expected: String, got: String| {
            let message = format!("the state is of a loader with another {name}");
            Err(Error::invalid("resume_loader", message)
                .expected(expected)
                .got(got))
        };
        if state.seed != own.seed {
            return told("seed", own.seed.to_string(), state.seed.to_string());
        }
        if (state.batch_size, state.examples) != (own.batch_size, own.examples) {
            let size = |s: &LoaderState| format!("{} of {} images", s.batch_size, s.examples);
            return told("batch size or set", size(&own), size(&state));
        }
        if (state.shuffle, state.drop_last) != (own.shuffle, own.drop_last) {
            let order = |s: &LoaderState| format!("shuffle {}, drop {}", s.shuffle, s.drop_last);
            return told("order", order(&own), order(&state));
        }
        if state.next_batch >= plan.batches() {
            return told(
                "epoch's length",
                format!("a batch below {}", plan.batches()),
                state.next_batch.to_string(),
            );
        }
        (plan.epoch, plan.next_batch) = (state.epoch, state.next_batch);
        plan.order = None;
        self.pipeline.replace(plan);
        Ok(())
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("config", &self.config)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct ImagePlan {
    batch_size: usize,
    drop_last: bool,
    shuffle: bool,
    seed: u64,
    examples: usize,
    epoch: u64,
    next_batch: usize,
    /// Of the epoch that is being dealt out, once it is needed.
    order: Option<Arc<Vec<u32>>>,
}

impl ImagePlan {
    fn batches(&self) -> usize {
        if self.drop_last {
            self.examples / self.batch_size
        } else {
            self.examples.div_ceil(self.batch_size)
        }
    }

    fn permutation(&self) -> Result<Arc<Vec<u32>>> {
        let mut order = room(self.examples)?;
        order.extend((0..self.examples).map(|number| number as u32));
        let rng = Rng::new(self.seed).fork(ORDER_STREAM);
        rng.fork(self.epoch).shuffle(&mut order);
        Ok(Arc::new(order))
    }
}

impl Plan for ImagePlan {
    type Job = ImageJob;
    type State = LoaderState;

    fn next(&mut self) -> Result<ImageJob> {
        if self.shuffle && self.order.is_none() {
            self.order = Some(self.permutation()?);
        }
        let first = self.next_batch * self.batch_size;
        let job = ImageJob {
            epoch: self.epoch,
            order: self.order.clone(),
            first,
            count: self.batch_size.min(self.examples - first),
        };
        self.next_batch += 1;
        if self.next_batch == self.batches() {
            (self.epoch, self.next_batch) = (self.epoch + 1, 0);
            self.order = None;
        }
        Ok(job)
    }

    fn state(&self) -> LoaderState {
        LoaderState {
            epoch: self.epoch,
            next_batch: self.next_batch,
            seed: self.seed,
            batch_size: self.batch_size,
            shuffle: self.shuffle,
            drop_last: self.drop_last,
            examples: self.examples,
        }
    }
}
