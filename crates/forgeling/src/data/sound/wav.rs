//! WAV files.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::Path;

use hound::{SampleFormat, WavReader, WavSpec};

use crate::data::limits::{Limits, open};
use crate::error::{Error, Result};

const OPERATION: &str = "read_sound";

/// Rates that files are read at, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 1000..=384_000;

/// What of a file is kept.
pub(super) struct Clip {
    /// One value for each moment, from -1 to 1, of several channels their mean.
    pub samples: Vec<f32>,
    /// How long the whole is.
    pub length: usize,
}

/// An open file, of which no sample is read yet.
pub(super) struct Wav {
    reader: WavReader<BufReader<File>>,
    spec: WavSpec,
}

impl Wav {
    /// Reads the header of PCM of 8, 16, 24 or 32 bits, or of floating-point numbers of 32.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self> {
        let mut file = open(OPERATION, path)?;
        let io = |cause: std::io::Error| Error::io(OPERATION, path, &cause);
        let bytes = file.seek(SeekFrom::End(0)).map_err(io)?;
        file.rewind().map_err(io)?;
        if bytes > limits.entry_bytes {
            return Err(Error::bad_data(OPERATION, "the file is too large")
                .expected(format!("at most {} bytes", limits.entry_bytes))
                .got(bytes)
                .path(path));
        }
        Self::begin(file).map_err(|error| error.path(path))
    }

    fn begin(file: File) -> Result<Self> {
        let reader = WavReader::new(BufReader::new(file)).map_err(unreadable)?;
        let spec = reader.spec();
        let bits = spec.bits_per_sample;
        let known = match spec.sample_format {
            SampleFormat::Int => matches!(bits, 8 | 16 | 24 | 32),
            SampleFormat::Float => bits == 32,
        };
        if !known {
            return Err(Error::bad_data(OPERATION, "another kind of samples")
                .expected("integers of 8, 16, 24 or 32 bits, or floating-point numbers of 32")
                .got(format!("{:?} of {bits} bits", spec.sample_format)));
        }
        if !RATES.contains(&spec.sample_rate) {
            return Err(
                Error::bad_data(OPERATION, "the sample rate is out of range")
                    .expected(format!("{} to {} Hz", RATES.start(), RATES.end()))
                    .got(spec.sample_rate),
            );
        }
        Ok(Self { reader, spec })
    }

    pub fn sample_rate(&self) -> u32 {
        self.spec.sample_rate
    }

    /// Reads all of it, so that what is cut off is found, and keeps as many samples in its middle.
    pub fn middle(mut self, most: usize) -> Result<Clip> {
        let length = self.reader.duration() as usize;
        if length == 0 {
            return Err(Error::bad_data(OPERATION, "there is no sound").expected("samples"));
        }
        let first = length.saturating_sub(most) / 2;
        match self.spec.sample_format {
            SampleFormat::Int => {
                let scale = 1.0 / (1u64 << (self.spec.bits_per_sample - 1)) as f64;
                let values = self.reader.samples::<i32>();
                let values = values.map(|value| value.map(|value| f64::from(value) * scale));
                collect(values, self.spec.channels, first, most, length)
            }
            SampleFormat::Float => {
                let values = self.reader.samples::<f32>();
                let values = values.map(|value| value.map(f64::from));
                collect(values, self.spec.channels, first, most, length)
            }
        }
    }
}

/// The mean of the channels at each moment, of those from `first` on.
fn collect(
    mut values: impl Iterator<Item = hound::Result<f64>>,
    channels: u16,
    first: usize,
    most: usize,
    length: usize,
) -> Result<Clip> {
    let mut samples = Vec::new();
    for place in 0..length {
        let mut sum = 0.0;
        for _ in 0..channels {
            let cut = || Error::bad_data(OPERATION, "the file is cut off");
            let value = values.next().ok_or_else(cut)?.map_err(unreadable)?;
            if !value.is_finite() {
                let message = format!("sample {place} is not finite");
                return Err(Error::bad_data(OPERATION, message).got(value));
            }
            sum += value;
        }
        if (first..first.saturating_add(most)).contains(&place) {
            samples.push((sum / f64::from(channels)) as f32);
        }
    }
    Ok(Clip { samples, length })
}

fn unreadable(error: hound::Error) -> Error {
    Error::bad_data(OPERATION, format!("not a whole WAV file: {error}"))
}
