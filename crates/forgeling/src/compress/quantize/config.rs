//! How networks are quantized.

use serde::{Deserialize, Serialize};

use super::{OPERATION, Observer};
use crate::error::{Error, Result};

/// How the scale of each output's weights is found; they become `scale q` with `q` within -127 and 127.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightScale {
    /// `max |w| / 127`: no weight is cut off.
    MaxAbs,
    /// Of 51 fractions from 1 to 0.5 of that, the one with the least sum of squared errors. The default.
    #[default]
    Mse,
}

/// How [`quantize`](super::quantize) quantizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuantizationConfig {
    /// How the range of activations is found. Default by least squared error.
    pub observer: Observer,
    /// How the scales of weights are found. Default by least squared error.
    pub weights: WeightScale,
    /// How much of the difficulty of rounding goes from the outputs of a layer norm to the weights that take them, `alpha` from
    /// 0 to 1; `None` changes nothing. Default 0.5. Xiao et al., *SmoothQuant*, ICML 2023 (arXiv 2211.10438).
    pub smoothing: Option<f64>,
    /// Layers that stay in f32, by name.
    pub float_layers: Vec<String>,
}

impl Default for QuantizationConfig {
    fn default() -> Self {
        Self {
            observer: Observer::default(),
            weights: WeightScale::default(),
            smoothing: Some(0.5),
            float_layers: Vec::new(),
        }
    }
}

impl QuantizationConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        self.observer.validate()?;
        match self.smoothing {
            Some(alpha) if !(0.0..=1.0).contains(&alpha) => {
                Err(Error::invalid(OPERATION, "smoothing is out of range")
                    .expected("0 to 1, or none")
                    .got(alpha))
            }
            _ => Ok(()),
        }
    }
}
