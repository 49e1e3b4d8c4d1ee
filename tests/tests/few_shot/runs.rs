//! Whole runs on episodes: the steps that one would take, killed and gone on.

use std::ops::ControlFlow;

use forgeling::data::Split;
use forgeling::meta::{EpisodeTrainer, FitConfig, FitRun, FitSummary, Learner, Method};
use forgeling::train::weights::{NamedTensor, collect};
use forgeling::train::{EarlyStoppingConfig, EmaConfig, OptimizerConfig, TrainEvent};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::checkpoints::Memory;
use forgeling_tests::methods::{config, fit, glyphs};
use pollster::block_on;

fn cpu() -> Device {
    block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn values(model: &Learner) -> Vec<NamedTensor> {
    block_on(collect(model.model())).unwrap()
}

#[test]
fn a_run_takes_the_steps_that_one_would_take() {
    let data = glyphs(Split::Train).unwrap();
    for method in Method::ALL {
        let new = || Learner::new(&config(method), &cpu()).unwrap();
        let (mut whole, mut by_hand) = (new(), new());
        let mut losses = Vec::new();
        let fitted = whole.fit(&data, fit().unwrap(), |event| {
            losses.push(event.loss);
            ControlFlow::Continue(())
        });
        let steps = block_on(fitted).unwrap().steps;
        let mut trainer = EpisodeTrainer::new(fit().unwrap()).unwrap();
        let step = |_| block_on(trainer.step(&mut by_hand, &data)).unwrap().loss;
        let expected: Vec<f64> = (0..steps).map(step).collect();
        by_hand.finish(&data).unwrap();
        assert_eq!(losses, expected, "{method}");
        assert_eq!(values(&whole), values(&by_hand), "{method}");
        assert_eq!(whole.history().episodes, by_hand.history().episodes);
        assert_eq!(whole.history().loss, by_hand.history().loss);
    }
}

/// What one process does: the losses of its steps and validations, the model, and what is said of the run.
fn part(
    method: Method,
    config_of_run: FitConfig,
    memory: &mut Memory,
) -> (Vec<(usize, f64)>, Learner, FitSummary) {
    let (data, unseen) = (glyphs(Split::Train).unwrap(), glyphs(Split::Test).unwrap());
    let mut model = Learner::new(&config(method), &cpu()).unwrap();
    let mut told = Vec::new();
    let run = FitRun::on(&data)
        .validated_on("unseen", &unseen, 3)
        .saved_in(memory);
    let fitted = model.fit_run(run, config_of_run, |event| {
        match event {
            TrainEvent::Step(step) => told.push((step.step, step.loss)),
            TrainEvent::Validated {
                step,
                set,
                judges: true,
                validation,
            } if set == "unseen" && validation.examples == 3 => told.push((*step, validation.loss)),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let summary = block_on(fitted).unwrap();
    (told, model, summary)
}

#[test]
fn a_run_that_was_killed_goes_on_as_if_it_had_not_been() {
    const STEPS: usize = 7;
    let run = FitConfig {
        episodes: Some(2 * STEPS),
        optimizer: OptimizerConfig::default(),
        ema: Some(EmaConfig {
            decay: 0.9,
            warm_up: false,
        }),
        validate_every: 2,
        early_stopping: Some(EarlyStoppingConfig {
            patience: 99,
            ..Default::default()
        }),
        checkpoint_every: 3,
        ..fit().unwrap()
    };
    for method in Method::ALL {
        let mut all = Memory::default();
        let (told, model, summary) = part(method, run.clone(), &mut all);
        assert_eq!((summary.steps, summary.episodes), (STEPS, 2 * STEPS));
        assert!(summary.validation.is_some() && !summary.stopped);
        // After steps 3 and 6, and at the end.
        assert_eq!((told.len(), all.0.len()), (STEPS + 3, 3));
        for killed in 1..=3 {
            let mut left = Memory(all.0[..killed].to_vec());
            let (rest, again, gone_on) = part(method, run.clone(), &mut left);
            assert_eq!(rest, told[told.len() - rest.len()..], "{method}, {killed}");
            assert!(rest.iter().all(|(step, _)| *step > 3 * killed));
            assert_eq!(values(&again), values(&model), "{method}, {killed}");
            let counts = |summary: &FitSummary| (summary.steps, summary.episodes, summary.loss);
            assert_eq!(counts(&gone_on), counts(&summary), "{method}");
            assert_eq!(gone_on.validation, summary.validation, "{method}");
            let mut told_of = again.history().clone();
            told_of.seconds = model.history().seconds;
            assert_eq!(&told_of, model.history(), "{method}");
        }
    }
}

#[test]
fn a_run_that_no_longer_becomes_better_stops_and_keeps_the_best() {
    let run = FitConfig {
        episodes: Some(4000),
        optimizer: OptimizerConfig::default(),
        schedule: forgeling::train::HalvingSchedule {
            // So large that it spoils what is learned.
            initial: 0.3,
            every: 100_000,
        },
        validate_every: 5,
        early_stopping: Some(EarlyStoppingConfig {
            patience: 4,
            ..Default::default()
        }),
        checkpoint_every: 1000,
        ..fit().unwrap()
    };
    let mut memory = Memory::default();
    let (told, model, summary) = part(Method::ProtoNet, run.clone(), &mut memory);
    assert!(summary.steps < 2000 && !summary.stopped, "{summary:?}");
    assert!(told.len() > summary.steps);
    // A run that had stopped has stopped, and still has the best model.
    let (none, again, _) = part(Method::ProtoNet, run, &mut memory);
    assert!(none.is_empty());
    assert_eq!(values(&again), values(&model));
}
