//! Training images changed at random, so that few stand for many.
//!
//! An [`Augmentation`] is a list of [`Step`]s, which a loader takes with each image in their order:
//! [`Loader::augmented`](super::Loader::augmented).
//!
//! | step | what it does |
//! |---|---|
//! | [`RandomAffine`] | turns, slants, stretches and moves |
//! | [`Flip`] | exchanges left and right |
//! | [`Crop`] | moves by whole pixels: pads, and cuts out a window of the image's size |
//! | [`ResizedCrop`] | cuts out a part and brings it to the image's size |
//! | [`ColourJitter`] | changes brightness, contrast, saturation and hue |
//! | [`Cutout`], [`Erase`] | hide a square, or a rectangle |
//! | [`Mixup`], [`Cutmix`] | mix with another image of the set, and the labels likewise |

mod affine;
mod colour;
mod crop;
mod erase;
mod mix;
mod rectangle;
mod resized;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use affine::Affine;
pub use affine::RandomAffine;
pub use colour::ColourJitter;
pub use crop::{Crop, Fill, Flip};
pub use erase::{Cutout, Erase};
pub use mix::{Cutmix, Mixup};
pub use resized::ResizedCrop;

use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::rng::Rng;

const OPERATION: &str = "augmentation";

/// One change of an image. In JSON an object with its name as `kind`, `{"kind": "crop", "padding": 4}`; options that are
/// left out have their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Step {
    /// `affine`: [`RandomAffine`].
    Affine(RandomAffine),
    /// `flip`: [`Flip`].
    Flip(Flip),
    /// `crop`: [`Crop`].
    Crop(Crop),
    /// `resized_crop`: [`ResizedCrop`].
    ResizedCrop(ResizedCrop),
    /// `colour`: [`ColourJitter`].
    Colour(ColourJitter),
    /// `cutout`: [`Cutout`].
    Cutout(Cutout),
    /// `erase`: [`Erase`].
    Erase(Erase),
    /// `mixup`: [`Mixup`].
    Mixup(Mixup),
    /// `cutmix`: [`Cutmix`].
    Cutmix(Cutmix),
}

impl Step {
    /// Whether it mixes images.
    pub const fn mixes(&self) -> bool {
        matches!(self, Self::Mixup(_) | Self::Cutmix(_))
    }

    fn validate(&self, shape: ImageShape) -> Result<()> {
        match self {
            Self::Affine(step) => step.validate(),
            Self::Flip(step) => step.validate(),
            Self::Crop(step) => step.validate(shape),
            Self::ResizedCrop(step) => step.validate(),
            Self::Colour(step) => step.validate(shape),
            Self::Cutout(step) => step.validate(shape),
            Self::Erase(step) => step.validate(),
            Self::Mixup(step) => step.validate(),
            Self::Cutmix(step) => step.validate(),
        }
    }

    /// Changes an image, `[channel, row, column]`. Where it is to be mixed with another, `other` chooses and reads that one.
    fn apply(
        &self,
        shape: ImageShape,
        image: &mut [f32],
        rng: &mut Rng,
        other: impl FnOnce(&mut Rng) -> Result<(usize, Vec<f32>)>,
    ) -> Result<Option<Mixture>> {
        match self {
            Self::Affine(step) => step.apply(shape, image, rng),
            Self::Flip(step) => step.apply(shape, image, rng),
            Self::Crop(step) => step.apply(shape, image, rng),
            Self::ResizedCrop(step) => step.apply(shape, image, rng),
            Self::Colour(step) => step.apply(shape, image, rng),
            Self::Cutout(step) => step.apply(shape, image, rng),
            Self::Erase(step) => step.apply(shape, image, rng),
            Self::Mixup(step) => {
                let mix = |pixels: &[f32], rng: &mut Rng| step.mix(image, pixels, rng);
                return mixture(step.probability, rng, other, mix);
            }
            Self::Cutmix(step) => {
                let mix = |pixels: &[f32], rng: &mut Rng| step.mix(shape, image, pixels, rng);
                return mixture(step.probability, rng, other, mix);
            }
        }
        Ok(None)
    }
}

/// Mixes with another image, this likely.
fn mixture(
    probability: f32,
    rng: &mut Rng,
    other: impl FnOnce(&mut Rng) -> Result<(usize, Vec<f32>)>,
    mix: impl FnOnce(&[f32], &mut Rng) -> f32,
) -> Result<Option<Mixture>> {
    if rng.unit_f32() >= probability {
        return Ok(None);
    }
    let (with, pixels) = other(rng)?;
    let share = mix(&pixels, rng);
    Ok(Some(Mixture { with, share }))
}

/// Changes of training images, one after the other; in JSON an array of [`Step`]s.
///
/// What is drawn for an image follows from the loader's seed, the epoch and the image's number in the set alone, and what
/// a step draws from its place in the list: whatever the batch, its size and the number of workers.
///
/// ```
/// use forgeling::data::Augmentation;
/// # fn main() -> Result<(), serde_json::Error> {
/// let steps = r#"[{"kind": "crop", "padding": 4}, {"kind": "flip"}, {"kind": "cutout", "size": 8}]"#;
/// let augmentation: Augmentation = serde_json::from_str(steps)?;
/// assert_eq!(augmentation.steps.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Augmentation {
    /// In the order in which they are taken.
    pub steps: Vec<Step>,
}

impl Augmentation {
    /// Checks the steps, for images of `shape`.
    ///
    /// # Errors
    /// When a number is out of range, a step is larger than the images or needs other channels, or more than one step
    /// mixes images: an example has two labels at most.
    pub fn validate(&self, shape: ImageShape) -> Result<()> {
        for (place, step) in self.steps.iter().enumerate() {
            step.validate(shape).map_err(|error| {
                let message = format!("step {}: {}", place + 1, error.message());
                let named = Error::new(error.kind(), error.operation(), message);
                match (error.expectation(), error.found()) {
                    (Some(expected), Some(got)) => named.expected(expected).got(got),
                    _ => named,
                }
            })?;
        }
        let mixing = self.steps.iter().filter(|step| step.mixes()).count();
        if mixing > 1 {
            return Err(Error::invalid(OPERATION, "several steps mix images")
                .expected("one of mixup and cutmix, once")
                .got(mixing));
        }
        Ok(())
    }

    /// Whether a step mixes images, so that examples have two labels.
    pub fn mixes(&self) -> bool {
        self.steps.iter().any(Step::mixes)
    }

    /// Takes the first `steps` with the image of this number.
    fn take(
        &self,
        steps: usize,
        (number, image): (usize, &mut [f32]),
        set: &dyn Images,
    ) -> Result<Option<Mixture>> {
        let (shape, own) = (set.shape(), set.rng(number));
        let mut mixture = None;
        for (place, step) in self.steps[..steps].iter().enumerate() {
            let other = |rng: &mut Rng| {
                let with = rng.below(set.count());
                let mut pixels = vec![0.0; shape.len()];
                set.read(with, &mut pixels)?;
                // What the other image looks like at this place. Nothing was mixed before.
                self.take(place, (with, &mut pixels), set)?;
                Ok((with, pixels))
            };
            let found = step.apply(shape, image, &mut own.fork(place as u64), other)?;
            mixture = mixture.or(found);
        }
        Ok(mixture)
    }
}

/// What an image was mixed with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mixture {
    /// The number of the other image.
    pub with: usize,
    /// The share of the image itself, from 0 to 1.
    pub share: f32,
}

/// The images of an epoch.
pub(crate) trait Images {
    fn shape(&self) -> ImageShape;

    /// How many there are, at least one.
    fn count(&self) -> usize;

    /// Writes an image as the set has it.
    fn read(&self, number: usize, out: &mut [f32]) -> Result<()>;

    /// Random numbers of an image's own in this epoch.
    fn rng(&self, number: usize) -> Rng;
}

/// Whatever changes images in a loader. The loader knows no more of it, so that what a program does not use is not in it.
pub(crate) trait Change: Send + Sync {
    /// Whether images are mixed.
    fn mixes(&self) -> bool;

    /// Changes the image of this number of a set.
    fn change(&self, number: usize, image: &mut [f32], set: &dyn Images)
    -> Result<Option<Mixture>>;
}

impl Change for RandomAffine {
    fn mixes(&self) -> bool {
        false
    }

    fn change(
        &self,
        number: usize,
        image: &mut [f32],
        set: &dyn Images,
    ) -> Result<Option<Mixture>> {
        self.apply(set.shape(), image, &mut set.rng(number));
        Ok(None)
    }
}

impl Change for Augmentation {
    fn mixes(&self) -> bool {
        Self::mixes(self)
    }

    fn change(
        &self,
        number: usize,
        image: &mut [f32],
        set: &dyn Images,
    ) -> Result<Option<Mixture>> {
        self.take(self.steps.len(), (number, image), set)
    }
}

/// Checks a number that lies within 0 and 1.
fn share(name: &str, value: f32) -> Result<()> {
    within(name, value, 0.0, 1.0)
}

/// Checks a number that lies within both limits.
fn within(name: &str, value: f32, least: f32, most: f32) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(OPERATION, format!("{name} is out of range"))
        .expected(format!("{least} to {most}"))
        .got(value))
}

/// Says that a step does not fit the images.
fn too_large(what: &str, size: usize, most: usize, shape: ImageShape) -> Error {
    let message = format!("{what} is too large for the images");
    Error::invalid(OPERATION, message)
        .expected(format!("at most {most} for images of {shape}"))
        .got(size)
}
