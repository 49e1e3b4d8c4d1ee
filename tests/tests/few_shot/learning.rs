//! Every method that adapts learns to tell unseen characters apart.

use std::ops::ControlFlow;

use forgeling::data::{Glyphs, Queries, Shots, Split};
use forgeling::meta::{EvaluateConfig, FitConfig, Learner, LearnerConfig, Method, MethodConfig};
use forgeling::nn::zoo::Conv4Config;
use forgeling::train::HalvingSchedule;
use forgeling::{Device, DeviceChoice};

/// 5-way 1-shot accuracy on unseen characters, before and after some training.
fn gain(method: Method, transductive: bool, episodes: usize) -> (f64, f64) {
    let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let [train, test] = [Split::Train, Split::Test]
        .map(|split| Glyphs::new(0, split, 200).unwrap().with_size(16).unwrap());
    let encoder = Conv4Config {
        filters: 12,
        blocks: 3,
        size: 16,
        ..Default::default()
    };
    let config = LearnerConfig {
        seed: 1,
        transductive,
        ..LearnerConfig::new(MethodConfig::of(method, 200), encoder.graph().unwrap())
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
    for (method, transductive, least) in [
        (Method::Maml, false, 0.08),
        (Method::FoMaml, false, 0.08),
        (Method::Anil, false, 0.05),
        (Method::Reptile, false, 0.04),
        (Method::MetaSgd, false, 0.08),
        (Method::MamlPP, false, 0.08),
        // Answers with running statistics.
        (Method::MamlPP, true, 0.08),
        (Method::IMaml, false, 0.05),
        (Method::FoBMaml, false, 0.05),
    ] {
        let (before, after) = gain(method, transductive, 640);
        let said = format!("{method}, {transductive}: {before:.3} to {after:.3}");
        eprintln!("{said}");
        if after < before + least {
            failed.push(said);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
