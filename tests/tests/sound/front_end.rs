//! The front end against PyTorch's, by the values that `golden/log_mel.py` printed.

use forgeling::data::{LogMel, LogMelConfig, Rng};
use serde_json::Value;

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap()
}

fn samples(case: &Value) -> Vec<f32> {
    let [phase, loudness] = ["phase", "loudness"].map(|key| number(case, key));
    let sample = |i: usize| {
        let i = i as f64;
        let rising = (i * i * 0.0007 + phase).sin() * 0.6;
        let steady = (i * 12.9898 + phase * 78.233).sin() * 0.01;
        ((rising + steady) * loudness) as f32
    };
    (0..number(case, "samples") as usize).map(sample).collect()
}

#[test]
fn spectrograms_are_pytorchs() {
    let golden: Value = serde_json::from_str(include_str!("../../golden/log_mel.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    let config =
        |case: &Value| -> LogMelConfig { serde_json::from_value(case["config"].clone()).unwrap() };
    assert_eq!(config(&cases[0]), LogMelConfig::default());
    for (index, case) in cases.iter().enumerate() {
        let (config, samples) = (config(case), samples(case));
        let shape = config.image_shape(samples.len()).unwrap();
        assert_eq!(shape.width as f64, number(case, "frames"), "case {index}");
        let log_mel = LogMel::new(config).unwrap();
        let found = log_mel.spectrogram(&samples).unwrap();
        let values = case["values"].as_array().unwrap();
        assert_eq!(found.len(), values.len(), "case {index}");
        let pairs = found.iter().zip(values);
        let apart = pairs.map(|(a, b)| (f64::from(*a) - b.as_f64().unwrap()).abs());
        let worst = apart.fold(0.0, f64::max);
        eprintln!("case {index}: {worst:e}");
        assert!(worst < 1e-5, "case {index}: {worst}");
    }
}

/// A difference in the last bit of one value would change the sum.
#[test]
fn bits_are_the_same_everywhere() {
    let mut rng = Rng::new(5);
    let noise: Vec<f32> = (0..4000).map(|_| rng.range(-0.5, 0.5)).collect();
    let log_mel = LogMel::new(LogMelConfig::default()).unwrap();
    let values = log_mel.spectrogram(&noise).unwrap();
    let add = |sum: u64, value: &f32| sum.wrapping_mul(31).wrapping_add(value.to_bits().into());
    assert_eq!(values.iter().fold(0, add), 7_797_288_958_702_816_605);
}
