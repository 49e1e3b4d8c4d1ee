//! Options of layers that part an image into pathways and mix them again.

use serde::{Deserialize, Serialize};

use super::Shape;

/// Options of brightness. In JSON all may be left out.
///
/// A network that takes standardised images is told their constants here
/// ([`Graph::standardized`](super::Graph::standardized)), so that what comes out is always the luminance of red, green and
/// blue as they were before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Luminance {
    /// The colours' shares. Default BT.709.
    #[serde(skip_serializing_if = "is_usual")]
    pub standard: LuminanceStandard,
    /// What was subtracted from red, green and blue. Default 0 each.
    #[serde(skip_serializing_if = "are_zeros")]
    pub mean: [f64; 3],
    /// What they were then divided by. Default 1 each.
    #[serde(skip_serializing_if = "are_ones")]
    pub deviation: [f64; 3],
}

/// Which recommendation of the ITU says how much each colour adds to brightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LuminanceStandard {
    /// `0.2126 red + 0.7152 green + 0.0722 blue`, of the colours of today's screens (ITU-R BT.709). The default.
    #[default]
    Bt709,
    /// `0.299 red + 0.587 green + 0.114 blue`, of older televisions and of JPEG (ITU-R BT.601).
    Bt601,
}

impl LuminanceStandard {
    /// Of red, green and blue; 1 in all.
    pub const fn shares(self) -> [f64; 3] {
        match self {
            Self::Bt709 => [0.2126, 0.7152, 0.0722],
            Self::Bt601 => [0.299, 0.587, 0.114],
        }
    }
}

impl Default for Luminance {
    fn default() -> Self {
        Self {
            standard: LuminanceStandard::default(),
            mean: [0.0; 3],
            deviation: [1.0; 3],
        }
    }
}

impl Luminance {
    /// How much of what comes in counts, for each channel, and what is added.
    pub fn weights(&self) -> ([f64; 3], f64) {
        let shares = self.standard.shares();
        let of = |channel: usize| shares[channel] * self.deviation[channel];
        let added = shares.iter().zip(self.mean);
        let added = added.map(|(share, mean)| share * mean).sum();
        ([0, 1, 2].map(of), added)
    }

    pub(super) fn output(&self, input: Shape) -> Result<Shape, String> {
        // As they are on the device.
        let [mean, deviation] = [self.mean, self.deviation].map(|values| values.map(|x| x as f32));
        let usable = |deviation: &f32| *deviation > 0.0 && deviation.is_finite();
        if !mean.iter().all(|mean| mean.is_finite()) || !deviation.iter().all(usable) {
            return Err(format!(
                "a constant cannot be used: expected finite means, and finite deviations above 0, got {:?} and {:?}",
                self.mean, self.deviation
            ));
        }
        match input {
            Shape::Maps([3, rows, columns]) => Ok(Shape::Maps([1, rows, columns])),
            _ => Err(format!("expected maps of red, green and blue, got {input}")),
        }
    }
}

/// Some of the channels of maps, which lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channels {
    /// Channels before the first. Default 0.
    #[serde(default)]
    pub from: usize,
    /// How many.
    pub count: usize,
}

impl Channels {
    pub(super) fn output(&self, input: Shape) -> Result<Shape, String> {
        match input {
            Shape::Maps([channels, rows, columns])
                if self.from <= channels && (1..=channels - self.from).contains(&self.count) =>
            {
                Ok(Shape::Maps([self.count, rows, columns]))
            }
            _ => Err(format!(
                "expected maps of more than {} channels, of which {} are taken, got {input}",
                self.from, self.count
            )),
        }
    }
}

/// Options of a mix. Its values: `logits [inputs]`. In JSON all may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Mix {
    /// The weight that the last input starts with, above 0 and below 1; the others share what is left. Default: all start
    /// alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_share: Option<f64>,
}

impl Mix {
    /// What the logits of so many inputs start as.
    pub fn logits(&self, inputs: usize) -> Vec<f32> {
        let mut logits = vec![0.0; inputs];
        if let (Some(share), Some(last)) = (self.last_share, logits.last_mut()) {
            let others = inputs.saturating_sub(1) as f64;
            *last = libm::log(share * others / (1.0 - share)) as f32;
        }
        logits
    }

    pub(super) fn output(&self, inputs: &[Shape]) -> Result<Shape, String> {
        match self.last_share {
            Some(share) if !(1e-6..=1.0 - 1e-6).contains(&share) => Err(format!(
                "the last share is out of range: expected above 0 and below 1, got {share}"
            )),
            _ => equal(inputs),
        }
    }
}

/// The shape that all have.
pub(super) fn equal(inputs: &[Shape]) -> Result<Shape, String> {
    let first = inputs[0];
    match inputs.iter().find(|other| **other != first) {
        Some(other) => Err(format!("the inputs differ: expected {first}, got {other}")),
        None => Ok(first),
    }
}

fn is_usual(standard: &LuminanceStandard) -> bool {
    *standard == LuminanceStandard::default()
}
fn are_zeros(values: &[f64; 3]) -> bool {
    *values == [0.0; 3]
}
fn are_ones(values: &[f64; 3]) -> bool {
    *values == [1.0; 3]
}
