//! How clips of any length become inputs of a network.

use serde::{Deserialize, Serialize};

use super::log_mel::{LogMel, LogMelConfig, Padding};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const OPERATION: &str = "sound_preparation";

/// Twenty minutes at 16 kHz: more than a network looks at.
const MAX_SAMPLES: usize = 20_000_000;
/// As many as the zoo's networks take.
const MAX_FRAMES: usize = 1 << 20;

/// Where the bands of a spectrogram lie in an input. The values are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bands {
    /// In the rows of an image, `[1, mels, frames]`. The default.
    #[default]
    Rows,
    /// In the channels of a sequence of frames, `[mels, 1, frames]`.
    Channels,
}

/// How sounds were made inputs, as a model file keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoundPreparation {
    /// From samples to a spectrogram.
    pub log_mel: LogMelConfig,
    /// Samples that are listened to: of a longer clip the middle, and a shorter one amid silence. Default 16,000, a second.
    pub samples: usize,
    /// Where its bands lie.
    pub bands: Bands,
}

impl Default for SoundPreparation {
    fn default() -> Self {
        Self {
            log_mel: LogMelConfig::default(),
            samples: 16_000,
            bands: Bands::default(),
        }
    }
}

impl SoundPreparation {
    /// The usual settings with as many bands and frames as inputs of such a shape have: `[1, mels, frames]` or
    /// `[mels, 1, frames]`.
    ///
    /// # Errors
    /// When no spectrogram has this shape.
    pub fn for_input(shape: ImageShape) -> Result<Self> {
        let (mels, bands) = match (shape.channels, shape.height) {
            (1, mels) => (mels, Bands::Rows),
            (mels, 1) => (mels, Bands::Channels),
            _ => {
                return Err(Error::invalid(OPERATION, "a spectrogram has another shape")
                    .expected("[1, mels, frames] or [mels, 1, frames]")
                    .got(shape));
            }
        };
        if !(1..=MAX_FRAMES).contains(&shape.width) {
            return Err(Error::invalid(OPERATION, "frames are out of range")
                .expected(format!("1 to {MAX_FRAMES}"))
                .got(shape.width));
        }
        let log_mel = LogMelConfig {
            mels,
            ..Default::default()
        };
        let hops = (shape.width - 1).saturating_mul(log_mel.hop);
        let found = Self {
            log_mel,
            samples: match log_mel.padding {
                Padding::None => log_mel.fft.saturating_add(hops),
                // There is a frame more than hops.
                Padding::Silence | Padding::Mirror => hops.max(1),
            },
            bands,
        };
        found.validate()?;
        Ok(found)
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// As [`LogMelConfig::validate`], and when so many samples are too few or too many.
    pub fn validate(&self) -> Result<()> {
        self.log_mel.validate()?;
        if self.samples > MAX_SAMPLES {
            return Err(Error::invalid(OPERATION, "samples are out of range")
                .expected(format!("at most {MAX_SAMPLES}"))
                .got(self.samples));
        }
        self.input_shape().map(|_| ())
    }

    /// The shape of the inputs.
    ///
    /// # Errors
    /// As [`LogMelConfig::frames`].
    pub fn input_shape(&self) -> Result<ImageShape> {
        let rows = self.log_mel.image_shape(self.samples)?;
        Ok(match self.bands {
            Bands::Rows => rows,
            Bands::Channels => ImageShape::new(rows.height, 1, rows.width),
        })
    }

    /// The seconds that are listened to.
    pub fn seconds(&self) -> f64 {
        self.samples as f64 / f64::from(self.log_mel.sample_rate)
    }

    /// So many samples of a clip: the middle of a longer one, and a shorter one in the middle of silence.
    pub fn fit(&self, clip: &[f32]) -> Vec<f32> {
        let mut samples = vec![0.0; self.samples];
        let kept = clip.len().min(self.samples);
        let (from, to) = ((clip.len() - kept) / 2, (self.samples - kept) / 2);
        samples[to..to + kept].copy_from_slice(&clip[from..from + kept]);
        samples
    }

    /// The front end, to make inputs of clips that [fit](Self::fit).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn front_end(&self) -> Result<LogMel> {
        self.validate()?;
        LogMel::new(self.log_mel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_come_back() {
        let usual = SoundPreparation::default();
        assert_eq!(usual.input_shape().unwrap(), ImageShape::new(1, 40, 101));
        assert_eq!(usual.seconds(), 1.0);
        for shape in [
            ImageShape::new(1, 40, 101),
            ImageShape::new(40, 1, 101),
            ImageShape::new(1, 64, 33),
        ] {
            let found = SoundPreparation::for_input(shape).unwrap();
            assert_eq!(found.input_shape().unwrap(), shape);
        }
        assert_eq!(
            SoundPreparation::for_input(ImageShape::new(1, 40, 101)).unwrap(),
            usual
        );
        for wrong in [
            ImageShape::new(3, 32, 32),
            ImageShape::new(1, 40, 0),
            ImageShape::new(1, 40, 1),
            ImageShape::new(1, 400, 101),
            ImageShape::new(1, 0, 101),
            ImageShape::new(1, 40, usize::MAX),
            ImageShape::new(1, 40, MAX_FRAMES),
        ] {
            let error = SoundPreparation::for_input(wrong).unwrap_err();
            assert!(error.is_bad_input(), "{wrong}: {error}");
        }
    }

    #[test]
    fn clips_are_cut_to_their_middle_or_lie_in_that_of_silence() {
        let preparation = SoundPreparation {
            samples: 4,
            ..Default::default()
        };
        assert_eq!(preparation.fit(&[1.0, 2.0]), [0.0, 1.0, 2.0, 0.0]);
        assert_eq!(preparation.fit(&[1.0]), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(preparation.fit(&[]), [0.0; 4]);
        let long = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        assert_eq!(preparation.fit(&long), [2.0, 3.0, 4.0, 5.0]);
    }
}
