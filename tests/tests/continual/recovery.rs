//! Runs whose data fails at any moment, also within a pass over a context, and what their checkpoints hold.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forgeling::continual::{
    Ended, Experiment, Kind, Outcome, Pace, Preset, RunEvent, Scenario, ScenarioConfig, Seeds,
    Setting, Strategy, StrategyName,
};
use forgeling::data::{Dataset, Glyphs, ImageShape, Rng, Split, Subset};
use forgeling::nn::zoo::MlpConfig;
use forgeling::train::{HardwareConfig, HardwareManager, TrainEvent};
use forgeling::{Device, DeviceChoice, Error, Result};
use pollster::block_on;

use super::common::Memory;

const CLASSES: usize = 4;
const CONTEXTS: usize = 2;
const PER_CLASS: usize = 30;
const BATCH: usize = 16;

/// Images that can be read so many times.
struct Failing {
    inner: Subset<Glyphs>,
    reads: Arc<AtomicUsize>,
    until: usize,
}

impl Dataset for Failing {
    fn class_count(&self) -> usize {
        self.inner.class_count()
    }

    fn class_name(&self, class: usize) -> String {
        self.inner.class_name(class)
    }

    fn class_len(&self, class: usize) -> usize {
        self.inner.class_len(class)
    }

    fn image_shape(&self) -> ImageShape {
        self.inner.image_shape()
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        if self.reads.fetch_add(1, Ordering::Relaxed) >= self.until {
            return Err(Error::bad_data("read_image", "the disk is gone"));
        }
        self.inner.read(class, example, out)
    }
}

/// Training images that fail after so many reads, which are counted.
fn experiment(
    name: StrategyName,
    hidden: usize,
    iterations: usize,
    until: usize,
) -> (Experiment, Arc<AtomicUsize>) {
    let glyphs = |split, count| {
        let glyphs = Glyphs::new(0, split, CLASSES).unwrap();
        Subset::first(glyphs.with_size(12).unwrap(), count).unwrap()
    };
    let reads = Arc::new(AtomicUsize::new(0));
    let train = Failing {
        inner: glyphs(Split::Train, PER_CLASS),
        reads: Arc::clone(&reads),
        until,
    };
    let config = ScenarioConfig {
        kind: Kind::split_evenly(CLASSES, CONTEXTS).unwrap(),
        setting: Setting::Class,
        class_order: None,
    };
    let scenario = Scenario::new(train, glyphs(Split::Test, 5), config).unwrap();
    let network = MlpConfig {
        input: scenario.image_shape().into(),
        hidden: vec![hidden],
        classes: scenario.outputs(),
    };
    let mut protocol = Preset::VanDeVen.protocol(name, &scenario, None);
    if let Pace::Iterations { .. } = protocol.pace {
        protocol.pace = Pace::Iterations {
            iterations,
            batch_size: BATCH,
        };
    }
    match &mut protocol.strategy {
        Strategy::Er(config) => config.examples = BATCH,
        Strategy::GDumb(config) => config.passes = 2,
        _ => {}
    }
    let seeds = Seeds::all(3);
    let experiment = Experiment::new(scenario, network.graph().unwrap(), protocol, seeds).unwrap();
    (experiment.saving_every(4), reads)
}

/// To its end, and how many reads there had been whenever the last step on a context was done.
fn run(
    experiment: &Experiment,
    memory: &mut Memory,
    reads: &AtomicUsize,
) -> (Result<Outcome>, Vec<usize>) {
    let device = block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let manager = HardwareManager::on(device, HardwareConfig::default()).unwrap();
    let mut last = Vec::new();
    let ended = experiment.run(manager, Some(memory), |event| {
        if matches!(event, RunEvent::Training(TrainEvent::Epoch { .. })) {
            last.push(reads.load(Ordering::Relaxed));
        }
        ControlFlow::Continue(())
    });
    let outcome = block_on(ended).map(|ended| match ended {
        Ended::Finished(outcome) => Outcome {
            seconds: 0.0,
            ..*outcome
        },
        Ended::Asked(_) => panic!("nobody asked"),
    });
    (outcome, last)
}

#[test]
fn a_run_whose_data_fails_at_any_moment_goes_on_to_the_same() {
    for name in [StrategyName::Ewc, StrategyName::Mas, StrategyName::Icarl] {
        let healthy = || experiment(name, 16, 20, usize::MAX);
        let (whole, reads) = healthy();
        let (outcome, ends) = run(&whole, &mut Memory::default(), &reads);
        let outcome = outcome.unwrap();
        let all = reads.load(Ordering::Relaxed);
        assert_eq!(ends.len(), CONTEXTS, "{name}: {ends:?}");
        // Within what each strategy does with a whole context at its end, and anywhere.
        let in_context = CLASSES / CONTEXTS * PER_CLASS;
        let within = ends
            .iter()
            .flat_map(|end| [1, in_context / 2, in_context - 1].map(|at| end + at));
        let mut rng = Rng::new(17);
        let anywhere = (0..4).map(|_| rng.below(all));
        for until in within.chain(anywhere) {
            let mut memory = Memory::default();
            let (failing, count) = experiment(name, 16, 20, until);
            let (failed, seen) = run(&failing, &mut memory, &count);
            let error = failed.expect_err("the data failed").to_string();
            assert!(error.contains("the disk is gone"), "{name}: {error}");
            // It failed where it was meant to: after the last step, before the next context.
            let expected = ends.iter().filter(|&&end| end <= until).count();
            assert_eq!(seen.len(), expected, "{name} at {until} of {ends:?}");
            let (again, reads) = healthy();
            let (resumed, _) = run(&again, &mut memory, &reads);
            assert_eq!(
                resumed.unwrap(),
                outcome,
                "{name} after {until} of {all} reads"
            );
        }
    }
}

/// Values of the network, those of Adam, the examples and what else the strategy keeps, and 1 % for all that describes them.
#[test]
fn checkpoints_hold_the_state_and_little_else() {
    for (name, text) in StrategyName::ALL {
        let (experiment, reads) = experiment(name, 600, 8, usize::MAX);
        let mut memory = Memory::default();
        let outcome = run(&experiment, &mut memory, &reads).0.unwrap();
        let optimizer = match experiment.protocol().strategy {
            Strategy::GDumb(_) | Strategy::ClosedForm { .. } => 0,
            _ => 2 * outcome.model_bytes,
        };
        let state = outcome.model_bytes + optimizer + outcome.buffer_bytes + outcome.state_bytes;
        let most = memory.0.iter().map(Vec::len).max().unwrap() as f64;
        assert!(
            most <= 1.01 * state as f64,
            "{text}: {most} bytes of a state of {state}"
        );
    }
}

/// Every step but those on the first context trains on as many examples of before as the protocol says.
#[test]
fn so_many_examples_are_replayed_in_each_step() {
    const ITERATIONS: usize = 20;
    let (experiment, reads) = experiment(StrategyName::Er, 16, ITERATIONS, usize::MAX);
    let outcome = run(&experiment, &mut Memory::default(), &reads).0.unwrap();
    let steps = CONTEXTS * ITERATIONS;
    assert_eq!(outcome.steps, steps);
    assert_eq!(outcome.examples_seen, (steps * BATCH) as u64);
    let replaying = (CONTEXTS - 1) * ITERATIONS;
    assert_eq!(outcome.examples_replayed, (replaying * BATCH) as u64);
}
