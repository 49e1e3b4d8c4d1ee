//! How much of a device one trainer may use.

use std::str::FromStr;

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

/// Units of bytes, the longest names first.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Bytes with a unit or without, as `500MB`, `1.5GiB` or `2000000`, or a percentage as `50%`. The case does not matter.
impl FromStr for MemoryBudget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let ends_with = |unit: &str| {
            let start = text.len().checked_sub(unit.len())?;
            let (number, end) = text.split_at_checked(start)?;
            end.eq_ignore_ascii_case(unit).then_some(number)
        };
        let parsed = match text.strip_suffix('%') {
            Some(percent) => number(percent).map(|percent| Self::Fraction(percent / 100.0)),
            None => {
                let mut units = UNITS.iter();
                let unit = units.find_map(|(unit, bytes)| Some((ends_with(unit)?, *bytes)));
                let (digits, unit) = unit.unwrap_or((text, 1));
                let bytes = number(digits).map(|number| number * unit as f64);
                let bytes = bytes.filter(|bytes| (0.0..=u64::MAX as f64).contains(bytes));
                bytes.map(|bytes| Self::Bytes(bytes as u64))
            }
        };
        let budget = parsed.ok_or_else(|| {
            Error::invalid("parse_memory_budget", "not an amount of memory")
                .expected("such as 500MB, 1.5GiB or 50%")
                .got(format!("'{text}'"))
        })?;
        budget.validate()?;
        Ok(budget)
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
    fn budgets_are_read_as_people_write_them() {
        for (text, budget) in [
            ("500MB", MemoryBudget::Bytes(500_000_000)),
            ("1.5 GiB", MemoryBudget::Bytes(3 << 29)),
            ("64kb", MemoryBudget::Bytes(64_000)),
            ("12345", MemoryBudget::Bytes(12_345)),
            ("7B", MemoryBudget::Bytes(7)),
            ("50%", MemoryBudget::Fraction(0.5)),
        ] {
            assert_eq!(text.parse::<MemoryBudget>().unwrap(), budget, "{text}");
        }
        for text in [
            "", "MB", "0", "-1MB", "0%", "101%", "nan", "infGB", "5 XB", "é",
        ] {
            let error = text.parse::<MemoryBudget>().unwrap_err();
            assert!(error.is_bad_input(), "{text}");
        }
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
