//! Whole runs with every strategy.

use std::ops::ControlFlow;

use forgeling::continual::{
    Ended, Experiment, Kind, Outcome, Pace, Preset, Protocol, RunEvent, Scenario, ScenarioConfig,
    Seeds, Setting, Strategy, StrategyName,
};
use forgeling::data::{Glyphs, Split, Subset};
use forgeling::nn::graph::Graph;
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::{HardwareConfig, HardwareManager, Schedule, TrainEvent};
use forgeling::{Device, DeviceChoice, Result};
use pollster::block_on;

use super::common::Memory;

const CLASSES: usize = 6;
const CONTEXTS: usize = 3;
const ITERATIONS: usize = 120;

fn scenario(setting: Setting) -> Scenario {
    let glyphs = |split, count| {
        let glyphs = Glyphs::new(0, split, CLASSES)
            .unwrap()
            .with_size(12)
            .unwrap();
        Subset::first(glyphs, count).unwrap()
    };
    let config = ScenarioConfig {
        kind: Kind::split_evenly(CLASSES, CONTEXTS).unwrap(),
        setting,
        class_order: Some(1),
    };
    Scenario::new(glyphs(Split::Train, 40), glyphs(Split::Train, 20), config).unwrap()
}

fn graph(scenario: &Scenario) -> Graph {
    let config = MlpConfig {
        input: scenario.image_shape().into(),
        hidden: vec![64],
        classes: scenario.outputs(),
    };
    config.graph().unwrap()
}

fn protocol(preset: Preset, name: StrategyName, scenario: &Scenario) -> Protocol {
    let mut protocol = preset.protocol(name, scenario, None);
    let all = if name == StrategyName::Joint {
        CONTEXTS
    } else {
        1
    };
    if let Pace::Iterations { .. } = protocol.pace {
        protocol.pace = Pace::Iterations {
            iterations: ITERATIONS * all,
            batch_size: 16,
        };
        // So few steps are to be enough.
        protocol.schedule = Schedule::Constant { rate: 2e-3 };
    }
    match &mut protocol.strategy {
        Strategy::GDumb(config) => config.passes = 8,
        // The published ones are for MNIST, and leave nothing here that could still move.
        Strategy::Ewc(config) => config.lambda = 1.0,
        Strategy::Si(config) => config.c = 0.1,
        Strategy::Mas(config) => config.lambda = 0.1,
        _ => {}
    }
    protocol
}

fn experiment(preset: Preset, name: StrategyName, setting: Setting) -> Result<Experiment> {
    let scenario = scenario(setting);
    let protocol = protocol(preset, name, &scenario);
    let graph = graph(&scenario);
    Ok(Experiment::new(scenario, graph, protocol, Seeds::all(3))?.saving_every(7))
}

fn manager() -> HardwareManager {
    let device = block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    HardwareManager::on(device, HardwareConfig::default()).unwrap()
}

/// To its end, or stopped by the event of that number.
fn run(experiment: &Experiment, memory: &mut Memory, until: usize) -> Option<Outcome> {
    let mut seen = 0;
    let ended = experiment.run(manager(), Some(memory), |event| {
        seen += 1;
        let counts = !matches!(event, RunEvent::Training(TrainEvent::Saved { .. }));
        match counts && seen == until {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match block_on(ended).unwrap() {
        Ended::Finished(outcome) => Some(Outcome {
            seconds: 0.0,
            ..*outcome
        }),
        Ended::Asked(_) => None,
    }
}

fn whole(preset: Preset, name: StrategyName, setting: Setting) -> Outcome {
    let experiment = experiment(preset, name, setting).unwrap();
    run(&experiment, &mut Memory::default(), usize::MAX).unwrap()
}

#[test]
fn every_strategy_comes_to_an_end_and_learns_what_it_was_shown_last() {
    for preset in [Preset::VanDeVen, Preset::Mammoth] {
        for (name, text) in StrategyName::ALL {
            let outcome = whole(preset, name, Setting::Class);
            let accuracies = &outcome.accuracies;
            assert_eq!(accuracies.last.len(), CONTEXTS, "{text}");
            let joint = name == StrategyName::Joint;
            assert_eq!(accuracies.matrix.is_none(), joint, "{text}");
            if preset == Preset::VanDeVen {
                let last = accuracies.last[CONTEXTS - 1];
                assert!(last > 0.5, "{text}: {accuracies:?}");
            }
            let keeps = outcome.buffer_bytes > 0;
            let replays = matches!(
                name,
                StrategyName::Er
                    | StrategyName::ErAce
                    | StrategyName::Der
                    | StrategyName::Derpp
                    | StrategyName::Agem
                    | StrategyName::Gdumb
                    | StrategyName::Icarl
            );
            assert_eq!(keeps, replays, "{text}");
            assert_eq!(outcome.examples_replayed > 0, replays, "{text}");
            println!(
                "{preset:?} {text}: {:.3} {:?}",
                accuracies.average, accuracies.last
            );
        }
    }
}

#[test]
fn runs_that_are_stopped_go_on_bit_for_bit() {
    for (name, text) in StrategyName::ALL {
        let experiment = experiment(Preset::VanDeVen, name, Setting::Class).unwrap();
        let whole = run(&experiment, &mut Memory::default(), usize::MAX).unwrap();
        let mut memory = Memory::default();
        // Again and again. What was not saved is done anew, and must come to an end some time.
        let mut stops = 0;
        let outcome = loop {
            match run(&experiment, &mut memory, 7 * (1 + stops)) {
                Some(outcome) => break outcome,
                None => stops += 1,
            }
            assert!(stops < 100, "{text} comes to no end");
        };
        assert!(stops > 0, "{text} was never stopped");
        assert_eq!(outcome, whole, "{text}");
    }
}

#[test]
fn what_a_strategy_needs_is_asked_for_at_the_start() {
    for (name, text) in StrategyName::ALL {
        let free = experiment(Preset::Mammoth, name, Setting::Free);
        let needs = matches!(
            name,
            StrategyName::Icarl
                | StrategyName::Ewc
                | StrategyName::OnlineEwc
                | StrategyName::Si
                | StrategyName::Mas
                | StrategyName::Lwf
                | StrategyName::Cumulative
        );
        assert_eq!(free.is_err(), needs, "{text}: {:?}", free.err());
    }
    let refused = experiment(Preset::VanDeVen, StrategyName::Ewc, Setting::Free).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("contexts end") && text.contains("Free"),
        "{text}"
    );
}
