//! WAV files, whole and broken.

use std::fs;
use std::path::{Path, PathBuf};

use forgeling::data::sound::{self, Sounds};
use forgeling::data::{
    Dataset, Limits, LogMelConfig, MelScale, Padding, Rng, SoundOptions, SoundPreparation,
};
use forgeling::{Error, Result};
use tempfile::TempDir;

/// How samples are stored: the tag of the format, and the bits.
type Format = (u16, u16);
const FLOAT: Format = (3, 32);
const FORMATS: [Format; 5] = [(1, 8), (1, 16), (1, 24), (1, 32), FLOAT];

fn wav((tag, bits): Format, rate: u32, channels: u16, samples: &[f32]) -> Vec<u8> {
    let mut data = Vec::new();
    for &sample in samples {
        let scaled = |bits: u32| (f64::from(sample) * f64::from(1u32 << (bits - 1))).round() as i64;
        match (tag, bits) {
            (3, _) => data.extend(sample.to_le_bytes()),
            (_, 8) => data.push((scaled(8) + 128) as u8),
            (_, bits) => {
                data.extend(&scaled(bits.into()).to_le_bytes()[..usize::from(bits) / 8]);
            }
        }
    }
    let block = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend([tag, channels].map(u16::to_le_bytes).concat());
    bytes.extend(
        [rate, rate * u32::from(block)]
            .map(u32::to_le_bytes)
            .concat(),
    );
    bytes.extend([block, bits].map(u16::to_le_bytes).concat());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn tone(frequency: f64, rate: u32, samples: usize) -> Vec<f32> {
    let step = std::f64::consts::TAU * frequency / f64::from(rate);
    (0..samples)
        .map(|n| (0.5 * (step * n as f64).sin()) as f32)
        .collect()
}

fn put(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn one(path: &Path, options: &SoundOptions) -> Result<Vec<u8>> {
    let Sounds { mut inputs, .. } = sound::read(&[path], options).unwrap();
    inputs.remove(0)
}

/// The largest difference of two spectrograms, as bytes.
fn apart(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    differences.max().unwrap()
}

#[test]
fn all_formats_sound_alike() {
    let dir = tempfile::tempdir().unwrap();
    let options = SoundOptions {
        preparation: SoundPreparation {
            log_mel: LogMelConfig {
                // Above what the tone gives, so that loudness counts.
                floor: 10.0,
                range: 30.0,
                ..Default::default()
            },
            ..Default::default()
        },
        ..Default::default()
    };
    let samples = tone(700.0, 16_000, 16_000);
    let path = put(&dir, "float.wav", &wav(FLOAT, 16_000, 1, &samples));
    let expected = one(&path, &options).unwrap();
    let front_end = options.preparation.front_end().unwrap();
    let own = front_end.spectrogram(&samples).unwrap();
    let own = own.iter().map(|value| (value * 255.0).round() as u8);
    assert_eq!(expected, own.collect::<Vec<_>>());
    assert!((200..230).contains(expected.iter().max().unwrap()));
    for format in FORMATS {
        // Steps of 8 bits are heard.
        let most = if format.1 == 8 { 30 } else { 1 };
        let bytes = wav(format, 16_000, 1, &samples);
        let path = put(&dir, "mono.wav", &bytes);
        assert!(
            apart(&one(&path, &options).unwrap(), &expected) <= most,
            "{format:?}"
        );
        // The mean of two channels is the tone.
        let channels = samples.iter().flat_map(|value| [value * 1.5, value * 0.5]);
        let bytes = wav(format, 16_000, 2, &channels.collect::<Vec<_>>());
        let path = put(&dir, "stereo.wav", &bytes);
        assert!(
            apart(&one(&path, &options).unwrap(), &expected) <= most,
            "{format:?}"
        );
    }
}

#[test]
fn lengths_and_rates_are_made_those_of_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let options = SoundOptions::default();
    let write = |name: &str, rate: u32, samples: usize| {
        put(
            &dir,
            name,
            &wav((1, 16), rate, 1, &tone(700.0, rate, samples)),
        )
    };
    let paths = [
        write("whole.wav", 16_000, 16_000),
        write("long.wav", 16_000, 40_000),
        write("short.wav", 16_000, 8000),
        write("fine.wav", 44_100, 44_100),
        write("coarse.wav", 8000, 24_000),
    ];
    let found = sound::read(&paths, &options).unwrap();
    assert_eq!(
        found.heard.to_string(),
        "2 cut to their middle, 1 padded with silence, 2 resampled"
    );
    let inputs: Vec<Vec<u8>> = found.inputs.into_iter().map(Result::unwrap).collect();
    // All is one tone: the loudest band of the middle is the same, and of the short one both ends are silent.
    let value = |input: &[u8], band: usize, frame: usize| input[band * 101 + frame];
    let loudest = |input: &[u8]| (0..40).max_by_key(|&band| value(input, band, 50));
    for (path, input) in paths.iter().zip(&inputs) {
        assert_eq!(input.len(), 40 * 101);
        assert_eq!(loudest(input), loudest(&inputs[0]), "{}", path.display());
    }
    let band = loudest(&inputs[0]).unwrap();
    let ends = |input: &[u8]| [5, 95].map(|frame| value(input, band, frame));
    assert_eq!(ends(&inputs[2]), [0, 0]);
    for index in [0, 1, 3, 4] {
        assert!(ends(&inputs[index]).iter().all(|&value| value > 230));
    }
}

#[test]
fn folders_are_classes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |frequency| wav((1, 16), 16_000, 1, &tone(frequency, 16_000, 4000));
    put(&dir, "low/a.wav", &bytes(200.0));
    put(&dir, "low/b.WAV", &bytes(250.0));
    put(&dir, "high/a.wav", &bytes(3000.0));
    put(&dir, "high/notes.txt", b"no sound");
    let options = SoundOptions::default();
    let found = sound::load(dir.path(), &options).unwrap();
    let names = [0, 1].map(|class| found.set.class_name(class));
    assert_eq!(names, ["high", "low"]);
    assert_eq!([0, 1].map(|class| found.set.class_len(class)), [1, 2]);
    assert_eq!(found.heard.padded, 3);
    assert_eq!(found.left_out.to_string(), "1 file left out: txt");
    let (listed, _) = sound::list(dir.path().join("low")).unwrap();
    assert_eq!(listed.len(), 2);

    // One that is cut off is an error, or left out; a class of nothing else is an error.
    put(&dir, "low/broken.wav", &bytes(200.0)[..5000]);
    let error = sound::load(dir.path(), &options).unwrap_err().to_string();
    assert!(error.contains("broken.wav"), "{error}");
    let skipping = SoundOptions {
        skip_broken: true,
        ..options
    };
    let found = sound::load(dir.path(), &skipping).unwrap();
    assert_eq!(found.set.class_len(1), 2);
    assert!(found.left_out.broken[0].contains("broken.wav"));
    put(&dir, "high/a.wav", b"RIFF");
    let error = sound::load(dir.path(), &skipping).unwrap_err().to_string();
    assert!(error.contains("high"), "{error}");
    fs::remove_file(dir.path().join("high/a.wav")).unwrap();
    let error = sound::load(dir.path(), &skipping).unwrap_err().to_string();
    assert!(error.contains("there is no sound"), "{error}");
}

#[test]
fn broken_files_are_errors_that_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let options = SoundOptions {
        preparation: SoundPreparation {
            samples: 700,
            ..Default::default()
        },
        ..Default::default()
    };
    let refused = |bytes: &[u8], part: &str| {
        let path = put(&dir, "sound.wav", bytes);
        let error: Error = one(&path, &options).unwrap_err();
        let text = error.to_string();
        assert!(error.is_bad_input() && text.contains("sound.wav"), "{text}");
        assert!(text.contains(part), "{text}");
    };
    for format in FORMATS {
        let whole = wav(format, 16_000, 2, &tone(700.0, 16_000, 1000));
        for length in (0..60).chain([whole.len() / 2, whole.len() - 1]) {
            refused(&whole[..length], "");
        }
    }
    refused(&wav((1, 16), 16_000, 1, &[]), "no sound");
    refused(&wav(FLOAT, 16_000, 1, &[0.0, f32::NAN]), "sample 1");
    refused(&wav((1, 16), 10, 1, &[0.5; 10]), "sample rate");
    refused(&wav((1, 16), 4_000_000, 1, &[0.5; 10]), "sample rate");
    refused(&wav((2, 16), 16_000, 1, &[0.5; 10]), "WAV");
    refused(b"ID3 something else, which is long enough", "WAV");
    // It claims four gigabytes.
    let mut claims = wav((1, 8), 16_000, 1, &[0.5; 100]);
    claims[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&claims, "");
    refused(&wav((1, 16), 383_999, 1, &[0.5; 100]), "rate");
    let small = SoundOptions {
        limits: Limits {
            entry_bytes: 100,
            ..Default::default()
        },
        ..options.clone()
    };
    let path = put(&dir, "large.wav", &wav((1, 16), 16_000, 1, &[0.5; 100]));
    let error = one(&path, &small).unwrap_err().to_string();
    assert!(error.contains("too large") && error.contains("large.wav"));
    assert!(one(dir.path(), &options).is_err());
}

#[test]
fn mutated_files_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let options = SoundOptions {
        preparation: SoundPreparation {
            samples: 300,
            log_mel: LogMelConfig {
                scale: MelScale::Slaney,
                padding: Padding::Silence,
                ..Default::default()
            },
            ..Default::default()
        },
        ..Default::default()
    };
    let mut rng = Rng::new(7);
    let (mut read, mut refused) = (0, 0);
    for round in 0..1000 {
        let format = FORMATS[round % FORMATS.len()];
        let mut bytes = wav(format, 16_000, 2, &tone(700.0, 16_000, 200));
        for _ in 0..1 + rng.below(3) {
            // Most in the header.
            let most = if rng.below(4) > 0 { 48 } else { bytes.len() };
            let place = rng.below(most);
            bytes[place] = rng.next_u64() as u8;
        }
        let path = put(&dir, "mutated.wav", &bytes);
        match one(&path, &options) {
            Ok(input) => {
                assert_eq!(input.len(), 40 * 2);
                read += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("mutated.wav"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(read > 100 && refused > 100, "{read} {refused}");
}
