//! Bands of frequencies as wide as ears have them.

use serde::{Deserialize, Serialize};

use super::log_mel::LogMelConfig;
use crate::error::{Error, Result};

/// From Hz to mel, on which equal steps sound equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MelScale {
    /// `mel(f) = 2595 log10(1 + f / 700)`, O'Shaughnessy, *Speech Communication: Human and Machine*, 1987, as in HTK and
    /// torchaudio. The default.
    #[default]
    Htk,
    /// `mel(f) = 3 f / 200` below 1000 Hz and `15 + 27 ln(f / 1000) / ln(6.4)` from there on, as in Slaney's *Auditory
    /// Toolbox*, 1998, and librosa.
    Slaney,
}

/// Where the second half of Slaney's scale begins, and how steep the halves are.
const BREAK_HZ: f64 = 1000.0;
const BREAK_MEL: f64 = 15.0;
const HZ_OF_MEL: f64 = 200.0 / 3.0;
const STEPS_OF_BREAK: f64 = 27.0;
const BREAK_RATIO: f64 = 6.4;

impl MelScale {
    /// The mel of a frequency in Hz.
    pub fn mel(self, frequency: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * libm::log10(1.0 + frequency / 700.0),
            Self::Slaney if frequency < BREAK_HZ => frequency / HZ_OF_MEL,
            Self::Slaney => {
                let ratio = libm::log(frequency / BREAK_HZ) / libm::log(BREAK_RATIO);
                BREAK_MEL + STEPS_OF_BREAK * ratio
            }
        }
    }

    /// The frequency of a mel, in Hz.
    pub fn frequency(self, mel: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (libm::pow(10.0, mel / 2595.0) - 1.0),
            Self::Slaney if mel < BREAK_MEL => mel * HZ_OF_MEL,
            Self::Slaney => {
                let steps = (mel - BREAK_MEL) / STEPS_OF_BREAK;
                BREAK_HZ * libm::exp(steps * libm::log(BREAK_RATIO))
            }
        }
    }
}

/// A triangle over the frequencies of a transform.
#[derive(Debug, Clone)]
pub(super) struct Band {
    /// The first frequency with a weight above 0.
    pub first: usize,
    pub weights: Vec<f64>,
}

impl Band {
    /// The bands of settings whose numbers are within their ranges: triangles of height 1 over frequencies in Hz, each from
    /// the middle of the one before to that of the one after, the middles equally far apart in mel.
    pub fn all(operation: &'static str, config: &LogMelConfig) -> Result<Vec<Self>> {
        let (low, high) = (
            config.scale.mel(config.lowest),
            config.scale.mel(config.highest),
        );
        let corner = |index: usize| {
            let part = index as f64 / (config.mels + 1) as f64;
            config.scale.frequency(low + (high - low) * part)
        };
        let step = f64::from(config.sample_rate) / config.fft as f64;
        let band = |index: usize| {
            let (left, middle, right) = (corner(index), corner(index + 1), corner(index + 2));
            let weight = |bin: usize| {
                let frequency = bin as f64 * step;
                ((frequency - left) / (middle - left)).min((right - frequency) / (right - middle))
            };
            // Rounding of the corners decides nothing: what lies on one has the weight 0.
            let first = (left / step) as usize;
            let bins = (first..=config.fft / 2).map(|bin| (bin, weight(bin)));
            let mut bins = bins.skip_while(|(_, weight)| *weight <= 0.0).peekable();
            let first = bins.peek().map_or(0, |(bin, _)| *bin);
            let weights = bins.map(|(_, weight)| weight);
            let weights: Vec<f64> = weights.take_while(|weight| *weight > 0.0).collect();
            if weights.is_empty() {
                let message = format!("mel band {index} holds no frequency of the transform");
                return Err(Error::invalid(operation, message)
                    .expected("fewer mels or a larger fft")
                    .got(format!(
                        "{left:.1} to {right:.1} Hz in steps of {step:.1} Hz"
                    )));
            }
            Ok(Self { first, weights })
        };
        (0..config.mels).map(band).collect()
    }
}
