//! What a network says of images, and how far that can be believed.

use burn::module::Module;
use burn::tensor::TensorData;

use super::SavedNetwork;
use crate::data::Dataset;
use crate::device::{Device, Readback};
use crate::error::{Error, Result};
use crate::nn::{Network, Normalization, Pass};
use crate::train::confidence::{Answer, Confidence, Temperature, Typicality, picture_statistics};
use crate::train::objective::Classify;

const CALIBRATE: &str = "calibrate";
const ANSWER: &str = "answer";
/// Images of a pass, so that what is asked at once need not fit into memory.
const PASS: usize = 64;
/// Images that a calibration looks at, at most.
const MOST: usize = 5000;

impl SavedNetwork {
    /// Finds out on images that the network was not trained on how far its answers can be believed;
    /// [`answer`](Self::answer) uses it, and the model file keeps it. Of more than 5,000 images it takes as many of each class.
    ///
    /// How strange an image is to the network is `-ln sum_k exp(z_k)` of its logits `z`, the *energy* of Liu et al.,
    /// *Energy-based Out-of-distribution Detection*, 2020 (arXiv 2010.03759). Classes without an image need none for that.
    ///
    /// # Errors
    /// When there is no image, when the images or their classes do not fit the network, when they cannot be read, when a logit
    /// is not finite, and when the device fails. What was known before then stays.
    pub async fn calibrate(&mut self, held_out: &dyn Dataset, device: &Device) -> Result<()> {
        let shape = self.input();
        let (expected, got) = (
            (self.classes.len(), shape),
            (held_out.class_count(), held_out.image_shape()),
        );
        if expected != got {
            return Err(
                Error::invalid(CALIBRATE, "the images do not fit the network")
                    .expected(format!("{} classes of {}", expected.0, expected.1))
                    .got(format!("{} classes of {}", got.0, got.1)),
            );
        }
        let places = spread(held_out, MOST);
        if places.is_empty() {
            return Err(Error::invalid(CALIBRATE, "there is no image").expected("at least one"));
        }
        let network = self.network.valid();
        let (mut logits, mut statistics) = (Vec::new(), Vec::new());
        for part in places.chunks(PASS) {
            let mut pixels = vec![0.0; part.len() * shape.len()];
            for (&(class, example), image) in part.iter().zip(pixels.chunks_exact_mut(shape.len()))
            {
                held_out.read(class, example, image)?;
                statistics.push(picture_statistics(image, shape));
            }
            logits.extend(self.logits(&network, pixels, device).await?);
        }
        let labels: Vec<usize> = places.iter().map(|place| place.0).collect();
        let rows = logits.chunks_exact(self.classes.len());
        let energies: Vec<f64> = rows.map(energy).collect();
        self.confidence = Some(Confidence {
            temperature: Temperature::fit(&logits, &labels)?,
            typicality: Typicality::fit(&energies, &statistics)?,
        });
        Ok(())
    }

    /// What images are taken for. A network that was not [calibrated](Self::calibrate) gives the softmax of its logits, and
    /// knows everything.
    ///
    /// # Errors
    /// When an image has another size than the network takes or a value that is not finite, and when the device fails.
    pub async fn answer(&self, images: &[&[f32]], device: &Device) -> Result<Vec<Answer>> {
        let shape = self.input();
        for (place, image) in images.iter().enumerate() {
            if image.len() != shape.len() {
                let message = format!("image {place} has another size than the network takes");
                return Err(Error::invalid(ANSWER, message)
                    .expected(format!("{} values for {shape}", shape.len()))
                    .got(format!("{} values", image.len())));
            }
            if image.iter().any(|value| !value.is_finite()) {
                let message = format!("image {place} has a value that is not finite");
                return Err(Error::bad_data(ANSWER, message));
            }
        }
        let confidence = self.confidence.clone().unwrap_or_default();
        let network = self.network.valid();
        let mut answers = Vec::with_capacity(images.len());
        for part in images.chunks(PASS) {
            let logits = self.logits(&network, part.concat(), device).await?;
            let rows = logits.chunks_exact(self.classes.len());
            answers.extend(rows.zip(part).map(|(row, image)| {
                let labels = self.classes.iter().map(String::as_str);
                let statistics = picture_statistics(image, shape);
                confidence.answer(labels, row, energy(row), &statistics)
            }));
        }
        Ok(answers)
    }

    /// Of the images of one pass, with values within 0 and 1, `[images, classes]`.
    pub(super) async fn logits(
        &self,
        network: &Network,
        pixels: Vec<f32>,
        device: &Device,
    ) -> Result<Vec<f32>> {
        let shape = self.input();
        let pixels = self.normalized(pixels)?;
        let count = pixels.len() / shape.len();
        let dims = [count, shape.channels, shape.height, shape.width];
        let mut pass = Pass::new(Normalization::Running, device.tensors());
        let logits = network.logits(pass.values(TensorData::new(pixels, dims)), &mut pass)?;
        let [logits] = Readback::new().with(pass.output(logits)).run().await?;
        Ok(logits)
    }
}

/// `-ln sum_k exp(z_k)`
fn energy(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits
        .iter()
        .map(|&logit| libm::exp(f64::from(logit) - f64::from(largest)));
    -(libm::log(powers.sum()) + f64::from(largest))
}

/// Class and example of images: the first of all classes, then the second ones, and so on.
fn spread(data: &dyn Dataset, most: usize) -> Vec<(usize, usize)> {
    let sizes = (0..data.class_count()).map(|class| data.class_len(class));
    let sizes: Vec<usize> = sizes.collect();
    let longest = sizes.iter().copied().max().unwrap_or(0);
    let places = (0..longest).flat_map(|example| {
        let having = sizes.iter().enumerate();
        having
            .filter(move |(_, size)| example < **size)
            .map(move |(class, _)| (class, example))
    });
    places.take(most).collect()
}
