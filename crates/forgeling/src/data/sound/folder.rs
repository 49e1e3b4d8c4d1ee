//! One's own sounds: a folder with one folder per class.

use std::path::{Path, PathBuf};

use super::log_mel::LogMel;
use super::preparation::SoundPreparation;
use super::resample::Resampler;
use super::wav::Wav;
use crate::data::folder::{FileKind, LeftOut, Listed, classes_in, files_at};
use crate::data::image_set::ImageSet;
use crate::data::limits::{Budget, Limits};
use crate::error::{Error, Result};

const LOAD: &str = "load_sounds";
const LIST: &str = "list_sounds";

const SOUNDS: FileKind = FileKind {
    one: "sound",
    several: "sounds",
    endings: &["wav", "wave"],
};

/// How sound files are read.
///
/// ```
/// use forgeling::data::SoundOptions;
/// let options = SoundOptions { skip_broken: true, ..SoundOptions::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SoundOptions {
    /// How they become inputs. Files at another rate are resampled, by a sinc in a Hann window.
    pub preparation: SoundPreparation,
    /// Whether sounds that cannot be read are left out. Default: the first one is an error.
    pub skip_broken: bool,
    /// How much is read.
    pub limits: Limits,
}

/// What had to be done to sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// Those of which the middle was taken.
    pub cut: usize,
    /// Those that lie amid silence.
    pub padded: usize,
    /// Those that had another rate.
    pub resampled: usize,
}

/// For example `12 cut to their middle, 3 resampled`; empty where nothing was done.
impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.cut, "cut to their middle"),
            (self.padded, "padded with silence"),
            (self.resampled, "resampled"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

/// Sounds as inputs.
#[derive(Debug)]
pub struct Sounds {
    /// Each one's spectrogram of [`SoundPreparation::input_shape`], as bytes from 0 to 255.
    pub inputs: Vec<Result<Vec<u8>>>,
    /// What was done to them.
    pub heard: Heard,
}

impl Sounds {
    /// The same with values within 0 and 1.
    pub fn into_values(self) -> Vec<Result<Vec<f32>>> {
        let values = |bytes: Vec<u8>| bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let inputs = self.inputs.into_iter();
        inputs.map(|input| input.map(values)).collect()
    }
}

/// The sounds of a folder, and how they came about.
#[derive(Debug)]
pub struct SoundFolder {
    /// The spectrograms of each class.
    pub set: ImageSet,
    /// What was done to them.
    pub heard: Heard,
    /// What was not read.
    pub left_out: LeftOut,
}

/// Loads `dir/CLASS/*.wav`: integers of 8, 16, 24 or 32 bits or floating-point numbers of 32, of several channels the mean.
///
/// # Errors
/// When the folder cannot be listed, there is no class, or one without a sound; when a sound is no WAV file, cut off, or has
/// a sample that is not finite, and broken ones are not to be skipped; when no sound of a class can be read; when there is
/// more than the limits allow.
pub fn load(dir: impl AsRef<Path>, options: &SoundOptions) -> Result<SoundFolder> {
    let dir = dir.as_ref();
    let Listed {
        classes,
        mut left_out,
    } = classes_in(LOAD, dir, &SOUNDS, &options.limits)?;
    let mut reader = Reader::new(options)?;
    let mut set = ImageSet::new(options.preparation.input_shape()?)?;
    for (name, paths) in &classes {
        let class = set.add_class(name, None)?;
        let before = left_out.broken.len();
        for path in paths {
            match reader.read(path) {
                Ok(input) => {
                    reader.budget.take(input.len()).map_err(|e| e.path(dir))?;
                    set.push(class, &input)?;
                }
                Err(error) if options.skip_broken => left_out.broken.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        if left_out.broken.len() - before == paths.len() {
            let error = Error::bad_data(LOAD, "no sound of the class can be read");
            return Err(error.path(dir.join(name)));
        }
    }
    Ok(SoundFolder {
        set,
        heard: reader.heard,
        left_out,
    })
}

/// The sounds directly in `path`, sorted by name, and what else lies there; `path` itself where it is a file.
///
/// # Errors
/// When `path` cannot be read, or is a folder with an inner folder or without sounds.
pub fn list(path: impl AsRef<Path>) -> Result<(Vec<PathBuf>, LeftOut)> {
    files_at(LIST, path.as_ref(), &SOUNDS)
}

/// Reads sound files, each for itself.
///
/// # Errors
/// When the settings do not fit together, and when there is more than the limits allow.
pub fn read(paths: &[impl AsRef<Path>], options: &SoundOptions) -> Result<Sounds> {
    let mut reader = Reader::new(options)?;
    let mut inputs = Vec::with_capacity(paths.len());
    for path in paths {
        let input = reader.read(path.as_ref());
        if let Ok(input) = &input {
            reader.budget.take(input.len())?;
        }
        inputs.push(input);
    }
    Ok(Sounds {
        inputs,
        heard: reader.heard,
    })
}

struct Reader<'a> {
    options: &'a SoundOptions,
    front_end: LogMel,
    /// For the rate of the file before.
    resampler: Option<Resampler>,
    heard: Heard,
    budget: Budget,
}

impl<'a> Reader<'a> {
    fn new(options: &'a SoundOptions) -> Result<Self> {
        Ok(Self {
            options,
            front_end: options.preparation.front_end()?,
            resampler: None,
            heard: Heard::default(),
            budget: Budget::new(LOAD, &options.limits),
        })
    }

    fn read(&mut self, path: &Path) -> Result<Vec<u8>> {
        let wav = Wav::open(path, &self.options.limits)?;
        self.input(wav).map_err(|error| error.path(path))
    }

    fn input(&mut self, wav: Wav) -> Result<Vec<u8>> {
        let preparation = &self.options.preparation;
        let (rate, wanted) = (wav.sample_rate(), preparation.log_mel.sample_rate);
        let (clip, length) = if rate == wanted {
            let clip = wav.middle(preparation.samples)?;
            (clip.samples, clip.length)
        } else {
            let known = self.resampler.take();
            let known = known.filter(|known| (known.from, known.to) == (rate, wanted));
            let resampler = match known {
                Some(resampler) => resampler,
                None => Resampler::new(rate, wanted)?,
            };
            let clip = wav.middle(resampler.needed(preparation.samples))?;
            let resampled = resampler.run(&clip.samples);
            self.resampler = Some(resampler);
            let length = clip.length as u64 * u64::from(wanted) / u64::from(rate);
            (resampled, length as usize)
        };
        let spectrogram = self.front_end.spectrogram(&preparation.fit(&clip))?;
        self.heard.resampled += usize::from(rate != wanted);
        self.heard.cut += usize::from(length > preparation.samples);
        self.heard.padded += usize::from(length < preparation.samples);
        let byte = |value: f32| (value * 255.0).round() as u8;
        Ok(spectrogram.into_iter().map(byte).collect())
    }
}
