//! Cross entropy of images that show two classes, or of labels that are not quite believed.

use std::ops::Range;

use super::objective::{self, Batch, Classify, Objective, Outcome, Predictions};
use crate::data::{MixedBatch, MixedLabels};
use crate::error::{Error, Result};
use crate::nn::{Normalization, Pass};
use crate::ops::soft_cross_entropy;

/// The mean cross entropy of a [`Classify`]'s logits with targets that may be shared by classes,
/// `-1/B sum_b sum_k t[b][k] log softmax(logits[b])[k]` with
/// `t[b] = (1 - ε) (λ onehot(a) + (1 - λ) onehot(b)) + ε / K`: `a` and `b` are the classes that were mixed, λ is the share of
/// `a`, ε the smoothing and `K` the number of classes. Without mixing and smoothing that is
/// [`CrossEntropy`](super::CrossEntropy).
///
/// Validation, which is what runs with running statistics, does not smooth. Accuracy is counted by the class with the
/// larger share.
///
/// Papers: Szegedy et al., *Rethinking the Inception Architecture*, 2016 (arXiv 1512.00567), section 7; Zhang et al.,
/// *mixup*, 2018 (arXiv 1710.09412).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SoftCrossEntropy {
    smoothing: f32,
}

impl SoftCrossEntropy {
    /// With a smoothing ε of 0, for none, to below 1.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn new(smoothing: f32) -> Result<Self> {
        if !(0.0..1.0).contains(&smoothing) {
            let problem = Error::invalid("soft_cross_entropy", "the smoothing is out of range");
            return Err(problem.expected("0 to below 1").got(smoothing));
        }
        Ok(Self { smoothing })
    }
}

impl Batch for MixedBatch {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self {
            mixed: self.mixed.as_ref().map(|mixed| MixedLabels {
                labels: mixed.labels[range.clone()].to_vec(),
                shares: mixed.shares[range.clone()].to_vec(),
            }),
            images: self.images.part(range),
        }
    }
}

impl<M: Classify> Objective<M> for SoftCrossEntropy {
    type Batch = MixedBatch;

    fn forward<'a>(
        &self,
        model: &'a M,
        batch: &MixedBatch,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        let smoothing = match pass.normalization() {
            Normalization::Batch => self.smoothing,
            Normalization::Running => 0.0,
        };
        let logits = objective::logits(model, &batch.images, pass)?;
        let labels = &batch.images.labels;
        if batch.mixed.is_none() && smoothing == 0.0 {
            return Predictions::cross_entropy(logits, labels.clone());
        }
        let [_, classes] = logits.dims();
        let whole = |labels: &[usize]| MixedLabels {
            labels: labels.to_vec(),
            shares: vec![1.0; labels.len()],
        };
        let mixed = batch.mixed.clone().unwrap_or_else(|| whole(labels));
        let targets = targets(labels, &mixed, classes, smoothing)?;
        let pairs = labels.iter().zip(&mixed.labels).zip(&mixed.shares);
        let shown = pairs.map(|((&own, &other), &share)| if share < 0.5 { other } else { own });
        Ok(Outcome {
            loss: soft_cross_entropy(logits.clone(), targets)?,
            predictions: Some(Predictions {
                logits: logits.without_autodiff(),
                labels: shown.collect(),
            }),
        })
    }
}

/// What each example should be taken for, `[examples, classes]`.
fn targets(
    labels: &[usize],
    mixed: &MixedLabels,
    classes: usize,
    smoothing: f32,
) -> Result<Vec<f32>> {
    const OPERATION: &str = "soft_cross_entropy";
    if (mixed.labels.len(), mixed.shares.len()) != (labels.len(), labels.len()) {
        return Err(
            Error::invalid(OPERATION, "not two labels and a share for each example")
                .expected(format!("{} second labels and shares", labels.len()))
                .got(format!("{} and {}", mixed.labels.len(), mixed.shares.len())),
        );
    }
    let mut targets = vec![smoothing / classes.max(1) as f32; labels.len() * classes];
    let pairs = labels.iter().zip(&mixed.labels).zip(&mixed.shares);
    for (row, ((&own, &other), &share)) in pairs.enumerate() {
        for (label, share) in [(own, share), (other, 1.0 - share)] {
            if label >= classes {
                return Err(Error::invalid(OPERATION, "a label is no class")
                    .expected(format!("labels below {classes}"))
                    .got(label));
            }
            targets[row * classes + label] += (1.0 - smoothing) * share;
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ImageBatch, ImageShape};
    use crate::nn::Network;
    use crate::nn::zoo::MlpConfig;
    use crate::train::CrossEntropy;
    use crate::{Device, DeviceChoice};

    const SHAPE: ImageShape = ImageShape::new(1, 2, 3);

    fn cpu() -> Device {
        pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
    }

    fn network(device: &Device) -> Network {
        let config = MlpConfig {
            input: SHAPE.into(),
            classes: 3,
            ..Default::default()
        };
        Network::new(&config.graph().unwrap(), 4, device)
    }

    fn images(labels: &[usize]) -> ImageBatch {
        ImageBatch {
            shape: SHAPE,
            images: (0..labels.len() * SHAPE.len())
                .map(|i| (i % 7) as f32 / 6.0)
                .collect(),
            labels: labels.to_vec(),
        }
    }

    fn loss<O: Objective<Network>>(objective: &O, batch: &O::Batch, kind: Normalization) -> f32 {
        let device = cpu();
        let model = network(&device);
        let mut pass = Pass::new(kind, &device.autodiff());
        let outcome = objective.forward(&model, batch, &mut pass).unwrap();
        outcome.loss.into_scalar::<f32>()
    }

    #[test]
    fn mixed_and_smoothed_losses_are_sums_of_plain_ones() {
        let (own, other, shares) = ([0, 2, 1, 1], [1, 2, 0, 2], [0.7, 1.0, 0.25, 0.5]);
        let batch = MixedBatch {
            images: images(&own),
            mixed: Some(MixedLabels {
                labels: other.to_vec(),
                shares: shares.to_vec(),
            }),
        };
        // The cross entropy of each image with each class.
        let alone = |image: usize, label: usize| {
            let mut one = images(&own).part(image..image + 1);
            one.labels[0] = label;
            f64::from(loss(&CrossEntropy, &one, Normalization::Batch))
        };
        for smoothing in [0.0f32, 0.1] {
            let epsilon = f64::from(smoothing);
            let wanted: f64 = (0..4)
                .map(|image| {
                    let share = f64::from(shares[image]);
                    let hard = share * alone(image, own[image])
                        + (1.0 - share) * alone(image, other[image]);
                    let even = (0..3).map(|label| alone(image, label)).sum::<f64>() / 3.0;
                    ((1.0 - epsilon) * hard + epsilon * even) / 4.0
                })
                .sum();
            let objective = SoftCrossEntropy::new(smoothing).unwrap();
            let found = f64::from(loss(&objective, &batch, Normalization::Batch));
            assert!((found - wanted).abs() < 1e-5, "{found} instead of {wanted}");
            // Halves count as two parts do.
            let parts = [batch.part(0..3), batch.part(3..4)].map(|part| {
                part.len() as f64 * f64::from(loss(&objective, &part, Normalization::Batch))
            });
            assert!((parts.iter().sum::<f64>() / 4.0 - wanted).abs() < 1e-5);
        }
    }

    #[test]
    fn validation_is_plain() {
        let batch = MixedBatch {
            images: images(&[0, 1, 2]),
            mixed: None,
        };
        let smoothed = SoftCrossEntropy::new(0.2).unwrap();
        let plain = loss(&CrossEntropy, &batch.images, Normalization::Running);
        assert_eq!(loss(&smoothed, &batch, Normalization::Running), plain);
        assert_ne!(loss(&smoothed, &batch, Normalization::Batch), plain);
        let none = SoftCrossEntropy::default();
        assert_eq!(loss(&none, &batch, Normalization::Batch), plain);
    }

    #[test]
    fn wrong_labels_and_smoothings_are_errors() {
        for bad in [-0.1, 1.0, f32::NAN] {
            assert!(SoftCrossEntropy::new(bad).is_err(), "{bad}");
        }
        let mixed = |labels: &[usize]| MixedLabels {
            labels: labels.to_vec(),
            shares: vec![0.5; labels.len()],
        };
        let error = targets(&[0, 1], &mixed(&[3, 0]), 3, 0.0).unwrap_err();
        assert!(error.to_string().contains("below 3"), "{error}");
        let error = targets(&[0, 1], &mixed(&[2]), 3, 0.0).unwrap_err();
        assert!(error.to_string().contains("1 and 1"), "{error}");
    }
}
