//! Which adapter to take: a pure function, so that it can be tested without any GPU.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Adapter, DeviceKind};
use crate::error::{Error, Result};

/// Which device to open. As text, and so in JSON: `auto`, `cpu`, `gpu` or `gpu:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The best hardware GPU, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The best hardware GPU, or an error.
    Gpu,
    /// The adapter with this index in [`crate::Device::adapters`], a software one too.
    GpuIndex(usize),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::invalid("parse_device", "unknown device")
                .expected("auto, cpu, gpu or gpu:N")
                .got(format!("'{text}'"))
        };
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu),
            _ => {
                let index = text.strip_prefix("gpu:").ok_or_else(unknown)?;
                index.parse().map(Self::GpuIndex).map_err(|_| unknown())
            }
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("gpu"),
            Self::GpuIndex(index) => write!(f, "gpu:{index}"),
        }
    }
}

/// The outcome of [`choose`], each with its reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Cpu(String),
    Gpu(usize, String),
    None(String),
}

/// Lower is better.
fn rank(kind: DeviceKind) -> u8 {
    match kind {
        DeviceKind::DiscreteGpu => 0,
        DeviceKind::IntegratedGpu => 1,
        DeviceKind::VirtualGpu => 2,
        DeviceKind::OtherGpu => 3,
        DeviceKind::SoftwareGpu => 4,
        DeviceKind::Cpu => 5,
    }
}

/// The policy. `allow_software` is set when the environment names the device; `absence` says why there
/// are no adapters at all.
pub(super) fn choose(
    choice: DeviceChoice,
    allow_software: bool,
    adapters: &[Adapter],
    absence: Option<&str>,
) -> Selection {
    let best = adapters
        .iter()
        .enumerate()
        .filter(|(_, a)| {
            a.kind != DeviceKind::SoftwareGpu || (allow_software && choice == DeviceChoice::Gpu)
        })
        .min_by_key(|(_, a)| rank(a.kind));
    let without_hardware = || match (absence, adapters) {
        (Some(absence), _) => absence.to_string(),
        (None, []) => "no GPU adapter".to_string(),
        (None, software) => {
            let names: Vec<&str> = software.iter().map(|a| a.name.as_str()).collect();
            format!(
                "no hardware adapter; software adapter {} ignored",
                names.join(", ")
            )
        }
    };
    match (choice, best) {
        (DeviceChoice::Cpu, _) => Selection::Cpu("asked for".into()),
        (DeviceChoice::GpuIndex(index), _) => match adapters.get(index) {
            Some(adapter) => Selection::Gpu(
                index,
                format!("GPU {}: asked for as gpu:{index}", adapter.name),
            ),
            None => Selection::None(format!(
                "no adapter gpu:{index}; this machine has {}",
                absence.map_or_else(|| adapters.len().to_string(), str::to_string)
            )),
        },
        (DeviceChoice::Auto | DeviceChoice::Gpu, Some((index, adapter))) => {
            let why = match adapter.kind {
                DeviceKind::DiscreteGpu => "discrete GPU",
                DeviceKind::IntegratedGpu => "integrated GPU, no discrete one found",
                DeviceKind::SoftwareGpu => "software adapter, asked for with FORGELING_DEVICE",
                _ => "the GPU found",
            };
            Selection::Gpu(index, format!("GPU {}: {why}", adapter.name))
        }
        (DeviceChoice::Auto, None) => Selection::Cpu(without_hardware()),
        (DeviceChoice::Gpu, None) => Selection::None(without_hardware()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, name: &str, kind: DeviceKind) -> Adapter {
        Adapter {
            index,
            name: name.into(),
            kind,
            backend: "vulkan".into(),
            driver: String::new(),
            f16: false,
            int8_dot: false,
            subgroups: false,
            timestamps: false,
            max_buffer: 1,
            max_storage_buffers: 8,
            chosen: false,
        }
    }

    #[test]
    fn auto_prefers_discrete_then_integrated_and_ignores_software() {
        let software = adapter(0, "llvmpipe", DeviceKind::SoftwareGpu);
        let integrated = adapter(1, "Iris", DeviceKind::IntegratedGpu);
        let discrete = adapter(2, "Arc", DeviceKind::DiscreteGpu);
        let all = [software.clone(), integrated.clone(), discrete];
        assert_eq!(
            choose(DeviceChoice::Auto, false, &all, None),
            Selection::Gpu(2, "GPU Arc: discrete GPU".into())
        );
        assert!(matches!(
            choose(
                DeviceChoice::Auto,
                false,
                &[software.clone(), integrated],
                None
            ),
            Selection::Gpu(1, _)
        ));
        assert_eq!(
            choose(DeviceChoice::Auto, false, &[software], None),
            Selection::Cpu("no hardware adapter; software adapter llvmpipe ignored".into())
        );
    }

    #[test]
    fn software_is_taken_by_index_or_by_the_environment_only() {
        let software = [adapter(0, "llvmpipe", DeviceKind::SoftwareGpu)];
        assert!(matches!(
            choose(DeviceChoice::GpuIndex(0), false, &software, None),
            Selection::Gpu(0, _)
        ));
        assert!(matches!(
            choose(DeviceChoice::Gpu, true, &software, None),
            Selection::Gpu(0, _)
        ));
        assert!(matches!(
            choose(DeviceChoice::Gpu, false, &software, None),
            Selection::None(_)
        ));
        assert!(matches!(
            choose(DeviceChoice::Auto, true, &software, None),
            Selection::Cpu(_)
        ));
        assert!(matches!(
            choose(DeviceChoice::GpuIndex(1), false, &software, None),
            Selection::None(_)
        ));
    }

    #[test]
    fn absence_of_adapters_gives_its_reason() {
        assert_eq!(
            choose(DeviceChoice::Auto, false, &[], Some("no navigator.gpu")),
            Selection::Cpu("no navigator.gpu".into())
        );
        assert_eq!(
            choose(DeviceChoice::Gpu, false, &[], Some("no navigator.gpu")),
            Selection::None("no navigator.gpu".into())
        );
    }

    #[test]
    fn choices_parse_and_print_alike() {
        for text in ["auto", "cpu", "gpu", "gpu:0", "gpu:17"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for text in ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "cuda"] {
            assert!(
                text.parse::<DeviceChoice>().unwrap_err().is_bad_input(),
                "{text}"
            );
        }
    }
}
