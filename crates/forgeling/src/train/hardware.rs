//! On what hardware training runs, and how.

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use super::LossScalerConfig;
use crate::device::{Device, DeviceChoice, DeviceKind, DeviceList, MemoryBudget};
use crate::error::{Error, Result};
use crate::ops::Storage;
use crate::ops::plan::PlannedPrecision;

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

    /// How what is computed in f32 waits for the backward pass.
    pub(crate) fn packed(&self) -> Storage {
        match self.storage {
            _ if self.scaled => Storage::Full,
            Precision::F16 => Storage::F16,
            Precision::Bf16 => Storage::Bf16,
            Precision::F32 | Precision::Auto => Storage::Full,
        }
    }

    /// What a [`MemoryPlan`](crate::nn::MemoryPlan) is to count with.
    pub fn planned(&self) -> PlannedPrecision {
        match (self.scaled, self.packed()) {
            (true, _) => PlannedPrecision::F16,
            (false, Storage::Full) => PlannedPrecision::F32,
            (false, _) => PlannedPrecision::Packed16,
        }
    }
}

/// Configurations for a purpose: `HardwareConfig::from(Preset::Browser)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The default configuration: the best device in the precision that it is fastest in, everything in one pass.
    Fast,
    /// 16-bit activations, gradient checkpointing, and half of the device's memory at most.
    MemoryConstrained,
    /// 16-bit activations, so that larger batches fit, and nine tenths of the device's memory at most.
    HighThroughput,
    /// For a page: 16-bit activations where the GPU computes in f16, and 512 MiB at most, since a tab that takes more is
    /// one that browsers end.
    Browser,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Fast,
        Self::MemoryConstrained,
        Self::HighThroughput,
        Self::Browser,
    ];

    /// The name in JSON and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::MemoryConstrained => "memory_constrained",
            Self::HighThroughput => "high_throughput",
            Self::Browser => "browser",
        }
    }
}

impl std::str::FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = |preset: &Self| preset.name() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            Error::invalid("parse_preset", "unknown preset")
                .expected(Self::ALL.map(Self::name).join(", "))
                .got(format!("'{text}'"))
        })
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Preset> for HardwareConfig {
    fn from(preset: Preset) -> Self {
        let default = Self::default();
        match preset {
            Preset::Fast => default,
            Preset::MemoryConstrained => Self {
                precision: Precision::F16,
                gradient_checkpointing: true,
                memory_budget: Some(MemoryBudget::Fraction(0.5)),
                ..default
            },
            Preset::HighThroughput => Self {
                precision: Precision::F16,
                memory_budget: Some(MemoryBudget::Fraction(0.9)),
                ..default
            },
            Preset::Browser => Self {
                memory_budget: Some(MemoryBudget::Bytes(512 << 20)),
                ..default
            },
        }
    }
}

/// On what training runs and how: one value that says it all, for code, files and command lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HardwareConfig {
    /// Which device to open. Default [`DeviceChoice::Auto`].
    pub device: DeviceChoice,
    /// Devices that share every batch, each with a replica of the model, instead of one:
    /// [`DataParallel`](crate::parallel::DataParallel). Default `None`.
    pub devices: Option<DeviceList>,
    /// In which precision to compute. Default [`Precision::Auto`].
    pub precision: Precision,
    /// Whether blocks keep only their input for the backward pass and are computed once more there: less memory for
    /// about a third more time. Default `false`.
    pub gradient_checkpointing: bool,
    /// The most examples in one forward and backward pass; a larger batch is dealt out in several, whose gradients add
    /// up. `None` takes whole batches until memory does not suffice. Default `None`.
    pub micro_batch: Option<usize>,
    /// The most memory that training may take on the device: what would take more is an
    /// [out-of-memory error](crate::Error::is_out_of_memory), upon which a [`Trainer`](super::Trainer) halves the
    /// micro-batch. Default `None`: what the device has.
    pub memory_budget: Option<MemoryBudget>,
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
            devices: None,
            memory_budget: None,
            loss_scaler: LossScalerConfig::default(),
        }
    }
}

impl HardwareConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<()> {
        if self.micro_batch == Some(0) {
            return Err(
                Error::invalid("hardware_config", "no example in a micro-batch")
                    .expected("micro_batch of at least 1"),
            );
        }
        self.memory_budget.map_or(Ok(()), MemoryBudget::validate)?;
        self.loss_scaler.validate()
    }
}

/// What a [`HardwareConfig`] came to on a device, for people and reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HardwareReport {
    /// The device's name.
    pub device: String,
    /// How the precision is had.
    pub precision: ResolvedPrecision,
    /// Whether blocks are computed once more in the backward pass.
    pub gradient_checkpointing: bool,
    /// The most examples of a pass, if that is limited.
    pub micro_batch: Option<usize>,
    /// The most bytes on the device, if that is limited.
    pub memory_budget: Option<u64>,
    /// How images lie in memory. Our kernels want channels last, and give it to the kernels that follow: images are
    /// converted once, where they come in.
    pub layout: &'static str,
}
