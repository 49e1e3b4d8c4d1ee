//! Images as a frozen encoder sees them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::answers::Asked;
use super::{Class, Classifier, encoder};
use crate::error::{Error, Result};
use crate::train::{Answer, picture_statistics};

/// All that a [`Classifier`] keeps of an image where it [has an encoder](Classifier::embeds): enough to learn from it or to
/// answer it. It is the same whatever the examples, so that it can be kept for later; it is worth nothing to a classifier of
/// another network or with other [mirror images](Classifier::with_mirrored).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// What the encoder makes of it.
    pub features: Vec<f32>,
    /// Its [`picture_statistics`].
    pub statistics: Vec<f64>,
}

impl Classifier {
    /// Whether images are turned into features once and for all: not for methods that adapt the network itself.
    pub fn embeds(&self) -> bool {
        self.encoder.is_some()
    }

    /// What there is to keep of images.
    ///
    /// # Errors
    /// As [`add`](Self::add), and when the classifier [keeps pixels](Self::embeds).
    pub async fn embed_all(&self, images: &[&[f32]]) -> Result<Vec<Embedding>> {
        const OPERATION: &str = "embed";
        self.check(images, OPERATION)?;
        let features = match self.asked(images).await? {
            Asked::Features(features) => features,
            Asked::Pixels(_) => return Err(keeps_pixels(OPERATION)),
        };
        let shape = self.learner.input_shape();
        let pairs = features.into_iter().zip(images);
        let embedding = |(features, image): (Cow<'_, [f32]>, &&[f32])| Embedding {
            features: features.into_owned(),
            statistics: picture_statistics(image, shape),
        };
        Ok(pairs.map(embedding).collect())
    }

    /// Adds examples that [`embed_all`](Self::embed_all) has turned into features; none is added when one is wrong.
    ///
    /// # Errors
    /// When one is of another network, and when the classifier [keeps pixels](Self::embeds).
    pub fn add_embedded(&mut self, examples: Vec<(&str, Embedding)>) -> Result<()> {
        self.check_embedded(
            "add_example",
            examples.iter().map(|(_, embedding)| embedding),
        )?;
        for (label, embedding) in examples {
            self.keep(label, embedding.features, embedding.statistics);
        }
        Ok(())
    }

    /// As [`answer_all`](Self::answer_all), of images that [`embed_all`](Self::embed_all) has turned into features.
    ///
    /// # Errors
    /// As [`add_embedded`](Self::add_embedded) and [`answer_all`](Self::answer_all).
    pub async fn answer_embedded(&mut self, images: &[Embedding]) -> Result<Vec<Answer>> {
        self.check_embedded("classify", images.iter())?;
        let features = images
            .iter()
            .map(|image| Cow::Borrowed(&image.features[..]));
        let asked = Asked::Features(features.collect());
        let statistics = images.iter().map(|image| image.statistics.clone());
        self.answers_to(&asked, statistics.collect()).await
    }

    fn check_embedded<'a>(
        &self,
        operation: &'static str,
        mut images: impl Iterator<Item = &'a Embedding>,
    ) -> Result<()> {
        if !self.embeds() {
            return Err(keeps_pixels(operation));
        }
        let shape = self.learner.input_shape();
        let blank = picture_statistics(&vec![0.0; shape.len()], shape);
        let expected = (self.learner.config.features(), blank.len());
        let unfit = images.find(|image| {
            let values = image.features.iter().all(|value| value.is_finite());
            let statistics = image.statistics.iter().all(|value| value.is_finite());
            let sizes = (image.features.len(), image.statistics.len());
            sizes != expected || !values || !statistics
        });
        match unfit {
            None => Ok(()),
            Some(image) => Err(Error::invalid(operation, "features of another network")
                .expected(format!("{} and {} finite values", expected.0, expected.1))
                .got(format!(
                    "{} and {}",
                    image.features.len(),
                    image.statistics.len()
                ))),
        }
    }

    /// Images as they are asked about or kept.
    pub(super) async fn asked<'a>(&self, images: &[&'a [f32]]) -> Result<Asked<'a>> {
        let shape = self.learner.input_shape();
        let images: Vec<Cow<'a, [f32]>> = match &self.learner.config.normalization {
            None => images.iter().map(|&image| Cow::Borrowed(image)).collect(),
            Some(constants) => {
                let normalized = |image: &&[f32]| {
                    let mut image = image.to_vec();
                    constants.apply_to_images(shape, &mut image)?;
                    Ok(Cow::Owned(image))
                };
                images.iter().map(normalized).collect::<Result<_>>()?
            }
        };
        let Some(encoder) = &self.encoder else {
            return Ok(Asked::Pixels(images));
        };
        let pixels: Vec<&[f32]> = images.iter().map(AsRef::as_ref).collect();
        let device = self.learner.device.tensors();
        let features = match self.mirrored {
            false => encoder::embed(encoder, &pixels, shape, device).await?,
            true => encoder::embed_both(encoder, &pixels, shape, device).await?,
        };
        Ok(Asked::Features(
            features.into_iter().map(Cow::Owned).collect(),
        ))
    }

    /// Keeps an example: its features or pixels, and what its picture is like.
    pub(super) fn keep(&mut self, label: &str, kept: Vec<f32>, statistics: Vec<f64>) {
        self.made = None;
        let place = self.classes.iter().position(|class| class.label == label);
        let place = place.unwrap_or_else(|| {
            self.classes.push(Class {
                label: label.into(),
                examples: Vec::new(),
                statistics: Vec::new(),
            });
            self.classes.len() - 1
        });
        let class = &mut self.classes[place];
        class.examples.push(kept);
        class.statistics.push(statistics);
    }
}

fn keeps_pixels(operation: &'static str) -> Error {
    Error::invalid(operation, "this classifier keeps pixels")
        .expected("a method that compares features, and an adaptation other than lora")
}
