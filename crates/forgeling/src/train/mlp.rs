//! Training a perceptron on labelled examples.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

use super::{Adam, AdamConfig};
use crate::device::{Device, Readback};
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{Mlp, MlpConfig};
use crate::ops::softmax_cross_entropy;

const OPERATION: &str = "mlp";

/// An [`Mlp`] in training with [`Adam`] on the mean cross entropy of labelled examples.
///
/// ```
/// use forgeling::nn::MlpConfig;
/// use forgeling::train::MlpTrainer;
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let config = MlpConfig { inputs: 2, hidden: vec![32], classes: 2, ..Default::default() };
/// let mut trainer = MlpTrainer::new(&config, &device)?;
/// // Exclusive or, which no linear classifier learns.
/// let points = vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
/// for _ in 0..200 {
///     trainer.step(points.clone(), &[0, 1, 1, 0], 0.03).await?;
/// }
/// assert_eq!(trainer.classify(points).await?, [0, 1, 1, 0]);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MlpTrainer {
    model: Mlp,
    optimizer: Adam,
    device: Device,
}

impl MlpTrainer {
    /// An untrained perceptron.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn new(config: &MlpConfig, device: &Device) -> Result<Self> {
        Ok(Self {
            model: Mlp::new(config, &device.autodiff())?,
            optimizer: Adam::new(AdamConfig::default())?,
            device: device.clone(),
        })
    }

    /// The perceptron as it is now.
    pub fn model(&self) -> &Mlp {
        &self.model
    }

    /// One optimizer step; gives the loss before it, in nats. `inputs` are those of all examples one after the other,
    /// `labels` one class of each, `rate` is the learning rate.
    ///
    /// # Errors
    /// When the inputs are not whole examples with a label each, when a label is no class, when the rate is not a
    /// positive number, when the device fails, and when the loss or a gradient is not finite; the perceptron is then as
    /// it was before.
    pub async fn step(&mut self, inputs: Vec<f32>, labels: &[usize], rate: f64) -> Result<f64> {
        if !(rate.is_finite() && rate > 0.0) {
            return Err(
                Error::invalid(OPERATION, "the learning rate is out of range")
                    .expected("a positive number")
                    .got(rate),
            );
        }
        let x = self.tensor(inputs, &self.device.autodiff())?;
        let loss = softmax_cross_entropy(self.model.forward(x)?, labels)?;
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        // Before anything is read, so that there is one wait for all.
        let model = self.optimizer.step(rate, self.model.clone(), gradients);
        let skipped = self.optimizer.skipped();
        let skipped = skipped.expect("a perceptron has parameters, so that a step was taken");
        let [loss, skipped] = Readback::new().with(loss).with(skipped).run().await?;
        if !loss[0].is_finite() || skipped[0] > 0.0 {
            return Err(Error::new(
                ErrorKind::Diverged,
                OPERATION,
                "the loss or a gradient is not finite",
            )
            .expected("a smaller learning rate, and inputs that are finite")
            .got(format!("a loss of {}", loss[0])));
        }
        self.model = model;
        Ok(f64::from(loss[0]))
    }

    /// The most probable class of each example.
    ///
    /// # Errors
    /// When the inputs are not whole examples, when there is none, or when the device fails.
    pub async fn classify(&self, inputs: Vec<f32>) -> Result<Vec<usize>> {
        let x = self.tensor(inputs, self.device.tensors())?;
        let logits = self.model.valid().forward(x)?;
        let classes = logits.dims()[1];
        let [logits] = Readback::new().with(logits).run().await?;
        let best = |row: &[f32]| {
            let all = row.iter().enumerate();
            all.max_by(|a, b| a.1.total_cmp(b.1))
                .map_or(0, |best| best.0)
        };
        Ok(logits.chunks_exact(classes).map(best).collect())
    }

    fn tensor(&self, inputs: Vec<f32>, device: &burn::tensor::Device) -> Result<Tensor<2>> {
        let width = self.model.inputs();
        if !inputs.len().is_multiple_of(width) || inputs.is_empty() {
            return Err(Error::invalid(OPERATION, "not whole examples")
                .expected(format!("a multiple of {width} numbers"))
                .got(inputs.len()));
        }
        let shape = [inputs.len() / width, width];
        Ok(Tensor::from_data(TensorData::new(inputs, shape), device))
    }
}
