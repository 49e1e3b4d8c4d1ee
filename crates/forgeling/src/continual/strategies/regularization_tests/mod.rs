//! What is tested of the methods that keep parameters or answers.

mod importance;
mod learning;
mod lwf;
mod penalties;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::optim::GradientsParams;
use pollster::block_on;

use super::ByParameter;
use crate::Result;
use crate::continual::testing::{InMemory, cpu, pass, step, values};
use crate::continual::{
    ContinualBatch, ContinualLoss, Head, HeadKind, InOrder, Kind, Pace, Scenario, ScenarioConfig,
    Setting, Shows, Stream, StreamConfig,
};
use crate::data::{Glyphs, Split, Subset};
use crate::device::TensorDevice;
use crate::nn::Network;
use crate::nn::graph::Graph;
use crate::nn::zoo::MlpConfig;
use crate::train::parts::Method;
use crate::train::weights::{collect, load};
use crate::train::{
    HardwareConfig, HardwareManager, Run, Schedule, TrainEvent, Trainer, TrainerConfig,
};

type Strategy = dyn Method<Network, ContinualBatch>;

/// Values by the names of their parameters.
type Host = BTreeMap<String, Vec<f32>>;

const SIZE: usize = 8;

fn tracked() -> TensorDevice {
    cpu().autodiff()
}

fn host(of: &ByParameter) -> Host {
    let each = of.iter();
    each.map(|(name, tensor)| (name.to_string(), values(tensor.clone())))
        .collect()
}

fn scenario_of(setting: Setting, kind: Kind, classes: usize, per_class: usize) -> Scenario {
    let glyphs = |first: usize| {
        let glyphs = Glyphs::new(0, Split::Train, classes).unwrap();
        let examples = (0..classes).map(|_| (first..first + per_class).collect());
        Subset::new(glyphs.with_size(SIZE).unwrap(), examples.collect()).unwrap()
    };
    let config = ScenarioConfig {
        kind,
        setting,
        class_order: Some(3),
    };
    Scenario::new(glyphs(0), glyphs(per_class), config).unwrap()
}

/// Classes two by two.
fn pairs(setting: Setting, contexts: usize, per_class: usize) -> Scenario {
    let kind = Kind::split_evenly(2 * contexts, contexts).unwrap();
    scenario_of(setting, kind, 2 * contexts, per_class)
}

fn mlp(scenario: &Scenario, hidden: &[usize]) -> Graph {
    let config = MlpConfig {
        input: scenario.image_shape().into(),
        hidden: hidden.to_vec(),
        classes: scenario.outputs(),
    };
    config.graph().unwrap()
}

fn bits(network: &Network) -> Vec<u32> {
    let tensors = block_on(collect(network)).unwrap().into_iter();
    let values = tensors.flat_map(|tensor| tensor.values);
    values.map(f32::to_bits).collect()
}

/// The network with `change` of each value by its parameter's name and place.
fn changed(network: &Network, change: impl Fn(&str, usize, f32) -> f32) -> Network {
    let mut tensors = block_on(collect(network)).unwrap();
    for tensor in &mut tensors {
        for (place, value) in tensor.values.iter_mut().enumerate() {
            *value = change(&tensor.name, place, *value);
        }
    }
    load(network.clone(), tensors).unwrap()
}

/// What a method adds to the loss, with its gradients; there are none where it adds 0.
fn term(
    method: &Strategy,
    task: usize,
    model: &Network,
    batch: &ContinualBatch,
) -> Result<(f32, GradientsParams)> {
    let mut pass = pass();
    let term = method.term().expect("it adds to the loss");
    let loss = term.loss(&step(1, Some(task), None), model, batch, &mut pass)?;
    let value = values(loss.clone())[0];
    let gradients = match loss.is_tracked() {
        true => pass.backward(loss, model)?,
        false => GradientsParams::new(),
    };
    Ok((value, gradients))
}

/// All of these sets differ by less than a share of their largest number.
fn assert_close(found: &Host, expected: &Host, share: f32, what: &str) {
    assert!(found.keys().eq(expected.keys()), "{what}");
    for (name, expected) in expected {
        let found = &found[name];
        let largest = expected
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        assert_eq!(found.len(), expected.len(), "{what}, {name}");
        for (found, expected) in found.iter().zip(expected) {
            let apart = (found - expected).abs();
            assert!(
                apart <= share * largest,
                "{what}, {name}: {found} {expected}"
            );
        }
    }
}

/// How one learns in these tests.
struct Course {
    scenario: Scenario,
    head: HeadKind,
    hidden: usize,
    iterations: usize,
}

/// What became of it.
struct Learned {
    weights: Vec<u32>,
    /// How many of the first context's test examples are told apart in the end.
    first: f64,
}

impl Course {
    fn head(&self) -> Head {
        Head::new(self.head, &self.scenario).unwrap()
    }

    fn learn(&self, method: impl FnOnce(Head) -> Option<Box<Strategy>>) -> Learned {
        self.learn_until(None, &mut InMemory::default(), method)
    }

    /// With a method for this head, if one is given, until that step or to the end.
    fn learn_until(
        &self,
        until: Option<usize>,
        checkpoints: &mut InMemory,
        method: impl FnOnce(Head) -> Option<Box<Strategy>>,
    ) -> Learned {
        let head = self.head();
        let mut progress = head.progress();
        let mut method = method(head.clone());
        let pace = Pace::Iterations {
            iterations: self.iterations,
            batch_size: 16,
        };
        let config = StreamConfig {
            shows: Shows::Each,
            pace,
            seed: 5,
        };
        let mut stream = Stream::new(self.scenario.clone(), config).unwrap();
        let mut test = InOrder::new(&self.scenario, Split::Test, 0, 64).unwrap();
        let mut model = Network::new(&mlp(&self.scenario, &[self.hidden]), 1, &cpu());
        let config = TrainerConfig {
            epochs: Some(stream.epochs()),
            checkpoint_every: Some(4),
            schedule: Schedule::Constant { rate: 0.01 },
            ..Default::default()
        };
        let manager = HardwareManager::on(cpu(), HardwareConfig::default()).unwrap();
        let mut trainer = Trainer::new(config, manager).unwrap();
        let mut run = Run::on(&mut stream)
            .with_method(&mut progress)
            .validated_on("first", &mut test)
            .saved_in(checkpoints);
        if let Some(method) = &mut method {
            run = run.with_method(&mut **method);
        }
        let (mut first, loss) = (0.0, ContinualLoss::new(head));
        let fit = trainer.fit(&mut model, &loss, run, |event| {
            if let TrainEvent::Validated { validation, .. } = event {
                first = validation.accuracy.unwrap();
            }
            match event {
                TrainEvent::Step(step) if Some(step.step) == until => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        block_on(fit).unwrap();
        Learned {
            weights: bits(&model),
            first,
        }
    }
}
