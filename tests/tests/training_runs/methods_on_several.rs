//! What methods add to the loop, on several devices and as ranks of several processes.

use std::ops::ControlFlow;

use burn::tensor::Device as Tensors;
use forgeling::parallel::{Local, ParallelConfig};
use forgeling::train::parts::{AfterStep, Method, Part, RunState, Sections};
use forgeling::train::{
    Batches, HardwareConfig, OptimizerConfig, Precision, Run, Schedule, SgdConfig, TrainEvent,
    TrainerConfig,
};
use forgeling::{Device, Result};
use forgeling_tests::{assert_close, devices};
use pollster::block_on;

use super::common::{Memory, cpu, losses, steps, trainer, values};
use super::methods::{
    AGem, Distance, Ewc, Examples, FIRST, Firsts, Mean, RATE, Reset, Tasks, mean, read,
};

const STEPS: usize = 13;

/// Who takes the steps.
enum By<'a> {
    One(&'a Device),
    Devices(&'a [Device]),
    Rank(Local),
}

/// What a run came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    losses: Vec<f64>,
    weights: Vec<f32>,
    importance: Vec<f32>,
    projected: usize,
    saved: usize,
}

fn config(count: usize) -> TrainerConfig {
    TrainerConfig {
        optimizer: OptimizerConfig::Sgd(SgdConfig {
            momentum: 0.9,
            clip_norm: Some(2.0),
            ..Default::default()
        }),
        schedule: Schedule::Constant { rate: RATE },
        checkpoint_every: Some(1),
        ..steps(count)
    }
}

/// A penalty, a projection and a reset together, everything anew as in another process.
fn train(by: By<'_>, hardware: HardwareConfig, memory: &mut Memory, count: usize) -> Outcome {
    let (mut ewc, mut rule, mut reset) = (Ewc::default(), AGem::default(), Reset::new());
    let (mut buffer, mut source) = (Firsts::default(), Tasks::new());
    let run = Run::on(&mut source)
        .saved_in(memory)
        .with_method(&mut ewc)
        .with_method(&mut rule)
        .with_method(&mut reset)
        .replaying(&mut buffer);
    let device = match &by {
        By::One(device) => (*device).clone(),
        By::Devices(devices) => devices[0].clone(),
        By::Rank(_) => cpu(),
    };
    let mut model = mean(&device);
    let mut trainer = trainer(&device, config(count), hardware);
    let mut events = Vec::new();
    let told = |event: &TrainEvent| {
        events.push(event.clone());
        ControlFlow::Continue(())
    };
    let parallel = ParallelConfig {
        check_every: 1,
        ..Default::default()
    };
    match by {
        By::One(_) => drop(block_on(trainer.fit(&mut model, &Distance, run, told)).unwrap()),
        By::Devices(devices) => {
            let fit = trainer.fit_on_devices(devices, parallel, &mut model, &Distance, run, told);
            block_on(fit).unwrap();
        }
        By::Rank(rank) => {
            let fit = trainer.fit_as_rank(rank, parallel, &mut model, &Distance, run, told);
            block_on(fit).unwrap();
        }
    }
    let [importance, _] = ewc.kept.expect("a task has ended");
    Outcome {
        losses: losses(&events),
        weights: values(&model),
        importance: block_on(read(importance)),
        projected: rule.projected,
        saved: memory.0.len(),
    }
}

fn halves() -> HardwareConfig {
    HardwareConfig {
        precision: Precision::F16,
        micro_batch: Some(1),
        ..Default::default()
    }
}

fn assert_alike(got: &Outcome, expected: &Outcome) {
    let lost = |of: &Outcome| {
        of.losses
            .iter()
            .map(|&loss| loss as f32)
            .collect::<Vec<f32>>()
    };
    assert_close("losses", &lost(got), &lost(expected), 1e-5);
    assert_close("weights", &got.weights, &expected.weights, 1e-5);
    assert_close("importance", &got.importance, &expected.importance, 1e-5);
    assert_eq!(got.projected, expected.projected);
}

/// Batches have two examples, so that the third of three devices has none in a step, and takes it all the same.
#[test]
fn several_devices_train_with_methods_as_one() {
    for device in devices() {
        for hardware in [HardwareConfig::default(), halves()] {
            let run = |by: By<'_>| train(by, hardware.clone(), &mut Memory::default(), STEPS);
            let one = run(By::One(&device));
            assert!(one.projected > 0 && one.importance.iter().all(|value| *value > 0.0));
            for count in 1..=3 {
                let all: Vec<Device> = (0..count)
                    .map(|_| block_on(device.open_another()).unwrap())
                    .collect();
                assert_alike(&run(By::Devices(&all)), &one);
            }
        }
    }
}

#[test]
fn ranks_train_with_methods_as_one() {
    let device = cpu();
    let one = train(
        By::One(&device),
        HardwareConfig::default(),
        &mut Memory::default(),
        STEPS,
    );
    for count in 1..=3 {
        let ranks = Local::group(count).into_iter();
        let as_rank = |rank| {
            let mut memory = Memory::default();
            train(
                By::Rank(rank),
                HardwareConfig::default(),
                &mut memory,
                STEPS,
            )
        };
        let results: Vec<Outcome> = std::thread::scope(|scope| {
            let threads: Vec<_> = ranks.map(|rank| scope.spawn(|| as_rank(rank))).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect()
        });
        assert_eq!(results.iter().filter(|result| result.saved > 0).count(), 1);
        for result in &results {
            assert_alike(result, &one);
        }
    }
}

#[test]
fn runs_with_methods_on_several_devices_go_on_bit_for_bit() {
    let all = [cpu(), cpu()];
    let run = |memory: &mut Memory| train(By::Devices(&all), halves(), memory, STEPS);
    let mut kept = Memory::default();
    let whole = run(&mut kept);
    for killed in 1..kept.0.len() {
        let mut left = Memory(kept.0[..killed].to_vec());
        let resumed = run(&mut left);
        let rest = &whole.losses[STEPS - resumed.losses.len()..];
        assert_eq!(
            (&resumed.losses[..], &resumed.weights),
            (rest, &whole.weights),
            "{killed}"
        );
        assert_eq!(
            (&resumed.importance, resumed.projected),
            (&whole.importance, whole.projected)
        );
    }
}

/// What has no replica.
struct Alone(Reset);

impl RunState for Alone {
    fn save(&self, to: &mut Sections) -> Result<()> {
        self.0.save(to)
    }

    fn load(&mut self, from: &Sections, device: &Tensors) -> Result<()> {
        self.0.load(from, device)
    }
}

impl Part<Mean> for Alone {
    fn name(&self) -> &str {
        "alone"
    }
}

impl Method<Mean, Examples> for Alone {
    fn after_step(&mut self) -> Option<&mut dyn AfterStep<Mean, Examples>> {
        Some(&mut self.0)
    }
}

#[test]
fn a_method_without_replicas_is_refused_at_the_start() {
    let all = [cpu(), cpu()];
    let mut source = Batches::new(vec![vec![[1.0, 1.0]]]);
    let mut trainer = trainer(&all[0], config(2), HardwareConfig::default());
    let (mut model, mut alone) = (mean(&all[0]), Alone(Reset::new()));
    let run = Run::on(&mut source).with_method(&mut alone);
    let nothing = |_: &TrainEvent| ControlFlow::Continue(());
    let parallel = ParallelConfig::default();
    let fit = trainer.fit_on_devices(&all, parallel, &mut model, &Distance, run, nothing);
    let error = block_on(fit).unwrap_err();
    assert!(error.is_bad_input());
    for word in ["'alone'", "one device", "several devices"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!((values(&model), alone.0.seen.len()), (FIRST.to_vec(), 0));
}
