//! How far answers can be believed, from examples that each had to do without.

use super::Classifier;
use super::answers::{Answers, mean};
use super::support::folds;
use crate::data::ImageShape;
use crate::device::Device;
use crate::error::Result;
use crate::meta::gradient::GradientLearner;
use crate::meta::{Adaptable, AnyGradientMethod};
use crate::train::{Confidence, Temperature, Typicality};

/// Folds where each costs an adaptation.
pub(super) const FOLDS: usize = 5;
/// Folds where each costs a comparison of features.
const CHEAP_FOLDS: usize = 20;

/// What answers images, and how far it can be believed.
#[derive(Debug, Clone)]
pub(super) struct Calibrated {
    pub answers: Answers,
    /// Whose distances say how strange an image is, where these are not the answers and the network has features.
    pub prototypes: Option<Answers>,
    pub confidence: Confidence,
}

impl Calibrated {
    /// How strange each image is: the logarithm of the distance to the nearest prototype.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn strangeness(
        &self,
        logits: &[f32],
        images: &[&[f32]],
        shape: ImageShape,
        device: &Device,
    ) -> Result<Vec<f64>> {
        let found;
        let distances = match (&self.answers, &self.prototypes) {
            (Answers::Prototypes { .. }, _) => logits,
            (_, Some(prototypes)) => {
                found = prototypes.logits(images, shape, device).await?;
                &found
            }
            (_, None) => return Ok(vec![0.0; images.len()]),
        };
        let rows = distances.chunks_exact((distances.len() / images.len().max(1)).max(1));
        let nearest = rows.map(|row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        Ok(nearest
            .map(|logit| strangeness(-f64::from(logit)))
            .collect())
    }
}

/// Of the squared distance to the nearest prototype.
fn strangeness(squared: f64) -> f64 {
    libm::log(squared) / 2.0
}

/// What was said of examples by what was made of others.
#[derive(Debug, Clone, Default)]
pub(super) struct HeldOut {
    /// `[examples, classes]`
    pub logits: Vec<f32>,
    pub labels: Vec<usize>,
}

impl HeldOut {
    fn add(&mut self, logits: Vec<f32>, fold: &[Vec<usize>]) {
        self.logits.extend(logits);
        let labels = fold.iter().enumerate();
        self.labels
            .extend(labels.flat_map(|(class, held)| held.iter().map(move |_| class)));
    }
}

/// Squared distances of each example to the class means without it, `[examples, classes]`.
///
/// Of a class with the mean `c` of `n` examples, an example `x` of its own is `n / (n - 1) |x - c|` from the mean of the
/// others, which is as far as a new example would be, but that the mean of `n - 1` is less certain than that of `n`. With
/// the expectation corrected for that the square is `(n + 1) / (n - 1) |x - c|^2`.
pub(super) struct Distances {
    squared: Vec<f64>,
    labels: Vec<usize>,
    sizes: Vec<usize>,
}

impl Distances {
    pub fn of(classes: &[&[Vec<f32>]]) -> Self {
        let means: Vec<Vec<f32>> = classes.iter().map(|examples| mean(examples)).collect();
        let (mut squared, mut labels) = (Vec::new(), Vec::new());
        for (class, examples) in classes.iter().enumerate() {
            let count = examples.len() as f64;
            for example in *examples {
                labels.push(class);
                for (other, mean) in means.iter().enumerate() {
                    let apart = squared_distance(example, mean);
                    squared.push(match (other == class, examples.len()) {
                        (true, 1) => f64::INFINITY,
                        (true, _) => (count + 1.0) / (count - 1.0) * apart,
                        (false, _) => apart,
                    });
                }
            }
        }
        Self {
            squared,
            labels,
            sizes: classes.iter().map(|examples| examples.len()).collect(),
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&[f64], usize)> {
        let rows = self.squared.chunks_exact(self.sizes.len().max(1));
        rows.zip(self.labels.iter().copied())
    }

    /// What the prototypes say of examples that they were made without.
    pub fn held_out(&self) -> HeldOut {
        let mut found = HeldOut::default();
        for (row, label) in self.rows().filter(|(_, label)| self.sizes[*label] > 1) {
            let logits = row.iter().map(|&squared| -squared as f32);
            found.logits.extend(logits);
            found.labels.push(label);
        }
        found
    }

    /// How strange each example is to the others. Where every class has but one, how strange it is to the other classes: more
    /// than a new example of its own would be, but nothing else is known.
    pub fn strangeness(&self) -> Vec<f64> {
        /// Parts of the largest: as near are copies of one picture, which say nothing of another one.
        const COPY: f64 = 1e-9;
        let alone = self.sizes.iter().all(|&size| size < 2);
        let rows = self.rows();
        let rows = rows.filter(|(_, label)| alone || self.sizes[*label] > 1);
        let nearest = rows.map(|(row, _)| row.iter().copied().fold(f64::INFINITY, f64::min));
        let nearest: Vec<f64> = nearest.filter(|squared| squared.is_finite()).collect();
        let least = COPY * nearest.iter().copied().fold(0.0, f64::max);
        let apart = nearest.into_iter().filter(|&squared| squared > least);
        apart.map(strangeness).collect()
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let differences = a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b));
    differences.map(|difference| difference * difference).sum()
}

impl Classifier {
    /// What is kept of the examples of each class, without those that a fold holds out, and these, class after class.
    fn without(&self, fold: &[Vec<usize>]) -> (Vec<Vec<Vec<f32>>>, Vec<&[f32]>) {
        let (mut rest, mut held) = (Vec::new(), Vec::new());
        for (class, out) in self.classes.iter().zip(fold) {
            let numbered = class.examples.iter().enumerate();
            let others = numbered.filter(|(place, _)| !out.contains(place));
            rest.push(others.map(|(_, example)| example.clone()).collect());
            held.extend(out.iter().map(|&place| &class.examples[place][..]));
        }
        (rest, held)
    }

    fn folds(&self, most: usize) -> Vec<Vec<Vec<usize>>> {
        let sizes = self.classes.iter().map(|class| class.examples.len());
        folds(&sizes.collect::<Vec<_>>(), most)
    }

    /// What a model's own head says of examples that it was not given.
    pub(super) async fn compared_held_out(&self) -> Result<HeldOut> {
        let map = self.learner.config.encoder.map();
        let mut found = HeldOut::default();
        for fold in self.folds(CHEAP_FOLDS) {
            let (rest, held) = self.without(&fold);
            let rest: Vec<&[Vec<f32>]> = rest.iter().map(Vec::as_slice).collect();
            let answers = Answers::metric(&self.learner, &rest);
            found.add(answers.logits_of_features(&held, map).await?, &fold);
        }
        Ok(found)
    }

    /// What a model says of examples after inner steps on others.
    pub(super) async fn stepped_held_out(
        &self,
        learner: &GradientLearner<Adaptable, AnyGradientMethod>,
    ) -> Result<HeldOut> {
        let shape = self.learner.input_shape();
        let mut found = HeldOut::default();
        for fold in self.folds(FOLDS) {
            let (rest, held) = self.without(&fold);
            let rest: Vec<&[Vec<f32>]> = rest.iter().map(Vec::as_slice).collect();
            let answers = Answers::gradient(learner, &rest, shape)?;
            let logits = answers.logits(&held, shape, &self.learner.device).await?;
            found.add(logits, &fold);
        }
        Ok(found)
    }

    /// What answers, with what was said of examples held out, and how strange they are to the others.
    pub(super) fn calibrated(
        &self,
        answers: Answers,
        prototypes: Option<Answers>,
        held_out: &HeldOut,
        strangeness: &[f64],
    ) -> Result<Calibrated> {
        let statistics = self.classes.iter().flat_map(|class| &class.statistics);
        let statistics: Vec<Vec<f64>> = statistics.cloned().collect();
        let confidence = Confidence {
            temperature: Temperature::fit(&held_out.logits, &held_out.labels)?,
            typicality: Typicality::fit(strangeness, &statistics)?,
        };
        Ok(Calibrated {
            answers,
            prototypes,
            confidence,
        })
    }
}
