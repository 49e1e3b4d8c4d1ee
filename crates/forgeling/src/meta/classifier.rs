//! A trained network with a user's own examples.

use burn::module::Module;
use burn::tensor::TensorData;
use forgeling_shaders::cpu;
use serde::Serialize;

use super::{Backbone, Learner, Model};
use crate::device::Readback;
use crate::error::{Error, Result};
use crate::nn::{Normalization, Pass};
use crate::train::Encoder;

/// Images of one forward pass.
const IMAGES_PER_PASS: usize = 256;

/// Classifies images by the labelled examples it was given; examples can come and go at any time.
///
/// Each example costs one forward pass and is kept as its features only. Batch norm uses the running
/// statistics, so that an image's features do not depend on the others.
#[derive(Debug, Clone)]
pub struct Classifier {
    model: Learner,
    encoder: Option<Backbone>,
    /// In the order in which labels first came.
    classes: Vec<Class>,
}

#[derive(Debug, Clone)]
struct Class {
    label: String,
    examples: Vec<Vec<f32>>,
}

/// One class and how probable it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The label given with the examples.
    pub label: String,
    /// `softmax(-squared distance to the class's prototype)`; all classes' sum to 1.
    pub probability: f64,
}

impl Learner {
    /// A classifier without examples on this network as it is now.
    pub fn classifier(&self) -> Classifier {
        Classifier {
            model: self.clone(),
            encoder: match self.model.valid() {
                Model::Metric(model) => Some(model.encoder),
                Model::SimpleShot(model) => Some(model.encoder),
                Model::Gradient(_) => None,
            },
            classes: Vec::new(),
        }
    }
}

impl Classifier {
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
        let features = self.embed(&images, "add_example").await?;
        for ((label, _), features) in examples.iter().zip(features) {
            match self.classes.iter_mut().find(|class| class.label == *label) {
                Some(class) => class.examples.push(features),
                None => self.classes.push(Class {
                    label: (*label).into(),
                    examples: vec![features],
                }),
            }
        }
        Ok(())
    }

    /// Forgets all examples of a label; whether there were any.
    pub fn remove(&mut self, label: &str) -> bool {
        let before = self.classes.len();
        self.classes.retain(|class| class.label != label);
        self.classes.len() < before
    }

    /// The labels in the order in which they first came.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.label.as_str())
    }

    /// All classes for one image, the most probable first.
    ///
    /// # Errors
    /// When there are no examples yet, and as [`add`](Self::add).
    pub async fn classify(&self, pixels: &[f32]) -> Result<Vec<Prediction>> {
        Ok(self.classify_all(&[pixels]).await?.remove(0))
    }

    /// As [`classify`](Self::classify), for many images in few passes.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub async fn classify_all(&self, images: &[&[f32]]) -> Result<Vec<Vec<Prediction>>> {
        const OPERATION: &str = "classify";
        if self.classes.is_empty() {
            return Err(
                Error::invalid(OPERATION, "there is no example yet").expected("at least one")
            );
        }
        let features = self.embed(images, OPERATION).await?;
        let width = self.model.config.encoder.features();
        let prototypes: Vec<f32> = self
            .classes
            .iter()
            .flat_map(|c| c.prototype(width))
            .collect();
        let negative = (-1f32).to_bits() as usize;
        let sizes = [1, features.len(), self.classes.len(), width, negative];
        let mut logits = vec![0.0; features.len() * self.classes.len()];
        // So few numbers that a trip to the device would cost more.
        cpu::pairwise_sq_distance(&features.concat(), &prototypes, &mut logits, sizes);
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(
                Error::bad_data(OPERATION, "an image's features are not finite")
                    .expected("values between 0 and 1"),
            );
        }
        Ok(logits
            .chunks_exact(self.classes.len())
            .map(|row| self.ranked(row))
            .collect())
    }

    fn ranked(&self, logits: &[f32]) -> Vec<Prediction> {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = logits
            .iter()
            .map(|logit| libm::exp(f64::from(logit - largest)))
            .collect();
        let sum: f64 = weights.iter().sum();
        let mut predictions: Vec<Prediction> = self
            .classes
            .iter()
            .zip(weights)
            .map(|(class, weight)| Prediction {
                label: class.label.clone(),
                probability: weight / sum,
            })
            .collect();
        predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        predictions
    }

    async fn embed(&self, images: &[&[f32]], operation: &'static str) -> Result<Vec<Vec<f32>>> {
        let shape = self.model.input_shape();
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
        let encoder = self.encoder.as_ref().ok_or_else(|| {
            Error::invalid(operation, "the model adapts its parameters, not prototypes")
        })?;
        let device = self.model.device.tensors();
        let mut features = Vec::with_capacity(images.len());
        for chunk in images.chunks(IMAGES_PER_PASS) {
            let dims = [chunk.len(), shape.channels, shape.height, shape.width];
            let mut pass = Pass::new(Normalization::Running, device);
            let pixels = pass.values(TensorData::new(chunk.concat(), dims));
            let output = encoder.maps(pixels, &mut pass)?.flatten::<2>(1, 3);
            let width = output.dims()[1];
            let [values] = Readback::new().with(output).run().await?;
            features.extend(values.chunks_exact(width).map(<[f32]>::to_vec));
        }
        Ok(features)
    }
}

impl Class {
    fn prototype(&self, width: usize) -> Vec<f32> {
        let mut mean = vec![0.0; width];
        for example in &self.examples {
            for (mean, value) in mean.iter_mut().zip(example) {
                *mean += value / self.examples.len() as f32;
            }
        }
        mean
    }
}
