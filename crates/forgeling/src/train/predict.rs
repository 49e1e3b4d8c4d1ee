//! What a network says of images.

use burn::tensor::TensorData;

use super::objective::Classify;
use crate::data::ImageShape;
use crate::device::{Device, Readback};
use crate::error::{Error, Result};
use crate::nn::{Normalization, Pass};

const OPERATION: &str = "predict";
/// Images of a pass, so that what is asked at once need not fit into memory.
const PASS: usize = 64;

/// The probability of each class for each image, `softmax(logits)`, image by image; with running statistics, in f32.
/// `images` holds one image of `shape` after the other.
///
/// ```
/// use forgeling::data::ImageShape;
/// use forgeling::nn::Network;
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::train::probabilities;
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let shape = ImageShape::new(1, 4, 4);
/// let graph = MlpConfig { input: shape.into(), classes: 3, ..Default::default() }.graph()?;
/// let network = Network::new(&graph, 0, &device);
/// let found = probabilities(&network, shape, &[0.5; 2 * 16], &device).await?;
/// assert_eq!(found.len(), 2 * 3);
/// assert!((found[..3].iter().sum::<f32>() - 1.0).abs() < 1e-6);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// When there is no image, when the values are not whole images or one is not finite, when the images do not fit the
/// network, and when the device fails.
pub async fn probabilities<M: Classify>(
    network: &M,
    shape: ImageShape,
    images: &[f32],
    device: &Device,
) -> Result<Vec<f32>> {
    if images.is_empty() || shape.is_empty() || !images.len().is_multiple_of(shape.len()) {
        return Err(Error::invalid(OPERATION, "not whole images")
            .expected(format!("one or more of {shape}"))
            .got(format!("{} values", images.len())));
    }
    if let Some(place) = images.iter().position(|value| !value.is_finite()) {
        let image = place / shape.len();
        let message = format!("image {image} has a value that is not finite");
        return Err(Error::bad_data(OPERATION, message).got(images[place]));
    }
    let network = network.valid();
    let ImageShape {
        channels,
        height,
        width,
    } = shape;
    let mut all = Vec::new();
    for part in images.chunks(PASS * shape.len()) {
        let count = part.len() / shape.len();
        let mut pass = Pass::new(Normalization::Running, device.tensors());
        let values = TensorData::new(part.to_vec(), [count, channels, height, width]);
        let logits = network.logits(pass.values(values), &mut pass)?;
        let [logits] = Readback::new().with(pass.output(logits)).run().await?;
        for row in logits.chunks_exact(logits.len() / count) {
            all.extend(softmax(row));
        }
    }
    Ok(all)
}

/// `softmax(logits)` of one row.
pub(crate) fn softmax(logits: &[f32]) -> impl Iterator<Item = f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.iter().map(move |logit| (logit - top).exp());
    let sum: f32 = powers.clone().sum();
    powers.map(move |power| power / sum)
}
