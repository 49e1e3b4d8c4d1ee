//! A trained network with a user's own examples.
//!
//! - [`Classifier`]: examples in, labels out.
//! - [`Adaptation`]: what is made of the examples.
//! - `encoder`: from images to features; [`Embedding`]: what is kept of an image then.
//! - `answers`: from features to logits; `linear`: those of closed form.
//! - `adapt`: what becomes of the examples.
//! - `fine_tune`: training a head or adapters; `support`: on what; `tuned`: what is trained.
//! - `calibrate`: how far answers can be believed; `distances`: from classes that were made without an example.

mod adapt;
mod answers;
mod calibrate;
mod config;
mod distances;
mod embedding;
mod encoder;
mod fine_tune;
mod linear;
mod support;
mod tuned;

use std::ops::ControlFlow;

use serde::Serialize;
use web_time::Instant;

use self::answers::{Asked, Sizes};
use self::calibrate::Calibrated;
pub use self::config::{Adaptation, FineTuneConfig, LoraConfig};
pub use self::embedding::Embedding;
pub(super) use self::encoder::images_per_pass;
pub use self::fine_tune::{FineTuneEvent, FineTuneSummary};
use super::Learner;
use crate::error::{Error, Result};
use crate::nn::Network;
use crate::train::{Answer, Prediction, Temperature, picture_statistics, ranked};

const OPERATION: &str = "adapt";
const CLASSIFY: &str = "classify";

/// Classifies images by the labelled examples it was given; examples can come and go at any time.
///
/// What it makes of them is an [`Adaptation`], and happens when [`adapt`](Self::adapt) is called, or else with the first
/// image after the examples have changed. The [`Learner`] itself is never changed. Each image is answered by itself: batch
/// norm uses running statistics, or, in gradient learners, those of the examples. Examples are kept as their features,
/// one forward pass each, where that suffices; gradient learners and adapters need their pixels.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use forgeling::data::{Dataset, Glyphs, Split};
/// use forgeling::meta::{Adaptation, Learner};
/// use forgeling::nn::zoo::Conv4Config;
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let encoder = Conv4Config { filters: 4, ..Default::default() }.graph()?;
/// let learner = Learner::protonet(&encoder, 0, &device)?;
/// let glyphs = Glyphs::new(0, Split::Test, 2)?;
/// let mut classifier = learner.classifier_with("head".parse::<Adaptation>()?)?;
/// let mut image = vec![0.0; glyphs.image_shape().len()];
/// for place in 0..8 {
///     glyphs.read(place % 2, place / 2, &mut image)?;
///     classifier.add(["one", "other"][place % 2], &image).await?;
/// }
/// let summary = classifier.adapt(|_| ControlFlow::Continue(())).await?;
/// assert!(summary.fine_tune.is_some());
/// assert_eq!(classifier.classify(&image).await?.len(), 2);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Classifier {
    learner: Learner,
    adaptation: Adaptation,
    /// What makes features of examples when they come; without it their pixels are kept.
    encoder: Option<Network>,
    /// Whether features are the mean of those of an image and its mirror image.
    mirrored: bool,
    /// In the order in which labels first came.
    classes: Vec<Class>,
    /// What was made of the examples, until they change.
    made: Option<Calibrated>,
}

#[derive(Debug, Clone)]
struct Class {
    label: String,
    /// Features or pixels.
    examples: Vec<Vec<f32>>,
    /// What each example's picture is like.
    statistics: Vec<Vec<f64>>,
}

/// What adapting came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdaptSummary {
    /// The [adaptation's name](Adaptation::name).
    pub name: &'static str,
    /// Seconds.
    pub seconds: f64,
    /// The training, where there was some.
    pub fine_tune: Option<FineTuneSummary>,
    /// What [`Classifier::answer`] divides logits by; 1 where there was nothing to find it on.
    pub temperature: f64,
    /// On how many examples it was found that had been held out, from none where every class has but one.
    pub calibrated_on: usize,
}

impl Learner {
    /// A classifier without examples on this network as it is now, by the method that the network was trained for.
    pub fn classifier(&self) -> Classifier {
        Classifier {
            learner: self.clone(),
            adaptation: Adaptation::Method,
            encoder: encoder::of(&self.model),
            mirrored: false,
            classes: Vec::new(),
            made: None,
        }
    }

    /// A classifier without examples on this network as it is now, which adapts in the way given.
    ///
    /// # Errors
    /// When a number of the adaptation is out of range, and for adapters where the network has no convolutions.
    pub fn classifier_with(&self, adaptation: Adaptation) -> Result<Classifier> {
        adaptation.validate()?;
        let mut classifier = self.classifier();
        if let Adaptation::Lora(_) = adaptation {
            if !self.config.has_convolutions() {
                return Err(Error::invalid(
                    OPERATION,
                    "adapters are for convolutions, of which the network has none",
                )
                .expected("another adaptation"));
            }
            classifier.encoder = None;
        }
        classifier.adaptation = adaptation;
        Ok(classifier)
    }
}

impl Classifier {
    /// How it adapts.
    pub fn adaptation(&self) -> &Adaptation {
        &self.adaptation
    }

    /// The same with features that are the mean of those of each image and of its mirror image: for things whose left and right
    /// mean nothing, such as most photographs, and not for letters. Each image costs twice.
    ///
    /// # Errors
    /// When there are examples already, and when the classifier [keeps pixels](Self::embeds).
    pub fn with_mirrored(self) -> Result<Self> {
        if !self.embeds() || !self.classes.is_empty() {
            let message = "mirror images go with features, from the first example on";
            return Err(Error::invalid(OPERATION, message)
                .expected("a method that compares features, and no examples yet"));
        }
        Ok(Self {
            mirrored: true,
            ..self
        })
    }

    /// Adds one example: `channels * size * size` values, ink = 1.
    ///
    /// # Errors
    /// When the number of values is wrong, one is not finite, or the device fails.
    pub async fn add(&mut self, label: &str, pixels: &[f32]) -> Result<()> {
        self.add_all(&[(label, pixels)]).await
    }

    /// Adds many examples in few passes; none is added when one is wrong.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn add_all(&mut self, examples: &[(&str, &[f32])]) -> Result<()> {
        let images: Vec<&[f32]> = examples.iter().map(|example| example.1).collect();
        self.check(&images, "add_example")?;
        let (Asked::Pixels(kept) | Asked::Features(kept)) = self.asked(&images).await?;
        let shape = self.learner.input_shape();
        for ((label, pixels), kept) in examples.iter().zip(kept) {
            self.keep(label, kept.into_owned(), picture_statistics(pixels, shape));
        }
        Ok(())
    }

    /// Forgets all examples of a label; whether there were any.
    pub fn remove(&mut self, label: &str) -> bool {
        let before = self.classes.len();
        self.classes.retain(|class| class.label != label);
        let removed = self.classes.len() < before;
        if removed {
            self.made = None;
        }
        removed
    }

    /// The labels in the order in which they first came.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.label.as_str())
    }

    /// Adapts to the examples; `on_event` gets every epoch of a fine-tuning, and may stop it. One that is stopped
    /// or fails leaves the classifier as it was: before the first fine-tuning of these examples, their prototypes answer.
    ///
    /// # Errors
    /// When there is no example, or for a fine-tuning less than two classes, when there are more classes than the outputs
    /// of a gradient learner's network, when training diverges or is stopped
    /// ([`Cancelled`](crate::ErrorKind::Cancelled)), and when the device fails.
    pub async fn adapt(
        &mut self,
        on_event: impl FnMut(&FineTuneEvent) -> ControlFlow<()>,
    ) -> Result<AdaptSummary> {
        self.adapt_paced(on_event, async || Ok(())).await
    }

    /// As [`adapt`](Self::adapt); `pace` is called and waited for before each step of a fine-tuning, so that on one thread
    /// something else, as a page, has its turn.
    ///
    /// # Errors
    /// As `adapt`, and those of `pace`.
    pub async fn adapt_paced(
        &mut self,
        mut on_event: impl FnMut(&FineTuneEvent) -> ControlFlow<()>,
        pace: impl AsyncFn() -> Result<()>,
    ) -> Result<AdaptSummary> {
        let begun = Instant::now();
        self.check_classes()?;
        let (made, fine_tune) = match self.adaptation {
            Adaptation::Method => (self.by_method().await?, None),
            Adaptation::Prototypes => (self.by_prototypes().await?.0, None),
            Adaptation::Lda | Adaptation::Ridge => (self.by_linear().await?, None),
            Adaptation::Head(_) | Adaptation::Lora(_) => {
                let (prototypes, features) = self.by_prototypes().await?;
                if self.made.is_none() {
                    self.made = Some(prototypes.clone());
                }
                let tuned = self.fine_tune(prototypes, features, &mut on_event, &pace);
                let (made, summary) = tuned.await?;
                (made, Some(summary))
            }
        };
        let Temperature { value, examples } = made.confidence.temperature;
        self.made = Some(made);
        Ok(AdaptSummary {
            name: self.adaptation.name(),
            seconds: begun.elapsed().as_secs_f64(),
            fine_tune,
            temperature: value,
            calibrated_on: examples,
        })
    }

    /// What one image is taken for, and how far that can be believed: `known softmax(logits / T)` of each class, and the rest
    /// of being none of them. See [`Temperature`] and [`Typicality`](crate::train::Typicality).
    ///
    /// Both are found when it adapts, on examples that each had to do without: prototypes and features that a model's own
    /// head compares without one example of each class in turn; inner steps, discriminants, regressions and a head without
    /// each of five parts of the examples in turn, adapters without one of these parts. Classes with one example cannot be left out: `T` is then 1, and
    /// what is as near to a class as the classes are to each other is known.
    ///
    /// # Errors
    /// As [`add`](Self::add), and, if it was not called since the examples have changed, as [`adapt`](Self::adapt).
    pub async fn answer(&mut self, pixels: &[f32]) -> Result<Answer> {
        Ok(self.answer_all(&[pixels]).await?.remove(0))
    }

    /// As [`answer`](Self::answer), for many images in few passes.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub async fn answer_all(&mut self, images: &[&[f32]]) -> Result<Vec<Answer>> {
        self.check(images, CLASSIFY)?;
        let asked = self.asked(images).await?;
        let shape = self.learner.input_shape();
        let statistics = images.iter().map(|image| picture_statistics(image, shape));
        self.answers_to(&asked, statistics.collect()).await
    }

    async fn answers_to(
        &mut self,
        asked: &Asked<'_>,
        statistics: Vec<Vec<f64>>,
    ) -> Result<Vec<Answer>> {
        let logits = self.logits(asked).await?;
        let Some(made) = &self.made else {
            return Ok(Vec::new());
        };
        let device = &self.learner.device;
        let count = statistics.len();
        let strangeness = made.strangeness(&logits, asked, count, self.sizes(), device);
        let rows = logits.chunks_exact(self.classes.len().max(1));
        let each = rows.zip(strangeness.await?).zip(statistics);
        let answer = |((row, strangeness), statistics): ((&[f32], f64), Vec<f64>)| {
            made.confidence
                .answer(self.labels(), row, strangeness, &statistics)
        };
        Ok(each.map(answer).collect())
    }

    /// All classes for one image, the most probable first, with `softmax(logits)` as the model was trained with; for prototypes
    /// that is `softmax(-squared distance to the class's prototype)`. All classes' add up to 1, and are often too sure: see
    /// [`answer`](Self::answer).
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub async fn classify(&mut self, pixels: &[f32]) -> Result<Vec<Prediction>> {
        Ok(self.classify_all(&[pixels]).await?.remove(0))
    }

    /// As [`classify`](Self::classify), for many images in few passes.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub async fn classify_all(&mut self, images: &[&[f32]]) -> Result<Vec<Vec<Prediction>>> {
        self.check(images, CLASSIFY)?;
        let asked = self.asked(images).await?;
        let logits = self.logits(&asked).await?;
        let rows = logits.chunks_exact(self.classes.len().max(1));
        let as_trained = Temperature::default();
        Ok(rows
            .map(|row| ranked(self.labels(), as_trained.softmax(row)))
            .collect())
    }

    /// `[images, classes]`, after adapting where that is still to do.
    async fn logits(&mut self, asked: &Asked<'_>) -> Result<Vec<f32>> {
        if self.made.is_none()
            && let Err(problem) = self.adapt(|_| ControlFlow::Continue(())).await
        {
            // The caller has not asked for prototypes.
            self.made = None;
            return Err(problem);
        }
        let logits = match &self.made {
            Some(made) => {
                let device = &self.learner.device;
                made.answers.logits(asked, self.sizes(), device).await?
            }
            None => Vec::new(),
        };
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(
                Error::bad_data(CLASSIFY, "an image's features are not finite")
                    .expected("values between 0 and 1"),
            );
        }
        Ok(logits)
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            image: self.learner.input_shape(),
            map: self.learner.config.map(),
        }
    }

    fn check(&self, images: &[&[f32]], operation: &'static str) -> Result<()> {
        let shape = self.learner.input_shape();
        for image in images {
            if image.len() != shape.len() {
                return Err(Error::invalid(
                    operation,
                    "an image of another size than the network takes",
                )
                .expected(format!("{} values for {shape}", shape.len()))
                .got(format!("{} values", image.len())));
            }
            if image.iter().any(|value| !value.is_finite()) {
                return Err(Error::bad_data(
                    operation,
                    "an image holds a value that is not finite",
                ));
            }
        }
        Ok(())
    }
}
