//! How far an answer can be believed.
//!
//! - [`Temperature`]: what logits are divided by, so that probabilities are as often right as they say.
//! - [`Typicality`]: whether an image is like those that were known.
//! - [`Confidence`]: both, and what they make of logits: an [`Answer`].

mod temperature;
mod typicality;

use serde::{Deserialize, Serialize};

pub use self::temperature::Temperature;
pub use self::typicality::{Ordinary, Typicality, picture_statistics};
use crate::error::Result;

/// One class and how probable it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The class's name, or the label given with its examples.
    pub label: String,
    /// 0 to 1.
    pub probability: f64,
}

/// What an image is taken for: of a class, or of none of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Every class, the most probable first: `known softmax(logits / T)` with the probability `known` that the image is of
    /// one of the classes at all.
    pub predictions: Vec<Prediction>,
    /// The rest, `1 - known`: with the probabilities of the classes it adds up to 1.
    pub unknown: f64,
}

impl Answer {
    /// The most probable class, unless the image is more probably of none than `most`; `None` stands for *unknown*.
    pub fn class(&self, most: f64) -> Option<&Prediction> {
        self.predictions.first().filter(|_| self.unknown <= most)
    }
}

/// What was found on examples that were held out, and is applied to every answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// Of the softmax.
    pub temperature: Temperature,
    /// What known images are like.
    pub typicality: Typicality,
}

impl Confidence {
    /// Checks numbers that come from a file, for images of so many channels.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self, channels: usize) -> Result<()> {
        self.temperature.validate()?;
        self.typicality.validate(channels)
    }

    /// What logits say of an image, one logit for each label. `strangeness` is the number that [`Typicality::fit`] was
    /// given of other images, `statistics` are those of [`picture_statistics`].
    pub fn answer<'a>(
        &self,
        labels: impl Iterator<Item = &'a str>,
        logits: &[f32],
        strangeness: f64,
        statistics: &[f64],
    ) -> Answer {
        let known = self.typicality.known(strangeness, statistics);
        let mut predictions = ranked(labels, self.temperature.softmax(logits));
        for prediction in &mut predictions {
            prediction.probability *= known;
        }
        Answer {
            predictions,
            unknown: 1.0 - known,
        }
    }
}

/// Classes with their probabilities, the most probable first.
pub(crate) fn ranked<'a>(
    labels: impl Iterator<Item = &'a str>,
    probabilities: Vec<f64>,
) -> Vec<Prediction> {
    let pairs = labels.zip(probabilities);
    let mut predictions: Vec<Prediction> = pairs
        .map(|(label, probability)| Prediction {
            label: label.into(),
            probability,
        })
        .collect();
    predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    predictions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_unknown_share_what_there_is() {
        let confidence = Confidence {
            temperature: Temperature {
                value: 2.0,
                examples: 9,
            },
            typicality: Typicality::fit(&[0.0, 1.0, 2.0], &[]).unwrap(),
        };
        let labels = ["a", "b", "c"];
        let answer = |strangeness| {
            confidence.answer(labels.into_iter(), &[0.0, 2.0, -2.0], strangeness, &[])
        };
        let usual = answer(1.0);
        let sum: f64 = usual.predictions.iter().map(|p| p.probability).sum();
        assert!((sum + usual.unknown - 1.0).abs() < 1e-12);
        let names: Vec<&str> = usual.predictions.iter().map(|p| &p.label[..]).collect();
        assert_eq!(names, ["b", "a", "c"]);
        // Half the difference of 2.
        let ratio = usual.predictions[0].probability / usual.predictions[1].probability;
        assert!((ratio - 1f64.exp()).abs() < 1e-9, "{ratio}");
        assert_eq!(usual.class(0.5).unwrap().label, "b");
        let strange = answer(100.0);
        assert!(strange.unknown > 0.999 && strange.class(0.5).is_none());
        assert_eq!(strange.class(1.0).unwrap().label, "b");
    }
}
