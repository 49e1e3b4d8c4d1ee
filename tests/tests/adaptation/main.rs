//! A trained model with a user's own examples.
//!
//! - `answers`: what is made of examples without training, and what bad ones come to.
//! - `fine_tune`: when training ends, and what it leaves as it was.
//! - `by_hand`: a head's training beside the same in plain numbers.
//! - `frozen`: a network trained for something else as an encoder, features that are kept, mirror images.
//! - `gain`: what a head and adapters are good for.
//! - `lora`: adapters by themselves.

mod answers;
mod by_hand;
mod fine_tune;
mod frozen;
mod gain;
mod lora;

use std::ops::ControlFlow;

use forgeling::data::{Dataset, Glyphs, Split};
use forgeling::meta::{
    Adaptation, Classifier, FineTuneConfig, Learner, LearnerConfig, LoraConfig, Method,
    MethodConfig, Prediction,
};
use forgeling::nn::zoo::Conv4Config;
use forgeling::{Device, DeviceChoice};

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

/// An untrained network for images of 8×8.
fn tiny(method: Method) -> Learner {
    tiny_on(method, &cpu())
}

fn tiny_on(method: Method, device: &Device) -> Learner {
    let encoder = Conv4Config {
        filters: 4,
        blocks: 2,
        size: 8,
        ..Default::default()
    };
    let config = LearnerConfig {
        seed: 3,
        ways: 3,
        ..LearnerConfig::new(MethodConfig::of(method, 7), encoder.graph().unwrap())
    };
    Learner::new(&config, device).unwrap()
}

/// Drawings of 8×8.
fn drawing(class: usize, example: usize) -> Vec<f32> {
    let glyphs = Glyphs::new(0, Split::Test, 10)
        .unwrap()
        .with_size(8)
        .unwrap();
    let mut image = vec![0.0; 64];
    glyphs.read(class, example, &mut image).unwrap();
    image
}

/// So many drawings of each class, as examples.
fn teach(classifier: &mut Classifier, shots: &[usize]) {
    for (class, &shots) in shots.iter().enumerate() {
        for example in 0..shots {
            let (label, image) = (class.to_string(), drawing(class, example));
            pollster::block_on(classifier.add(&label, &image)).unwrap();
        }
    }
}

fn head(epochs: usize) -> Adaptation {
    Adaptation::Head(FineTuneConfig {
        epochs,
        ..Default::default()
    })
}

fn lora(epochs: usize) -> Adaptation {
    let fine_tune = FineTuneConfig {
        epochs,
        ..Default::default()
    };
    Adaptation::Lora(LoraConfig {
        fine_tune,
        ..Default::default()
    })
}

fn classify(classifier: &mut Classifier, image: &[f32]) -> Vec<Prediction> {
    pollster::block_on(classifier.classify(image)).unwrap()
}

/// The probability of each class, in the order of the labels.
fn probabilities(classifier: &mut Classifier, image: &[f32]) -> Vec<f64> {
    let labels: Vec<String> = classifier.labels().map(str::to_string).collect();
    let found = classify(classifier, image);
    let of = |label: &String| {
        found
            .iter()
            .find(|p| p.label == *label)
            .unwrap()
            .probability
    };
    labels.iter().map(of).collect()
}

fn adapt(classifier: &mut Classifier) -> forgeling::Result<forgeling::meta::AdaptSummary> {
    pollster::block_on(classifier.adapt(|_| ControlFlow::Continue(())))
}
