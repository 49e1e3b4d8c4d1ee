//! Any network is an encoder for any method that can take it.

use std::ops::ControlFlow;

use forgeling::data::{Glyphs, Queries, Shots, Split};
use forgeling::meta::{EvaluateConfig, FitConfig, Learner, LearnerOptions, Method};
use forgeling::nn::catalog::{Architecture, MODELS};
use forgeling::train::HalvingSchedule;
use forgeling::{Device, DeviceChoice};

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn options(method: Method, model: &str, filters: usize) -> LearnerOptions {
    LearnerOptions {
        method,
        model: Architecture::named(model).unwrap(),
        filters: Some(filters),
        size: 16,
        seed: 0,
        classes: 100,
        ..Default::default()
    }
}

/// 5-way 1-shot accuracy on unseen characters, before and after some training.
fn gain(options: &LearnerOptions, batch: usize, episodes: usize, initial: f64) -> [f64; 2] {
    let [train, test] = [Split::Train, Split::Test]
        .map(|split| Glyphs::new(0, split, 1000).unwrap().with_size(16).unwrap());
    let mut model = Learner::new(&options.config().unwrap(), &cpu()).unwrap();
    let shots = Shots::new(1).unwrap();
    let evaluate = |model: &Learner| {
        let config = EvaluateConfig {
            shots,
            queries: Queries::new(5).unwrap(),
            episodes: 100,
            ..Default::default()
        };
        let found = pollster::block_on(model.evaluate(&test, config));
        found.unwrap().accuracy
    };
    let before = evaluate(&model);
    let fit = FitConfig {
        shots,
        queries: Queries::new(3).unwrap(),
        batch_episodes: batch,
        episodes: Some(episodes),
        schedule: HalvingSchedule {
            initial,
            every: 100_000,
        },
        ..Default::default()
    };
    pollster::block_on(model.fit(&train, fit, |_| ControlFlow::Continue(()))).unwrap();
    [before, evaluate(&model)]
}

/// The least gain of each, about half of what was measured.
#[test]
fn other_encoders_learn() {
    for (method, model, filters, batch, episodes, rate, least) in [
        (Method::ProtoNet, "resnet12", 8, 1, 150, 5e-3, 0.08),
        (Method::ProtoNet, "vit", 16, 1, 400, 3e-3, 0.1),
        (Method::Maml, "conv6", 16, 4, 640, 5e-3, 0.06),
        (Method::FoMaml, "resnet12", 6, 8, 320, 5e-3, 0.06),
    ] {
        let [before, after] = gain(&options(method, model, filters), batch, episodes, rate);
        let said = format!("{method} on {model}: {before:.3} to {after:.3}");
        eprintln!("{said}");
        assert!(after >= before + least, "{said}");
    }
}

/// A step of every method on every network, and its file.
#[test]
fn every_method_takes_every_network() {
    let data = Glyphs::new(0, Split::Train, 100)
        .unwrap()
        .with_size(16)
        .unwrap();
    let fit = |batch| FitConfig {
        shots: Shots::new(1).unwrap(),
        queries: Queries::new(1).unwrap(),
        batch_episodes: batch,
        episodes: Some(batch),
        ..Default::default()
    };
    for method in Method::ALL {
        for entry in &MODELS {
            let said = format!("{method} on {}", entry.name);
            let config = options(method, entry.name, 4).config();
            if entry.name == "conv1d" {
                let error = config.unwrap_err().to_string();
                assert!(error.contains("one row"), "{said}: {error}");
                continue;
            }
            let unknown = match entry.name {
                name if name.starts_with("vit") => Some("'embed' (patches)"),
                name if name.starts_with("integration") => Some("'integrate.0.mix' (mix)"),
                _ => None,
            };
            if let (true, Some(layer)) = (method.adapts(), unknown) {
                let error = config.unwrap_err().to_string();
                assert!(error.contains(layer), "{said}: {error}");
                continue;
            }
            let mut model = Learner::new(&config.unwrap(), &cpu()).unwrap();
            let fitted = model.fit(&data, fit(1), |_| ControlFlow::Continue(()));
            let summary = pollster::block_on(fitted).unwrap();
            assert!(summary.loss.is_finite(), "{said}");
            let bytes = pollster::block_on(model.to_bytes()).unwrap();
            let back = Learner::from_bytes(&bytes, &cpu()).unwrap();
            assert_eq!(back.config(), model.config(), "{said}");
            assert_eq!(back.counts(), model.counts(), "{said}");
        }
    }
}
