//! Every method that adapts learns to tell unseen characters apart.

use std::ops::ControlFlow;

use forgeling::data::{Glyphs, Queries, Shots, Split};
use forgeling::meta::{
    EncoderConfig, EvaluateConfig, FitConfig, Learner, LearnerConfig, Method, MethodConfig,
};
use forgeling::nn::Conv4Config;
use forgeling::train::HalvingSchedule;
use forgeling::{Device, DeviceChoice};

/// 5-way 1-shot accuracy on unseen characters, before and after some training.
fn gain(method: Method, episodes: usize) -> (f64, f64) {
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let [train, test] = [Split::Train, Split::Test]
        .map(|split| Glyphs::new(0, split, 200).unwrap().with_size(16).unwrap());
    let encoder = Conv4Config {
        filters: 12,
        blocks: 3,
        size: 16,
        seed: 1,
        ..Default::default()
    };
    let config = LearnerConfig {
        method: MethodConfig::of(method, 200),
        encoder: EncoderConfig::Conv4(encoder),
        ..Default::default()
    };
    let mut model = Learner::new(&config, &device).unwrap();
    let shots = Shots::new(1).unwrap();
    let evaluate = |model: &Learner| {
        let config = EvaluateConfig {
            shots,
            queries: Queries::new(5).unwrap(),
            episodes: 100,
            ..Default::default()
        };
        pollster::block_on(model.evaluate(&test, config))
            .unwrap()
            .accuracy
    };
    let before = evaluate(&model);
    let fit = FitConfig {
        shots,
        queries: Queries::new(3).unwrap(),
        batch_episodes: 8,
        episodes: Some(episodes),
        schedule: HalvingSchedule {
            initial: 5e-3,
            every: 100_000,
        },
        ..Default::default()
    };
    pollster::block_on(model.fit(&train, fit, |_| ControlFlow::Continue(()))).unwrap();
    (before, evaluate(&model))
}

/// The least gain of each, about half of what was measured.
#[test]
fn adapting_methods_learn() {
    let mut failed: Vec<String> = Vec::new();
    for (method, least) in [
        (Method::Maml, 0.08),
        (Method::FoMaml, 0.08),
        (Method::Anil, 0.05),
        (Method::Reptile, 0.04),
        (Method::MetaSgd, 0.08),
        (Method::MamlPP, 0.08),
        (Method::IMaml, 0.05),
        (Method::FoBMaml, 0.05),
    ] {
        let (before, after) = gain(method, 640);
        eprintln!("{method}: {before:.3} to {after:.3}");
        if after < before + least {
            failed.push(format!("{method}: {before:.3} to {after:.3}"));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
