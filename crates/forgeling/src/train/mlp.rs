//! Training a perceptron on labelled examples.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use super::{AnyOptimizer, HardwareConfig, HardwareManager, OptimizerConfig, Predictions};
use crate::device::{Device, Readback};
use crate::error::{Error, Result};
use crate::nn::zoo::MlpConfig;
use crate::nn::{Network, Normalization, Pass};

const OPERATION: &str = "mlp";

/// A perceptron ([`MlpConfig`]) in training with [`Adam`](super::Adam) on the mean cross entropy of labelled examples.
///
/// ```
/// use forgeling::nn::graph::Shape;
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::train::MlpTrainer;
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let config = MlpConfig { input: Shape::Values(2), hidden: vec![32], classes: 2 };
/// let mut trainer = MlpTrainer::new(&config, 0, &device)?;
/// // Exclusive or, which no linear classifier learns.
/// let points = vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
/// for _ in 0..200 {
///     trainer.step(points.clone(), &[0, 1, 1, 0], 0.03).await?;
/// }
/// assert_eq!(trainer.classify(points).await?, [0, 1, 1, 0]);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MlpTrainer {
    model: Network,
    optimizer: AnyOptimizer,
    manager: HardwareManager,
}

impl MlpTrainer {
    /// An untrained perceptron, whose weights are drawn from a seed.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn new(config: &MlpConfig, seed: u64, device: &Device) -> Result<Self> {
        Ok(Self {
            model: Network::new(&config.graph()?, seed, device),
            optimizer: AnyOptimizer::new(OptimizerConfig::default())?,
            manager: HardwareManager::on(device.clone(), HardwareConfig::default())?,
        })
    }

    /// The perceptron as it is now.
    pub fn model(&self) -> &Network {
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
        let values = self.values(inputs)?;
        let forward = self.manager.forward(|pass| {
            let logits = self.model.forward_rows(pass.values(values), pass)?;
            Predictions::cross_entropy(pass.output(logits), labels.to_vec())
        })?;
        self.manager.backward(forward, &self.model)?;
        let step = self
            .manager
            .step(&mut self.optimizer, rate, &mut self.model);
        Ok(step.await?.loss)
    }

    /// The most probable class of each example.
    ///
    /// # Errors
    /// When the inputs are not whole examples, when there is none, or when the device fails.
    pub async fn classify(&self, inputs: Vec<f32>) -> Result<Vec<usize>> {
        let x = Tensor::from_data(self.values(inputs)?, self.manager.device().tensors());
        let model = self.model.valid();
        let mut pass = Pass::new(Normalization::Running, self.manager.device().tensors());
        let logits = model.forward_rows(x, &mut pass)?;
        let classes = logits.dims()[1];
        let [logits] = Readback::new().with(logits).run().await?;
        let best = |row: &[f32]| {
            let all = row.iter().enumerate();
            all.max_by(|a, b| a.1.total_cmp(b.1))
                .map_or(0, |best| best.0)
        };
        Ok(logits.chunks_exact(classes).map(best).collect())
    }

    fn values(&self, inputs: Vec<f32>) -> Result<TensorData> {
        let width = self.model.graph().input().len();
        if !inputs.len().is_multiple_of(width) || inputs.is_empty() {
            return Err(Error::invalid(OPERATION, "not whole examples")
                .expected(format!("a multiple of {width} numbers"))
                .got(inputs.len()));
        }
        let shape = [inputs.len() / width, width];
        Ok(TensorData::new(inputs, shape))
    }
}
