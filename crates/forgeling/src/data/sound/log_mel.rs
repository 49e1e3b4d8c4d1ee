//! From samples to a log-mel spectrogram.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::fourier::Fourier;
use super::mel::{Band, MelScale};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const CONFIG: &str = "log_mel_config";
const SPECTROGRAM: &str = "spectrogram";

/// More than any sound card gives, and any network here looks at.
const RATES: std::ops::RangeInclusive<u32> = 1000..=384_000;
const MAX_FFT: usize = 1 << 16;
const MAX_MELS: usize = 512;
const MAX_RANGE: f64 = 300.0;

/// What lies before the first sample and after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// Nothing: frames lie within the samples, `1 + (samples - fft) / hop` of them.
    None,
    /// Silence of half an `fft`, so that frame `t` has sample `t * hop` in its middle: `1 + samples / hop` frames.
    Silence,
    /// The samples mirrored at the first and the last, as far; so many frames, too. The default, as in PyTorch's `stft`.
    #[default]
    Mirror,
}

/// What of a frequency is summed into a band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spectrum {
    /// `|X|`
    Magnitude,
    /// `|X|²`. The default.
    #[default]
    Power,
}

/// How a [`LogMel`] hears. All that it does follows from these numbers and the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogMelConfig {
    /// Samples of a second. Default 16,000.
    pub sample_rate: u32,
    /// Samples of a frame's window. Default 400, which are 25 ms.
    pub window: usize,
    /// Samples from one frame to the next. Default 160, which are 10 ms.
    pub hop: usize,
    /// Size of the Fourier transform, a power of two and no less than the window, which lies in its middle. Default 512.
    pub fft: usize,
    /// What lies around the samples. Default: they are mirrored.
    pub padding: Padding,
    /// What is summed into bands. Default: the power.
    pub spectrum: Spectrum,
    /// Bands. Default 40.
    pub mels: usize,
    /// Where the lowest band begins, in Hz. Default 20.
    pub lowest: f64,
    /// Where the highest band ends, in Hz, at most half the sample rate. Default 8,000.
    pub highest: f64,
    /// The scale on which bands are equally wide. Default: that of HTK.
    pub scale: MelScale,
    /// The least that a band is taken to hold, in the unit of the spectrum. Default 1e-10.
    pub floor: f64,
    /// How far below the loudest value is 0, in dB. Default 80.
    pub range: f64,
}

impl Default for LogMelConfig {
    fn default() -> Self {
        Self {
            sample_rate: 16_000,
            window: 400,
            hop: 160,
            fft: 512,
            padding: Padding::default(),
            spectrum: Spectrum::default(),
            mels: 40,
            lowest: 20.0,
            highest: 8000.0,
            scale: MelScale::default(),
            floor: 1e-10,
            range: 80.0,
        }
    }
}

impl LogMelConfig {
    /// Checks that they fit together.
    ///
    /// # Errors
    /// When a number is out of its range, or a band is so narrow that no frequency of the transform lies in it.
    pub fn validate(&self) -> Result<()> {
        self.bands().map(|_| ())
    }

    fn bands(&self) -> Result<Vec<Band>> {
        let out_of_range = |name: &str| Error::invalid(CONFIG, format!("{name} is out of range"));
        if !RATES.contains(&self.sample_rate) {
            return Err(out_of_range("sample_rate")
                .expected(format!("{} to {} Hz", RATES.start(), RATES.end()))
                .got(self.sample_rate));
        }
        if !self.fft.is_power_of_two() || !(2..=MAX_FFT).contains(&self.fft) {
            return Err(out_of_range("fft")
                .expected(format!("a power of two from 2 to {MAX_FFT}"))
                .got(self.fft));
        }
        for (name, value, most) in [
            ("window", self.window, self.fft),
            ("hop", self.hop, self.fft),
            ("mels", self.mels, MAX_MELS),
        ] {
            if !(1..=most).contains(&value) {
                return Err(out_of_range(name)
                    .expected(format!("1 to {most}"))
                    .got(value));
            }
        }
        let nyquist = f64::from(self.sample_rate) / 2.0;
        if !(0.0 <= self.lowest && self.lowest < self.highest && self.highest <= nyquist) {
            return Err(Error::invalid(CONFIG, "the frequencies do not fit")
                .expected(format!("0 <= lowest < highest <= {nyquist} Hz"))
                .got(format!("{} to {}", self.lowest, self.highest)));
        }
        if !(self.floor.is_normal() && self.floor > 0.0) {
            return Err(out_of_range("floor").expected("above 0").got(self.floor));
        }
        if !(1.0..=MAX_RANGE).contains(&self.range) {
            let expected = format!("1 to {MAX_RANGE} dB");
            return Err(out_of_range("range").expected(expected).got(self.range));
        }
        Band::all(CONFIG, self)
    }

    /// The frames of so many samples.
    ///
    /// # Errors
    /// When there are too few for one, or to be mirrored; when `hop` is 0.
    pub fn frames(&self, samples: usize) -> Result<usize> {
        let least = match self.padding {
            Padding::None => self.fft,
            Padding::Silence => 1,
            Padding::Mirror => self.fft / 2 + 1,
        };
        let within = match self.padding {
            Padding::None => samples.checked_sub(self.fft),
            Padding::Silence | Padding::Mirror => Some(samples),
        };
        let hops = within.and_then(|within| within.checked_div(self.hop));
        match hops {
            Some(hops) if samples >= least => Ok(1 + hops),
            _ => Err(Error::invalid(SPECTROGRAM, "the sound is too short")
                .expected(format!("at least {least} samples"))
                .got(samples)),
        }
    }

    /// The spectrogram of so many samples as an image: one channel, a row for each band, the lowest first, and a column for
    /// each frame.
    ///
    /// # Errors
    /// As [`frames`](Self::frames).
    pub fn image_shape(&self, samples: usize) -> Result<ImageShape> {
        Ok(ImageShape::new(1, self.mels, self.frames(samples)?))
    }

    /// Decibels of what a band holds.
    fn decibels(&self, value: f64) -> f64 {
        let factor = match self.spectrum {
            Spectrum::Magnitude => 20.0,
            Spectrum::Power => 10.0,
        };
        factor * libm::log10(value.max(self.floor))
    }
}

/// Log-mel spectrograms, the usual front end for sounds.
///
/// Of frame `t`, with the window `w_n = (1 - cos(2 pi n / window)) / 2` (Hann's, periodic) and a triangle `b_m` of height 1
/// for each band:
///
/// ```text
/// X[k, t] = sum_n w_n x[t hop + n] exp(-2 pi i n k / fft)
/// L[m, t] = 10 log10(max(floor, sum_k b_m[k] |X[k, t]|^2))     of the power
/// L[m, t] = 20 log10(max(floor, sum_k b_m[k] |X[k, t]|))       of the magnitude
/// value   = max(0, 1 + (L[m, t] - top) / range)
/// ```
///
/// The middles of the triangles are equally far apart on the [`MelScale`], and each reaches from that of the one before to
/// that of the one after, in straight lines over Hz. `top` is the largest `L` of the sound, so that loud and quiet ones look
/// alike, but no less than `range` above that of the floor, so that silence is 0 everywhere and what is next to silence
/// stays dark.
///
/// Sums are in f64 and in a fixed order, and all functions are `libm`'s: the values are the same bits on every platform.
///
/// ```
/// use forgeling::data::{LogMel, LogMelConfig};
/// # fn main() -> forgeling::Result<()> {
/// let log_mel = LogMel::new(LogMelConfig::default())?;
/// let second: Vec<f32> = (0..16_000).map(|n| (n as f32 * 0.4).sin()).collect();
/// let values = log_mel.spectrogram(&second)?;
/// assert_eq!(log_mel.config().image_shape(16_000)?.len(), values.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LogMel {
    config: LogMelConfig,
    window: Vec<f64>,
    fourier: Fourier,
    bands: Vec<Band>,
}

impl LogMel {
    /// A front end with such settings.
    ///
    /// # Errors
    /// As [`LogMelConfig::validate`].
    pub fn new(config: LogMelConfig) -> Result<Self> {
        let bands = config.bands()?;
        let hann = |n: usize| 0.5 - 0.5 * libm::cos(TAU * n as f64 / config.window as f64);
        Ok(Self {
            config,
            window: (0..config.window).map(hann).collect(),
            fourier: Fourier::new(config.fft),
            bands,
        })
    }

    /// Its settings.
    pub fn config(&self) -> &LogMelConfig {
        &self.config
    }

    /// The spectrogram of samples from -1 to 1, `[mels, frames]`, with values within 0 and 1. Samples beyond that are taken
    /// as they are.
    ///
    /// # Errors
    /// When there are too few samples, and when one is not finite.
    pub fn spectrogram(&self, samples: &[f32]) -> Result<Vec<f32>> {
        let frames = self.config.frames(samples.len())?;
        if let Some(place) = samples.iter().position(|sample| !sample.is_finite()) {
            let message = format!("sample {place} is not finite");
            return Err(Error::bad_data(SPECTROGRAM, message).got(samples[place]));
        }
        let LogMelConfig { fft, hop, .. } = self.config;
        let before = match self.config.padding {
            Padding::None => 0,
            Padding::Silence | Padding::Mirror => fft / 2,
        };
        let beside = (fft - self.window.len()) / 2;
        let (mut real, mut imaginary) = (vec![0.0; fft], vec![0.0; fft]);
        let mut levels = vec![0.0; self.bands.len() * frames];
        for frame in 0..frames {
            real.fill(0.0);
            imaginary.fill(0.0);
            let windowed = real[beside..].iter_mut().zip(&self.window);
            for (n, (value, weight)) in windowed.enumerate() {
                *value = weight * self.sample(samples, frame * hop + beside + n, before);
            }
            self.fourier.run(&mut real, &mut imaginary);
            for (value, other) in real.iter_mut().zip(&imaginary) {
                let power = *value * *value + other * other;
                *value = match self.config.spectrum {
                    Spectrum::Magnitude => power.sqrt(),
                    Spectrum::Power => power,
                };
            }
            for (index, band) in self.bands.iter().enumerate() {
                let weighted = band.weights.iter().zip(&real[band.first..]);
                let sum: f64 = weighted.map(|(weight, value)| weight * value).sum();
                levels[index * frames + frame] = self.config.decibels(sum);
            }
        }
        Ok(self.scaled(&levels))
    }

    /// The sample at a place, counted from so many before the first.
    fn sample(&self, samples: &[f32], place: usize, before: usize) -> f64 {
        let last = samples.len() - 1;
        let mirrored = self.config.padding == Padding::Mirror;
        let place = match place.checked_sub(before) {
            Some(place) if place <= last => Some(place),
            Some(place) => (2 * last).checked_sub(place).filter(|_| mirrored),
            None => Some(before - place).filter(|_| mirrored),
        };
        place.map_or(0.0, |place| f64::from(samples[place]))
    }

    fn scaled(&self, levels: &[f64]) -> Vec<f32> {
        let range = self.config.range;
        let least = self.config.decibels(0.0) + range;
        let top = levels.iter().copied().fold(least, f64::max);
        let value = |level: &f64| (1.0 + (level - top) / range).max(0.0) as f32;
        levels.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f64, loudness: f64, samples: usize) -> Vec<f32> {
        let value = |n: usize| loudness * libm::sin(TAU * frequency * n as f64 / 16_000.0);
        (0..samples).map(|n| value(n) as f32).collect()
    }

    #[test]
    fn a_tone_is_in_the_band_of_its_frequency() {
        for scale in [MelScale::Htk, MelScale::Slaney] {
            let config = LogMelConfig {
                scale,
                ..Default::default()
            };
            let log_mel = LogMel::new(config).unwrap();
            let frames = config.frames(4000).unwrap();
            assert_eq!(frames, 26);
            let step = (scale.mel(8000.0) - scale.mel(20.0)) / 41.0;
            for band in [3, 17, 38] {
                let middle = scale.mel(20.0) + step * (band + 1) as f64;
                let samples = tone(scale.frequency(middle), 0.3, 4000);
                let values = log_mel.spectrogram(&samples).unwrap();
                for frame in 2..frames - 2 {
                    let column = |band: usize| values[band * frames + frame];
                    let loudest = (0..40).max_by(|&a, &b| column(a).total_cmp(&column(b)));
                    assert_eq!(loudest, Some(band), "{scale:?}");
                    assert!(column(band) > 0.99);
                    // A band far away hears what the window lets through.
                    let far = if band > 20 { band - 15 } else { band + 15 };
                    assert!(column(far) < 0.5, "{}", column(far));
                }
            }
        }
    }

    #[test]
    fn silence_is_dark_and_loudness_does_not_matter() {
        let log_mel = LogMel::new(LogMelConfig::default()).unwrap();
        let silence = log_mel.spectrogram(&[0.0; 2000]).unwrap();
        assert_eq!(silence, vec![0.0; 40 * 13]);
        let loud = log_mel.spectrogram(&tone(440.0, 0.8, 2000)).unwrap();
        let quiet = log_mel.spectrogram(&tone(440.0, 0.02, 2000)).unwrap();
        assert_eq!(loud.iter().copied().fold(0.0, f32::max), 1.0);
        let apart = loud.iter().zip(&quiet).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-3);
        // Noise of the least bits of 16 is not the loudest that there is.
        let hiss = log_mel.spectrogram(&tone(440.0, 1e-5, 2000)).unwrap();
        assert!(hiss.iter().all(|&value| value < 0.7));
        let enormous = log_mel.spectrogram(&[f32::MAX; 2000]).unwrap();
        assert!(enormous.iter().all(|value| (0.0..=1.0).contains(value)));
    }

    #[test]
    fn frames_are_as_many_as_told() {
        let frames = |padding, samples| {
            let config = LogMelConfig {
                padding,
                ..Default::default()
            };
            let shape = config.image_shape(samples);
            let values = LogMel::new(config)
                .unwrap()
                .spectrogram(&vec![0.5; samples]);
            assert_eq!(values.is_ok(), shape.is_ok());
            shape.map(|shape| (values.unwrap().len() / shape.height, shape.width))
        };
        assert_eq!(frames(Padding::None, 512).unwrap(), (1, 1));
        assert_eq!(frames(Padding::None, 672).unwrap(), (2, 2));
        assert_eq!(frames(Padding::Silence, 1).unwrap(), (1, 1));
        assert_eq!(frames(Padding::Silence, 159).unwrap(), (1, 1));
        assert_eq!(frames(Padding::Mirror, 16_000).unwrap(), (101, 101));
        assert_eq!(frames(Padding::Mirror, 257).unwrap(), (2, 2));
        for (padding, samples) in [
            (Padding::None, 511),
            (Padding::Silence, 0),
            (Padding::Mirror, 256),
        ] {
            let error = frames(padding, samples).unwrap_err().to_string();
            assert!(error.contains(&(samples + 1).to_string()), "{error}");
        }
    }

    #[test]
    fn bad_input_is_an_error() {
        let usual = LogMelConfig::default();
        let log_mel = LogMel::new(usual).unwrap();
        for wrong in [f32::NAN, f32::INFINITY] {
            let mut samples = vec![0.0; 1000];
            samples[321] = wrong;
            let error = log_mel.spectrogram(&samples).unwrap_err().to_string();
            assert!(error.contains("sample 321"), "{error}");
        }
        type Change = fn(&mut LogMelConfig);
        let wrong: [(&str, Change); 14] = [
            ("sample_rate", |config| config.sample_rate = 0),
            ("window", |config| config.window = 0),
            ("window", |config| config.window = 513),
            ("hop", |config| config.hop = 0),
            ("fft", |config| config.fft = 500),
            ("fft", |config| config.fft = 0),
            ("mels", |config| config.mels = 0),
            ("holds no frequency", |config| config.mels = 200),
            ("frequencies", |config| config.lowest = -1.0),
            ("frequencies", |config| config.lowest = f64::NAN),
            ("frequencies", |config| config.highest = 8000.1),
            ("holds no frequency", |config| config.lowest = 7999.9),
            ("floor", |config| config.floor = 0.0),
            ("range", |config| config.range = f64::INFINITY),
        ];
        for (part, change) in wrong {
            let mut config = usual;
            change(&mut config);
            let error = LogMel::new(config).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(part),
                "{error}"
            );
        }
    }
}
