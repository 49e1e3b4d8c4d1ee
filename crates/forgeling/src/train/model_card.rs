//! What a model file says of the model besides the network itself.

use serde::{Deserialize, Serialize};

use super::SavedNetwork;
use super::saved_network::FileConfig;
use super::{TrainingHistory, model_file};
use crate::data::{Preparation, Standardization};
use crate::error::{Error, Result};
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

/// Where a model is from, and what it was trained to see. All of it may be unknown. Mitchell et al., *Model Cards for Model
/// Reporting*, 2019 (arXiv 1810.03993).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelCard {
    /// What each channel of a picture, from 0 to 1, is standardised by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Standardization>,
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

    /// Whether it suits a network whose images have so many channels.
    pub(super) fn check(&self, operation: &'static str, channels: usize) -> Result<()> {
        let Some(Standardization { mean, deviation }) = &self.normalization else {
            return Ok(());
        };
        let lengths = [mean.len(), deviation.len()];
        let numbers = mean.iter().all(|mean| mean.is_finite())
            && deviation
                .iter()
                .all(|deviation| deviation.is_finite() && *deviation > 0.0);
        if lengths == [channels; 2] && numbers {
            return Ok(());
        }
        Err(
            Error::bad_data(operation, "the normalization does not suit the network")
                .expected(format!(
                    "{channels} means and {channels} deviations above 0"
                ))
                .got(format!("{mean:?} and {deviation:?}")),
        )
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
    /// Where it is from.
    pub card: ModelCard,
    /// How it was trained.
    pub history: TrainingHistory,
    /// Whether it is known how far its answers can be believed.
    pub calibrated: bool,
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
            card: header.config.card,
            history: header.summary,
            calibrated: header.config.confidence.is_some(),
        })
    }
}
