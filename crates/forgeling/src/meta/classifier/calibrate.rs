//! How far answers can be believed, from examples that each had to do without.

use std::borrow::Cow;

use super::Classifier;
use super::answers::{Answers, Asked, Rule, Sizes};
use super::distances::{HeldOut, strangeness};
use super::linear::Linear;
use super::support::folds;
use crate::device::Device;
use crate::error::Result;
use crate::meta::AnyGradientMethod;
use crate::meta::gradient::GradientLearner;
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
    /// How strange each of `count` images is: the logarithm of the distance to the nearest prototype.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn strangeness(
        &self,
        logits: &[f32],
        asked: &Asked<'_>,
        count: usize,
        sizes: Sizes,
        device: &Device,
    ) -> Result<Vec<f64>> {
        let found;
        let distances = match (&self.answers, &self.prototypes) {
            (
                Answers::Features(Rule::Prototypes(_))
                | Answers::Encoded {
                    rule: Rule::Prototypes(_),
                    ..
                },
                _,
            ) => logits,
            (_, Some(prototypes)) => {
                found = prototypes.logits(asked, sizes, device).await?;
                &found
            }
            (_, None) => return Ok(vec![0.0; count]),
        };
        let rows = distances.chunks_exact((distances.len() / count.max(1)).max(1));
        let nearest = rows.map(|row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        Ok(nearest
            .map(|logit| strangeness(-f64::from(logit)))
            .collect())
    }
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
        let map = self.learner.config.map();
        let mut found = HeldOut::default();
        for fold in self.folds(CHEAP_FOLDS) {
            let (rest, held) = self.without(&fold);
            let rest: Vec<&[Vec<f32>]> = rest.iter().map(Vec::as_slice).collect();
            let rule = Rule::metric(&self.learner, &rest);
            let held: Vec<Cow<'_, [f32]>> = held.into_iter().map(Cow::Borrowed).collect();
            found.add(rule.logits(&held, map).await?, &fold);
        }
        Ok(found)
    }

    /// What a model says of examples after inner steps on others.
    pub(super) async fn stepped_held_out(
        &self,
        learner: &GradientLearner<AnyGradientMethod>,
    ) -> Result<HeldOut> {
        let sizes = self.sizes();
        let mut found = HeldOut::default();
        for fold in self.folds(FOLDS) {
            let (rest, held) = self.without(&fold);
            let rest: Vec<&[Vec<f32>]> = rest.iter().map(Vec::as_slice).collect();
            let answers = Answers::gradient(learner, &rest, sizes.image)?;
            let held = Asked::Pixels(held.into_iter().map(Cow::Borrowed).collect());
            let logits = answers.logits(&held, sizes, &self.learner.device).await?;
            found.add(logits, &fold);
        }
        Ok(found)
    }

    /// What a linear classifier of some features says of others, both of `features`, class after class.
    pub(super) fn fitted_held_out(
        &self,
        features: &[&[Vec<f32>]],
        fit: impl Fn(&[&[Vec<f32>]]) -> Result<Linear>,
    ) -> Result<HeldOut> {
        let mut found = HeldOut::default();
        for fold in self.folds(FOLDS) {
            let (mut rest, mut held) = (Vec::new(), Vec::new());
            for (rows, out) in features.iter().zip(&fold) {
                let numbered = rows.iter().enumerate();
                let others = numbered.filter(|(place, _)| !out.contains(place));
                rest.push(others.map(|(_, row)| row.clone()).collect::<Vec<_>>());
                held.extend(out.iter().map(|&place| &rows[place]));
            }
            let rest: Vec<&[Vec<f32>]> = rest.iter().map(Vec::as_slice).collect();
            let linear = fit(&rest)?;
            let logits = held.iter().flat_map(|row| linear.scores(row));
            found.add(logits.collect(), &fold);
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
