//! Networks tell invented sounds apart.

use std::f64::consts::TAU;

use forgeling::data::{
    Bands, Dataset, ImageSet, ImageShape, LogMel, LogMelConfig, MelScale, Rng, SoundPreparation,
};
use forgeling::nn::Network;
use forgeling::nn::zoo::SequenceConfig;
use forgeling::train::{ModelCard, SavedNetwork, TrainingHistory};

use crate::{cpu, trained};

const CLASSES: [&str; 4] = ["rising", "falling", "steady", "bursts"];
/// Half a second.
const SAMPLES: usize = 8000;

/// A sound of random pitch, length, place and loudness in noise.
fn clip(class: usize, rng: &mut Rng) -> Vec<f32> {
    let mut random = |low: f32, high: f32| f64::from(rng.range(low, high));
    let (loudness, noise) = (random(0.02, 0.8), random(0.01, 0.1));
    let (pitch, ratio, phase) = (random(300.0, 1500.0), random(1.5, 3.0), random(0.0, 6.3));
    let length = random(0.5, 0.9) * SAMPLES as f64;
    let begin = random(0.0, 1.0) * (SAMPLES as f64 - length);
    let beats = random(3.0, 6.0);
    let mut angle = phase;
    let mut samples = Vec::with_capacity(SAMPLES);
    for n in 0..SAMPLES {
        let part = (n as f64 - begin) / length;
        let sounds = (0.0..1.0).contains(&part);
        let frequency = match class {
            0 => pitch * ratio.powf(part),
            1 => pitch * ratio.powf(1.0 - part),
            _ => pitch * ratio.sqrt(),
        };
        angle += TAU * frequency / 16_000.0;
        let sound = match class {
            3 if (part * beats).fract() < 0.4 => f64::from(rng.normal()) * 0.5,
            3 => 0.0,
            _ => angle.sin(),
        };
        let background = noise * f64::from(rng.normal());
        let sound = if sounds { sound } else { 0.0 };
        samples.push((loudness * (sound + background)) as f32);
    }
    samples
}

/// So many spectrograms of each class, as a picture, or with the bands as channels of a sequence.
fn spectrograms(each: usize, seed: u64, sequence: bool) -> ImageSet {
    let log_mel = LogMel::new(LogMelConfig::default()).unwrap();
    let picture = log_mel.config().image_shape(SAMPLES).unwrap();
    assert_eq!(picture, ImageShape::new(1, 40, 51));
    let shape = match sequence {
        true => ImageShape::new(40, 1, 51),
        false => picture,
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (class, name) in CLASSES.iter().enumerate() {
        let mut rng = Rng::new(seed).fork(class as u64);
        for _ in 0..each {
            names.push(*name);
            values.extend(log_mel.spectrogram(&clip(class, &mut rng)).unwrap());
        }
    }
    ImageSet::from_f32(shape, &names, &values).unwrap()
}

/// The same with the last frame first.
fn backwards(set: &ImageSet) -> ImageSet {
    let shape = set.image_shape();
    let mut other = ImageSet::new(shape).unwrap();
    for class in 0..set.class_count() {
        other.add_class(set.class_name(class), None).unwrap();
        for example in 0..set.class_len(class) {
            let mut pixels = set.image(class, example).unwrap().to_vec();
            pixels
                .chunks_exact_mut(shape.width)
                .for_each(<[u8]>::reverse);
            other.push(class, &pixels).unwrap();
        }
    }
    other
}

fn learns(model: &str, width: usize, sequence: bool) {
    let train = spectrograms(200, 1, sequence);
    let test = spectrograms(50, 2, sequence);
    let trained = trained(model, width, 15, train);
    let (accuracy, of_classes) = trained.accuracy(test.clone());
    eprintln!("{model}: {accuracy} {of_classes:?}");
    assert!(accuracy >= 0.95, "{model}: {accuracy} {of_classes:?}");
    // What rises backwards falls, so that nothing but the order of frames tells the two apart.
    let (accuracy, of_classes) = trained.accuracy(backwards(&test));
    eprintln!("{model} backwards: {accuracy} {of_classes:?}");
    assert!(of_classes[0] < 0.1 && of_classes[1] < 0.1, "{of_classes:?}");
}

#[test]
fn pictures_of_sounds_are_told_apart() {
    learns("conv4", 8, false);
}

#[test]
fn sequences_of_bands_are_told_apart() {
    learns("conv1d", 32, true);
}

#[test]
fn model_files_keep_how_sounds_are_heard() {
    let sounds = SoundPreparation {
        log_mel: LogMelConfig {
            lowest: 55.5,
            scale: MelScale::Slaney,
            ..Default::default()
        },
        samples: SAMPLES,
        bands: Bands::Channels,
    };
    let config = SequenceConfig {
        input: sounds.input_shape().unwrap(),
        filters: 4,
        classes: 2,
    };
    let saved = SavedNetwork {
        model: "conv1d".into(),
        classes: ["a", "b"].map(String::from).to_vec(),
        pictures: None,
        sounds: Some(sounds),
        normalization: None,
        card: ModelCard::default(),
        history: TrainingHistory::default(),
        confidence: None,
        storage: Default::default(),
        network: Network::new(&config.graph().unwrap(), 0, &cpu()),
    };
    let bytes = pollster::block_on(saved.to_bytes()).unwrap();
    let back = SavedNetwork::from_bytes(&bytes, &cpu()).unwrap();
    assert_eq!(back.sounds, saved.sounds);
    // Settings that give other inputs than the network takes.
    let wrong = [
        SoundPreparation {
            samples: 2 * SAMPLES,
            ..sounds
        },
        SoundPreparation {
            bands: Bands::Rows,
            ..sounds
        },
    ];
    for wrong in wrong {
        let wrong = SavedNetwork {
            sounds: Some(wrong),
            ..saved.clone()
        };
        let error = pollster::block_on(wrong.to_bytes()).unwrap_err();
        assert!(error.to_string().contains("spectrograms"), "{error}");
    }
}
