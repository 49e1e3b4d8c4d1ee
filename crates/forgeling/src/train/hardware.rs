//! On what hardware training runs, and how.

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use super::LossScalerConfig;
use crate::device::{Device, DeviceChoice, DeviceKind};
use crate::error::{Error, Result};

/// In which precision activations are computed and kept. Parameters, their gradients and the optimizer's state are f32
/// in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// [`F16`](Self::F16) on hardware GPUs whose shaders have it, otherwise [`F32`](Self::F32).
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Half precision: 11 bits of mantissa, up to 65,504.
    F16,
    /// Brain floating point: 8 bits of mantissa, the range of f32.
    Bf16,
}

impl std::str::FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "f32" => Self::F32,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            _ => {
                return Err(Error::invalid("parse_precision", "unknown precision")
                    .expected("auto, f32, f16 or bf16")
                    .got(format!("'{text}'")));
            }
        })
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// How [`Precision`] is had on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolvedPrecision {
    /// What was asked for.
    pub asked: Precision,
    /// What activations are computed and kept in: `"f32"` or `"f16"`.
    pub compute: &'static str,
    /// What activations are packed to while they wait for the backward pass: `"f32"`, `"f16"` or `"bf16"`.
    pub storage: Precision,
    /// Whether losses are scaled, so that small gradients do not vanish.
    pub scaled: bool,
    /// Why, for people.
    pub reason: String,
}

impl ResolvedPrecision {
    /// How `precision` is had on `device`.
    pub fn new(precision: Precision, device: &Device) -> Self {
        let info = device.info();
        let hardware = !matches!(info.kind, DeviceKind::Cpu | DeviceKind::SoftwareGpu);
        let name = &info.name;
        let (half, storage, reason) = match precision {
            Precision::F32 => (false, Precision::F32, "asked for".into()),
            Precision::Auto if hardware && info.f16 => {
                let reason = format!("{name} computes in f16");
                (true, Precision::F16, reason)
            }
            Precision::Auto if hardware => {
                let reason = format!("{name} does not compute in f16");
                (false, Precision::F32, reason)
            }
            Precision::Auto => {
                let reason = format!("f16 saves memory on {name}, not time");
                (false, Precision::F32, reason)
            }
            Precision::F16 if info.f16 => (true, Precision::F16, "asked for".into()),
            Precision::F16 => {
                let reason = format!(
                    "{name} does not compute in f16: activations wait for the backward pass in \
                     f16, all arithmetic is f32"
                );
                (false, Precision::F16, reason)
            }
            Precision::Bf16 => {
                let reason = "no shader computes in bf16: activations wait for the backward pass \
                              in bf16, all arithmetic is f32";
                (false, Precision::Bf16, reason.into())
            }
        };
        Self {
            asked: precision,
            compute: if half { "f16" } else { "f32" },
            storage,
            scaled: half,
            reason,
        }
    }

    /// What a pass computes in.
    pub(crate) fn dtype(&self) -> DType {
        if self.scaled { DType::F16 } else { DType::F32 }
    }
}

/// On what training runs and how: one value that says it all, for code, files and command lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HardwareConfig {
    /// Which device to open. Default [`DeviceChoice::Auto`].
    pub device: DeviceChoice,
    /// In which precision to compute. Default [`Precision::Auto`].
    pub precision: Precision,
    /// Whether blocks keep only their input for the backward pass and are computed once more there: less memory for
    /// about a third more time. Default `false`.
    pub gradient_checkpointing: bool,
    /// The most examples in one forward and backward pass; a larger batch is dealt out in several, whose gradients add
    /// up. `None` takes whole batches. Default `None`.
    pub micro_batch: Option<usize>,
    /// How losses are scaled where activations are f16.
    pub loss_scaler: LossScalerConfig,
}

impl Default for HardwareConfig {
    fn default() -> Self {
        Self {
            device: DeviceChoice::Auto,
            precision: Precision::Auto,
            gradient_checkpointing: false,
            micro_batch: None,
            loss_scaler: LossScalerConfig::default(),
        }
    }
}
