//! Several devices at once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Device, DeviceChoice, open_anew, platform};
use crate::error::{Error, ErrorKind, Result};

/// Devices to train on together, as `cpu,cpu`, `0,1` or `cpu,gpu:0`: choices with commas between them, where a number
/// alone is that of a GPU's adapter.
///
/// ```
/// use forgeling::DeviceChoice;
/// use forgeling::device::DeviceList;
///
/// let list: DeviceList = "cpu,1".parse()?;
/// assert_eq!(list.choices(), [DeviceChoice::Cpu, DeviceChoice::GpuIndex(1)]);
/// assert_eq!(list.to_string(), "cpu,gpu:1");
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceList(Vec<DeviceChoice>);

impl DeviceList {
    /// A list of these.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(choices: Vec<DeviceChoice>) -> Result<Self> {
        if choices.is_empty() {
            return Err(Error::invalid("parse_devices", "no device").expected("1 or more"));
        }
        Ok(Self(choices))
    }

    /// The choices in order.
    pub fn choices(&self) -> &[DeviceChoice] {
        &self.0
    }

    /// Opens them all. An adapter that is there twice gives two logical devices; the CPU is one device however often it is
    /// there.
    ///
    /// # Errors
    /// As [`Device::open`], for the first choice that fails.
    pub async fn open(&self) -> Result<Vec<Device>> {
        let mut devices: Vec<Device> = Vec::new();
        for choice in &self.0 {
            let device = Device::open(*choice).await?;
            let again = device.adapter.is_some()
                && devices.iter().any(|other| other.adapter == device.adapter);
            devices.push(if again {
                device.open_another().await?
            } else {
                device
            });
        }
        Ok(devices)
    }
}

impl FromStr for DeviceList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let choice = |part: &str| match part.trim() {
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("gpu:{number}").parse()
            }
            word => word.parse(),
        };
        Self::new(text.split(',').map(choice).collect::<Result<_>>()?)
    }
}

impl TryFrom<String> for DeviceList {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceList> for String {
    fn from(list: DeviceList) -> Self {
        list.to_string()
    }
}

impl fmt::Display for DeviceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, choice) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{choice}")?;
        }
        Ok(())
    }
}

impl Device {
    /// Another logical device of the same adapter, with memory and a queue of its own: to try on one GPU what is meant for
    /// several, or to go on after a device was lost. On the CPU, which is one device, the same again.
    ///
    /// # Errors
    /// When the adapter is gone or gives no other device.
    pub async fn open_another(&self) -> Result<Self> {
        const OPERATION: &str = "open_another_device";
        let Some(index) = self.adapter else {
            return Ok(self.clone());
        };
        let failure = |problem: String| {
            Error::new(ErrorKind::Device, OPERATION, problem).got(&self.info.name)
        };
        let found = platform::find().await.map_err(failure)?;
        let found = found.iter().find(|found| found.adapter.index == index);
        let found = found.filter(|found| found.adapter.name == self.info.name);
        let found = found.ok_or_else(|| failure("the adapter is gone".into()))?;
        let opened = open_anew(found).await.map_err(failure)?;
        Ok(Self::gpu(opened, &found.adapter, self.info.reason.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        let list = |text: &str| text.parse::<DeviceList>();
        for (text, written) in [
            ("cpu", "cpu"),
            ("cpu,cpu", "cpu,cpu"),
            ("0,1", "gpu:0,gpu:1"),
            ("cpu, gpu:0", "cpu,gpu:0"),
            ("auto,gpu", "auto,gpu"),
        ] {
            assert_eq!(list(text).unwrap().to_string(), written);
        }
        for text in ["", "cpu,", "tpu", "gpu:x", "-1", "cpu;gpu"] {
            assert!(list(text).unwrap_err().is_bad_input(), "{text}");
        }
        assert!(DeviceList::new(Vec::new()).is_err());
    }
}
