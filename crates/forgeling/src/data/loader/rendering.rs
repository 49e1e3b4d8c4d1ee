//! How a batch of images is made: each is read, changed and standardised.

use std::sync::Arc;

use super::AUGMENT_STREAM;
use super::images::{ImageBatch, LoaderConfig, MixedBatch, MixedLabels, OPERATION};
use super::pipeline::Source;
use crate::data::augment::{self, Change};
use crate::data::{Dataset, ImageShape, Rng, Standardization};
use crate::error::{Error, ErrorKind, Result};

/// Which images make up a batch.
pub(super) struct ImageJob {
    pub epoch: u64,
    /// Numbers of the epoch's images in their order; `None` where it is that of the set.
    pub order: Option<Arc<Vec<u32>>>,
    pub first: usize,
    pub count: usize,
}

/// Renders batches.
pub(super) struct Images {
    pub dataset: Arc<dyn Dataset>,
    /// How many images the classes up to each one have together.
    ends: Vec<usize>,
    pub change: Option<Box<dyn Change>>,
    pub standardization: Option<Standardization>,
    rng: Rng,
}

/// The images as an epoch changes them.
struct Epoch<'a> {
    images: &'a Images,
    rng: Rng,
}

impl augment::Images for Epoch<'_> {
    fn shape(&self) -> ImageShape {
        self.images.dataset.image_shape()
    }

    fn count(&self) -> usize {
        self.images.examples()
    }

    fn read(&self, number: usize, out: &mut [f32]) -> Result<()> {
        let (class, example) = self.images.place(number);
        self.images.dataset.read(class, example, out)
    }

    fn rng(&self, number: usize) -> Rng {
        self.rng.fork(number as u64)
    }
}

impl Images {
    pub fn new(dataset: Arc<dyn Dataset>, config: &LoaderConfig) -> Result<Self> {
        let shape = dataset.image_shape();
        if shape.is_empty() {
            let error = Error::invalid(OPERATION, "the set's images have no pixel");
            return Err(error.got(shape));
        }
        let (mut examples, mut ends) = (0usize, Vec::new());
        for class in 0..dataset.class_count() {
            examples = examples.saturating_add(dataset.class_len(class));
            ends.push(examples);
            if examples > u32::MAX as usize {
                break;
            }
        }
        if !(1..=u32::MAX as usize).contains(&examples) {
            let error = Error::invalid(OPERATION, "an epoch has no images, or too many");
            return Err(error
                .expected(format!("1 to {} images, as of a Subset", u32::MAX))
                .got(match examples {
                    0 => "0",
                    _ => "more",
                }));
        }
        Ok(Self {
            dataset,
            ends,
            change: config
                .augment
                .map(|augment| Box::new(augment) as Box<dyn Change>),
            standardization: None,
            rng: Rng::new(config.seed).fork(AUGMENT_STREAM),
        })
    }

    pub fn examples(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Class and example of an image of the set.
    fn place(&self, number: usize) -> (usize, usize) {
        let class = self.ends.partition_point(|&end| end <= number);
        let before = class.checked_sub(1).map_or(0, |before| self.ends[before]);
        (class, number - before)
    }
}

impl Source for Images {
    type Job = ImageJob;
    type Item = MixedBatch;

    fn begin(&self, job: &ImageJob) -> Result<(MixedBatch, usize)> {
        let shape = self.dataset.image_shape();
        let values = job.count.saturating_mul(shape.len());
        let mut images = room(values)?;
        images.resize(values, 0.0);
        let mixes = self.change.as_ref().is_some_and(|change| change.mixes());
        let batch = MixedBatch {
            images: ImageBatch {
                shape,
                images,
                labels: vec![0; job.count],
            },
            mixed: mixes.then(|| MixedLabels {
                labels: vec![0; job.count],
                shares: vec![1.0; job.count],
            }),
        };
        Ok((batch, job.count))
    }

    fn part(&self, job: &ImageJob, batch: &mut MixedBatch, part: usize) -> Result<()> {
        let place = job.first + part;
        let number = job.order.as_ref().map_or(place, |o| o[place] as usize);
        let (class, example) = self.place(number);
        let MixedBatch { images, mixed } = batch;
        let (shape, len) = (images.shape, images.shape.len());
        let image = &mut images.images[part * len..(part + 1) * len];
        self.dataset.read(class, example, image)?;
        let (mut other, mut share) = (class, 1.0);
        if let Some(change) = &self.change {
            let epoch = Epoch {
                images: self,
                rng: self.rng.fork(job.epoch),
            };
            if let Some(mixture) = change.change(number, image, &epoch)? {
                (other, share) = (self.place(mixture.with).0, mixture.share);
            }
        }
        if let Some(constants) = &self.standardization {
            constants.apply_to_images(shape, image)?;
        }
        images.labels[part] = class;
        if let Some(mixed) = mixed {
            (mixed.labels[part], mixed.shares[part]) = (other, share);
        }
        Ok(())
    }
}

/// Room for `count` values, or an error where the memory does not suffice.
pub(super) fn room<T>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| {
        let message = format!("no room for {count} values");
        Error::new(ErrorKind::OutOfMemory, OPERATION, message)
    })?;
    Ok(values)
}
