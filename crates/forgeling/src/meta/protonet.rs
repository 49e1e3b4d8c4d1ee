//! Prototypical networks: Snell, Swersky and Zemel, 2017 (arXiv 1703.05175).

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::data::ImageShape;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Conv4, Conv4Config};
use crate::train::{model_file, weights};

const ARCHITECTURE: &str = "protonet-conv4";

/// A [`Conv4`] encoder that classifies a query by its squared Euclidean distance to class prototypes,
/// the means of the support examples' features:
///
/// `p(y = n | q) = softmax_n(-|f(q) - c_n|^2)`, `c_n = mean_k f(s_nk)`
#[derive(Debug, Clone)]
pub struct ProtoNet {
    pub(super) encoder: Conv4,
    pub(super) config: Conv4Config,
    pub(super) device: Device,
    pub(super) summary: TrainingSummary,
}

/// How a model was trained, kept in its file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// Episodes trained on in all.
    pub episodes: usize,
    /// Classes in each of them.
    pub ways: usize,
    /// Support examples of each class.
    pub shots: usize,
    /// Query examples of each class.
    pub queries: usize,
    /// Seed of the episodes.
    pub seed: u64,
    /// Loss over the last steps.
    pub loss: f64,
    /// Query accuracy over the last steps, as a fraction.
    pub accuracy: f64,
    /// Seconds of training in all.
    pub seconds: f64,
}

impl ProtoNet {
    /// An untrained network.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn new(config: &Conv4Config, device: &Device) -> Result<Self> {
        Ok(Self {
            encoder: Conv4::new(config, &device.autodiff())?,
            config: config.clone(),
            device: device.clone(),
            summary: TrainingSummary::default(),
        })
    }

    /// The encoder's configuration.
    pub fn config(&self) -> &Conv4Config {
        &self.config
    }

    /// The encoder.
    pub fn encoder(&self) -> &Conv4 {
        &self.encoder
    }

    /// The device the network lives on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How it was trained so far.
    pub fn summary(&self) -> &TrainingSummary {
        &self.summary
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.encoder.parameter_count()
    }

    /// The bytes of a model file; see [`model_file`].
    ///
    /// # Errors
    /// When the device fails or a weight is not finite.
    pub async fn to_bytes(&self) -> Result<Vec<u8>> {
        let header = model_file::Header::new(ARCHITECTURE, &self.config, &self.summary);
        model_file::encode(&header, &weights::collect(&self.encoder).await?)
    }

    /// A network from the bytes of a model file.
    ///
    /// # Errors
    /// When the bytes are cut off, of another architecture, or do not fit their own configuration.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        let (header, tensors) =
            model_file::decode::<Conv4Config, TrainingSummary>(bytes, ARCHITECTURE)?;
        header.config.validate()?;
        // The sizes the header claims must be those of the file before anything of that size is made.
        let claimed = header.config.value_count();
        let present: usize = tensors.iter().map(|tensor| tensor.values.len()).sum();
        if claimed != Some(present) {
            return Err(
                Error::bad_data("load_model", "the weights do not fit the configuration")
                    .expected(claimed.map_or("fewer".into(), |count| format!("{count} values")))
                    .got(present),
            );
        }
        let encoder = Conv4::new(&header.config, &device.autodiff())?;
        Ok(Self {
            encoder: weights::load(encoder, tensors)?,
            config: header.config,
            device: device.clone(),
            summary: header.summary,
        })
    }

    /// Writes a model file; an older one at `path` is replaced only when the new one is whole.
    ///
    /// # Errors
    /// When the device fails, a weight is not finite, or the file cannot be written.
    pub async fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.to_bytes().await.map_err(|error| error.path(path))?;
        model_file::write_atomically(path, &bytes)
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a whole model file of this kind.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(&model_file::read(path)?, device).map_err(|error| error.path(path))
    }

    /// Whether images of a shape fit this network.
    pub(super) fn check(&self, got: ImageShape, operation: &'static str) -> Result<()> {
        let expected = self.config.image_shape();
        if expected == got {
            return Ok(());
        }
        Err(
            Error::invalid(operation, "the images do not fit the network")
                .expected(expected)
                .got(got),
        )
    }

    /// Copies images `[count, channels, height, width]` to `device`.
    pub(super) fn images(&self, values: Vec<f32>, device: &burn::tensor::Device) -> Tensor<4> {
        let shape = self.config.image_shape();
        let count = values.len() / shape.len();
        let dims = [count, shape.channels, shape.height, shape.width];
        Tensor::from_data(TensorData::new(values, dims), device)
    }

    /// The encoder without gradient tracking.
    pub(super) fn frozen_encoder(&self) -> Conv4 {
        self.encoder.valid()
    }
}

/// The fraction of queries of each episode whose largest logit is their class's.
pub(super) fn accuracies(logits: &[f32], episodes: usize, ways: usize, queries: usize) -> Vec<f64> {
    let per_episode = ways * queries;
    let right = |row: usize, logits: &[f32]| {
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.is_some_and(|(way, _)| way == row / queries)
    };
    logits
        .chunks_exact(per_episode * ways)
        .take(episodes)
        .map(|episode| {
            let rows = episode.chunks_exact(ways).enumerate();
            rows.filter(|(row, logits)| right(*row, logits)).count() as f64 / per_episode as f64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_the_largest_logit_per_episode() {
        // Two episodes, 2 ways, 1 query: the first right on both, the second on one.
        let logits = [2.0, 1.0, -3.0, -1.0, 0.0, 5.0, 0.0, 5.0];
        assert_eq!(accuracies(&logits, 2, 2, 1), [1.0, 0.5]);
    }
}
