//! What a model file says of the model besides the network itself.

use serde::{Deserialize, Serialize};

use super::SavedNetwork;
use super::saved_network::FileConfig;
use super::{Storage, TrainingHistory, model_file};
use crate::data::{Preparation, SoundPreparation, Standardization};
use crate::error::Result;
use crate::nn::graph::Graph;

/// How pictures were brought to the input's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// By straight lines between pixels.
    Bilinear,
    /// By cubic curves between them.
    Bicubic,
}

impl std::fmt::Display for Resampling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        })
    }
}

/// Where a model is from, as far as that is known; the rest of its card stands beside it in [`SavedNetwork`]. Mitchell et
/// al., *Model Cards for Model Reporting*, 2019 (arXiv 1810.03993).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelCard {
    /// How pictures were brought to the input's size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resampling: Option<Resampling>,
    /// Where its weights were published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Under what licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

impl ModelCard {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A model file without its weights: all that it says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDescription {
    /// What it is called; see [`SavedNetwork::model`].
    pub model: String,
    /// What it does.
    pub network: Graph,
    /// The name of each class.
    pub classes: Vec<String>,
    /// How pictures become its inputs, where that is known.
    pub pictures: Option<Preparation>,
    /// How sounds become its inputs, if it was trained on sounds.
    pub sounds: Option<SoundPreparation>,
    /// How the channels of its images are standardised; see [`SavedNetwork::normalization`].
    pub normalization: Option<Standardization>,
    /// Where it is from.
    pub card: ModelCard,
    /// How it was trained.
    pub history: TrainingHistory,
    /// Whether it is known how far its answers can be believed.
    pub calibrated: bool,
    /// How the file stores the values of the network.
    pub storage: Storage,
}

impl ModelDescription {
    /// Reads what the bytes of a model file say.
    ///
    /// # Errors
    /// As [`SavedNetwork::from_bytes`], but for the weights.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let header =
            model_file::header::<FileConfig, TrainingHistory>(bytes, SavedNetwork::ARCHITECTURE)?;
        Ok(Self {
            model: header.config.model,
            network: header.config.network,
            classes: header.config.classes,
            pictures: header.pictures,
            sounds: header.sounds,
            normalization: header.config.normalization,
            card: header.config.card,
            history: header.summary,
            calibrated: header.config.confidence.is_some(),
            storage: header.config.storage,
        })
    }
}
