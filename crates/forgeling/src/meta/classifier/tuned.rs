//! What a fine-tuning trains, and on which loss.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use super::linear::Linear;
use super::support::{Sample, Support};
use crate::data::ImageShape;
use crate::device::{Device, Readback};
use crate::error::Result;
use crate::nn::{LinearLayer, Network, Pass};
use crate::ops::Activation;
use crate::train::{Encoder, Objective, Outcome, Predictions, Trainable};

/// What is trained: a linear layer on features, which may come of a network with adapters.
#[derive(Module, Debug)]
pub(super) struct Tuned {
    pub encoder: Option<Network>,
    /// From centered features over their scale.
    head: LinearLayer,
    /// `[1, features]`, not trained.
    center: Param<Tensor<2>>,
    #[module(skip)]
    scale: f64,
}

impl Tuned {
    /// A layer that gives what the prototypes of some of the examples do: `2 c x - |c|^2` in centered features, which are
    /// squared distances to the class means `c` but for what is the same for all classes.
    pub fn prototypes(
        support: &Support,
        chosen: &[usize],
        encoder: Option<Network>,
        device: &Device,
    ) -> Self {
        let means = support.class_means(chosen);
        let (classes, width) = (means.len(), means[0].len());
        let (center, scale) = support.center_and_scale(chosen);
        let centered = |mean: &Vec<f32>| -> Vec<f32> {
            let pairs = mean.iter().zip(&center);
            pairs.map(|(value, center)| value - center).collect()
        };
        let means: Vec<Vec<f32>> = means.iter().map(centered).collect();
        let squares = means
            .iter()
            .map(|mean| -mean.iter().map(|v| v * v).sum::<f32>());
        let bias: Vec<f32> = squares.collect();
        let of_class = |feature: usize| means.iter().map(move |mean| 2.0 * scale * mean[feature]);
        let weight: Vec<f32> = (0..width).flat_map(of_class).collect();
        let device = device.autodiff();
        let weight = TensorData::new(weight, [width, classes]);
        let center = Tensor::from_data(TensorData::new(center, [1, width]), &device);
        Self {
            encoder,
            head: LinearLayer {
                weight_scale: None,
                weight: Param::from_tensor(Tensor::from_data(weight, &device)),
                bias: Param::from_tensor(Tensor::from_data(&bias[..], &device)),
            },
            center: Param::from_tensor(center).set_require_grad(false),
            scale: f64::from(scale),
        }
    }

    /// Logits of features `[rows, features]`.
    fn logits(&self, features: Tensor<2>) -> Result<Tensor<2>> {
        let centered = (features - self.center.val()) / self.scale;
        self.head.forward(centered, Activation::None)
    }

    /// The layer for features as they are, no longer trained.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn into_head(self) -> Result<Linear> {
        let tuned = self.valid();
        let weight = tuned.head.weight.val() / tuned.scale;
        // One row times a matrix, in stock operations that every build has.
        let shift = (weight.clone() * tuned.center.val().transpose()).sum_dim(0);
        let bias = tuned.head.bias.val() - shift.squeeze_dim(0);
        let trip = Readback::new().with(weight.transpose()).with(bias);
        let [weights, biases] = trip.run().await?;
        Ok(Linear { weights, biases })
    }
}

impl Trainable for Tuned {}

/// The mean cross entropy of examples.
pub(super) struct SupportLoss {
    pub shape: ImageShape,
}

impl Objective<Tuned> for SupportLoss {
    type Batch = Vec<Sample>;

    fn forward<'a>(
        &self,
        model: &'a Tuned,
        batch: &Vec<Sample>,
        pass: &mut Pass<'a>,
    ) -> Result<Outcome> {
        let values: Vec<f32> = batch.iter().flat_map(|s| s.input.iter().copied()).collect();
        let count = batch.len();
        let features = match &model.encoder {
            None => {
                let width = values.len() / count;
                pass.values(TensorData::new(values, [count, width]))
            }
            Some(encoder) => {
                let ImageShape {
                    channels,
                    height,
                    width,
                } = self.shape;
                let dims = [count, channels, height, width];
                let images = pass.values(TensorData::new(values, dims));
                encoder.maps(images, pass)?.flatten(1, 3)
            }
        };
        let logits = model.logits(features)?;
        let labels = batch.iter().map(|sample| sample.class).collect();
        Predictions::cross_entropy(logits, labels)
    }
}
