//! Scaling losses so that small gradients do not vanish. (Placeholder for the helper's.)

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossScalerConfig {
    /// First scale.
    pub init_scale: f64,
}

impl Default for LossScalerConfig {
    fn default() -> Self {
        Self {
            init_scale: 65536.0,
        }
    }
}

/// State.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScaler {
    scale: f64,
}

impl LossScaler {
    /// New.
    ///
    /// # Errors
    /// None.
    pub fn new(config: LossScalerConfig) -> Result<Self> {
        Ok(Self {
            scale: config.init_scale,
        })
    }

    /// Scale.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Update.
    pub fn update(&mut self, overflow: bool) {
        if overflow {
            self.scale *= 0.5;
        }
    }
}
