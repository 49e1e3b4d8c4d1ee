//! How much of a device one trainer may use.

use serde::{Deserialize, Serialize};

use super::{Device, DeviceKind, platform};
use crate::error::{Error, Result};

/// How much memory a trainer may use.
///
/// In JSON `{"bytes": 500000000}` or `{"fraction": 0.5}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryBudget {
    /// So many bytes.
    Bytes(u64),
    /// A part of [`Device::memory_limit`], above 0 and at most 1.
    Fraction(f64),
}

impl MemoryBudget {
    /// So many bytes.
    ///
    /// # Errors
    /// When there are none.
    pub fn bytes(bytes: u64) -> Result<Self> {
        let budget = Self::Bytes(bytes);
        budget.validate()?;
        Ok(budget)
    }

    /// A part of [`Device::memory_limit`].
    ///
    /// # Errors
    /// When it is not above 0 and at most 1.
    pub fn fraction(fraction: f64) -> Result<Self> {
        let budget = Self::Fraction(fraction);
        budget.validate()?;
        Ok(budget)
    }

    /// Checks the number.
    ///
    /// # Errors
    /// When no bytes are left, or the fraction is not above 0 and at most 1.
    pub fn validate(self) -> Result<()> {
        let problem = |got: String| {
            Error::invalid("memory_budget", "the budget is out of range")
                .expected("bytes of at least 1, or a fraction above 0 and at most 1")
                .got(got)
        };
        match self {
            Self::Bytes(0) => Err(problem("0 bytes".into())),
            Self::Fraction(part) if !(part > 0.0 && part <= 1.0) => {
                Err(problem(format!("the fraction {part}")))
            }
            _ => Ok(()),
        }
    }

    /// The bytes it comes to on `device`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn resolve(self, device: &Device) -> Result<u64> {
        self.validate()?;
        Ok(match self {
            Self::Bytes(bytes) => bytes,
            Self::Fraction(part) => ((device.memory_limit() as f64 * part) as u64).max(1),
        })
    }
}

/// Buffers of the largest size that a graphics card is taken to hold.
const BUFFERS: u64 = 2;

impl Device {
    /// What fractions of this device's memory are fractions of, in bytes.
    ///
    /// For the CPU and for GPUs that share its memory it is the machine's memory; where the system does not tell, and in
    /// every browser, it is taken to be 2 GiB. WebGPU does not say how much memory a graphics card has: there it is
    /// twice the largest buffer that the adapter binds, which is 4 GiB on most and less than most of them have. Say
    /// bytes where you know better.
    pub fn memory_limit(&self) -> u64 {
        let host = platform::host_memory();
        match (self.info().kind, self.largest_buffer) {
            (DeviceKind::DiscreteGpu | DeviceKind::VirtualGpu, largest) => {
                largest.saturating_mul(BUFFERS)
            }
            (DeviceKind::OtherGpu, largest) => largest.saturating_mul(BUFFERS).min(host),
            _ => host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_out_of_range_are_errors() {
        for fraction in [0.0, -0.5, 1.0001, f64::NAN, f64::INFINITY] {
            let error = MemoryBudget::fraction(fraction).unwrap_err();
            assert!(error.is_bad_input(), "{fraction}");
            assert!(MemoryBudget::Fraction(fraction).validate().is_err());
        }
        assert!(MemoryBudget::bytes(0).unwrap_err().is_bad_input());
        assert!(MemoryBudget::fraction(1.0).is_ok() && MemoryBudget::bytes(1).is_ok());
    }

    #[test]
    fn budgets_have_a_stable_form() {
        for (text, budget) in [
            (r#"{"bytes":500}"#, MemoryBudget::Bytes(500)),
            (r#"{"fraction":0.5}"#, MemoryBudget::Fraction(0.5)),
        ] {
            assert_eq!(serde_json::to_string(&budget).unwrap(), text);
            assert_eq!(serde_json::from_str::<MemoryBudget>(text).unwrap(), budget);
        }
    }
}
