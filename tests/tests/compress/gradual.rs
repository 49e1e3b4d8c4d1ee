//! Pruned in steps, with training and a teacher: accuracy comes back, which it does not with the wrong channels.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use forgeling::Device;
use forgeling::compress::{
    Criterion, GradualConfig, HeadPruning, PrunedGroup, PruningConfig, PruningEvent, PruningPlan,
    PruningTarget, loss_gradients, prune_gradually,
};
use forgeling::data::{Glyphs, ImageBatch, Loader, LoaderConfig, Split, Subset};
use forgeling::nn::graph::{Builder, Conv2d, Graph, Layer, Linear, Norm, Shape, Window};
use forgeling::nn::{Network, Normalization, Pass};
use forgeling::train::parts::{LossTerm, Method, Sections, StepContext};
use forgeling::train::weights::collect;
use forgeling::train::{
    CrossEntropy, Distillation, DistillationConfig, Epochs, HardwareConfig, HardwareManager, Run,
    Schedule, TrainEvent, Trainer, TrainerConfig,
};
use forgeling_tests::networks::outputs;
use pollster::block_on;

use crate::common::cpu;

const CLASSES: usize = 8;
const SIZE: usize = 16;

/// Drawings of a few characters, 40 of each to train on and 40 others to test.
pub fn glyphs(test: bool, seed: u64) -> Epochs {
    let glyphs = Glyphs::new(0, Split::Train, CLASSES).unwrap();
    let glyphs = Subset::first(glyphs.with_size(SIZE).unwrap(), 80).unwrap();
    let (train, rest) = glyphs.split(0.5, 0).unwrap();
    let config = LoaderConfig {
        batch_size: 32,
        seed,
        ..Default::default()
    };
    Epochs::of(Loader::new(Arc::new(if test { rest } else { train }), config).unwrap())
}

/// Convolutions with norms, flattened into neurons.
fn graph() -> Graph {
    let mut graph = Builder::new(Shape::Maps([1, SIZE, SIZE])).unwrap();
    for (index, filters) in [12, 16].into_iter().enumerate() {
        let name = |part: &str| format!("blocks.{index}{part}");
        let conv = Conv2d::new(filters, 3).same();
        graph.then(name(""), Layer::Conv2d(conv)).unwrap();
        let norm = Layer::BatchNorm(Norm::default());
        graph.then(name(".norm"), norm).unwrap();
        graph.then(name(".relu"), Layer::Relu).unwrap();
        let pool = Layer::MaxPool(Window::default());
        graph.then(name(".pool"), pool).unwrap();
    }
    graph.then("flatten", Layer::Flatten).unwrap();
    graph
        .then("hidden", Layer::Linear(Linear::new(24)))
        .unwrap();
    graph.then("relu", Layer::Relu).unwrap();
    graph
        .then("head", Layer::Linear(Linear::new(CLASSES)))
        .unwrap();
    graph.finish().unwrap()
}

pub fn manager(device: &Device) -> HardwareManager {
    HardwareManager::on(device.clone(), HardwareConfig::default()).unwrap()
}

pub fn config(epochs: usize, rate: f64) -> TrainerConfig {
    TrainerConfig {
        epochs: Some(epochs),
        schedule: Schedule::Constant { rate },
        ..Default::default()
    }
}

fn train(network: &mut Network, device: &Device, epochs: usize, rate: f64) {
    let mut trainer = Trainer::new(config(epochs, rate), manager(device)).unwrap();
    let mut source = glyphs(false, 7);
    let run = Run::on(&mut source);
    let keep_on = |_: &TrainEvent| ControlFlow::Continue(());
    block_on(trainer.fit(network, &CrossEntropy, run, keep_on)).unwrap();
}

pub fn accuracy(network: &Network, device: &Device) -> f64 {
    let trainer = Trainer::new(config(1, 1e-3), manager(device)).unwrap();
    let mut held_out = glyphs(true, 0);
    let found = trainer.validate(network, &CrossEntropy, &mut held_out);
    block_on(found).unwrap().accuracy.unwrap()
}

pub fn trained(device: &Device) -> Network {
    let mut network = Network::new(&graph(), 1, device);
    train(&mut network, device, 12, 3e-3);
    network
}

#[test]
fn half_of_the_channels_recovers_and_the_wrong_half_does_not() {
    let device = cpu();
    let network = trained(&device);
    let before = accuracy(&network, &device);
    let mut source = glyphs(false, 3);
    let mut batches: Vec<ImageBatch> = Vec::new();
    while let Some(batch) = block_on(forgeling::train::Source::next(&mut source)).unwrap() {
        batches.push(batch);
    }
    let gradients = loss_gradients(&network, &CrossEntropy, &batches, &device).unwrap();
    let half = PruningConfig::default();
    let plan = block_on(PruningPlan::of(&network, &half, Some(&gradients))).unwrap();
    // The other half: as if scores were taken the wrong way round.
    let others: Vec<PrunedGroup> = plan
        .groups
        .iter()
        .map(|group| PrunedGroup {
            removed: (0..group.channels)
                .filter(|one| !group.removed.contains(one))
                .collect(),
            ..group.clone()
        })
        .collect();
    let wrong = PruningPlan::by_hand(&graph(), HeadPruning::default(), &others).unwrap();
    assert_eq!(wrong.after, plan.after);
    let measured = |plan: &PruningPlan| {
        let mut pruned = plan.apply(&network).unwrap();
        let at_once = accuracy(&pruned, &device);
        train(&mut pruned, &device, 6, 3e-3);
        [at_once, accuracy(&pruned, &device)]
    };
    let (right, wrong) = (measured(&plan), measured(&wrong));
    assert!(before > 0.9, "{before}");
    // 93 % become 42 and, trained, 88; with the wrong half 15 and 30.
    assert!(right[0] > wrong[0] + 0.15, "{right:?} {wrong:?}");
    assert!(right[1] > before - 0.1, "{right:?} of {before}");
    assert!(wrong[1] < before - 0.3, "{wrong:?} of {before}");
}

#[test]
fn steps_reach_the_target_and_training_goes_on() {
    let device = cpu();
    let original = trained(&device);
    let mut teacher = Distillation::new(&original, DistillationConfig::default()).unwrap();
    let gradual = GradualConfig {
        pruning: PruningConfig {
            target: PruningTarget::Values(0.8),
            ..Default::default()
        },
        steps: 3,
        training: config(3, 3e-3),
        gradient_batches: 4,
    };
    let fractions = gradual.fractions();
    let expected = [19.0 / 27.0, 26.0 / 27.0, 1.0].map(|part| 0.8 * part);
    let apart = fractions.iter().zip(expected).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f64::max) < 1e-12, "{fractions:?}");
    let mut network = original.clone();
    let mut source = glyphs(false, 5);
    let mut planned = Vec::new();
    let mut trained_steps = 0;
    let steps = prune_gradually(
        &mut network,
        manager(&device),
        &CrossEntropy,
        &mut source,
        Some(&mut teacher),
        &gradual,
        |event| {
            match event {
                PruningEvent::Planned(step, plan) => planned.push((*step, plan.after.values)),
                PruningEvent::Training(TrainEvent::Step(_)) => trained_steps += 1,
                PruningEvent::Training(_) => {}
            }
            ControlFlow::Continue(())
        },
    );
    let steps = block_on(steps).unwrap();
    let whole = graph().trained_values() as f64;
    assert_eq!(steps.len(), 3);
    // 320 images in batches of 32, three times after each step.
    assert_eq!(trained_steps, 3 * 3 * 10);
    for (step, fraction) in steps.iter().zip(&fractions) {
        let gone = 1.0 - step.plan.after.values as f64 / whole;
        assert!(
            gone >= *fraction && gone < fraction + 0.1,
            "{gone} of {fraction}"
        );
        assert_eq!(step.training.epochs, 3);
    }
    assert_eq!(planned.len(), 3);
    assert_eq!(network.graph().trained_values(), planned[2].1);
    assert_eq!(steps[2].plan.after.values, planned[2].1);
    let after = accuracy(&network, &device);
    // 90 %, of 93, with a fifth of the values.
    assert!(after > 0.8, "{after}");

    // Stopped in the training after the first step, it is the network of that step.
    let mut network = original.clone();
    let (mut epochs, mut source) = (0, glyphs(false, 5));
    let stopped = prune_gradually(
        &mut network,
        manager(&device),
        &CrossEntropy,
        &mut source,
        None,
        &gradual,
        |event| {
            epochs += usize::from(matches!(
                event,
                PruningEvent::Training(TrainEvent::Epoch { .. })
            ));
            match epochs {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        },
    );
    let stopped = block_on(stopped).unwrap();
    assert_eq!(stopped.len(), 1);
    assert_eq!(network.graph().trained_values(), planned[0].1);
}

/// The learning that comes with a fresh optimizer at every step is another one.
#[test]
fn what_the_optimizer_keeps_goes_on() {
    let device = cpu();
    let network = trained(&device);
    let gradual = GradualConfig {
        pruning: PruningConfig {
            criterion: Criterion::L1,
            ..Default::default()
        },
        steps: 2,
        training: config(1, 1e-3),
        ..Default::default()
    };
    let keep_on = |_: &PruningEvent<'_>| ControlFlow::Continue(());
    let mut together = network.clone();
    let mut source = glyphs(false, 5);
    let steps = prune_gradually(
        &mut together,
        manager(&device),
        &CrossEntropy,
        &mut source,
        None,
        &gradual,
        keep_on,
    );
    let steps = block_on(steps).unwrap();
    // Every step counts from the 12, 16 and 24 channels of the beginning: 7/16 of them are gone first, then half.
    let left: Vec<usize> = steps.iter().map(|step| step.plan.after.channels).collect();
    assert_eq!(left, [7 + 9 + 14, 6 + 8 + 12]);
    // The same by hand, with an optimizer that begins anew.
    let mut apart = network;
    let mut source = glyphs(false, 5);
    for step in &steps {
        apart = step.plan.apply(&apart).unwrap();
        let mut trainer = Trainer::new(config(1, 1e-3), manager(&device)).unwrap();
        let keep_on = |_: &TrainEvent| ControlFlow::Continue(());
        let run = Run::on(&mut source);
        block_on(trainer.fit(&mut apart, &CrossEntropy, run, keep_on)).unwrap();
    }
    assert_eq!(apart.graph(), together.graph());
    let values = |network: &Network| block_on(collect(network)).unwrap();
    assert_ne!(values(&apart), values(&together));
}

fn context() -> StepContext<'static, ImageBatch> {
    StepContext {
        step: 0,
        epoch: 0,
        task: None,
        learning_rate: 0.1,
        examples: 32,
        replayed: None,
    }
}

#[test]
fn a_teacher_adds_the_divergence_from_its_answers() {
    let device = cpu();
    let [teacher, student] = [1, 2].map(|seed| Network::new(&graph(), seed, &device));
    let batch = block_on(forgeling::train::Source::next(&mut glyphs(false, 0)));
    let batch = batch.unwrap().unwrap();
    let shape = [batch.labels.len(), 1, SIZE, SIZE];
    let images = burn::tensor::TensorData::new(batch.images.clone(), shape);
    let logits = |network: &Network, normalization| -> Vec<f64> {
        let images = Tensor::from_data(images.clone(), device.tensors());
        let (found, _) = outputs(&network.valid(), images, normalization).unwrap();
        let values: Vec<f32> = found.into_data().try_into_vec().unwrap();
        values.into_iter().map(f64::from).collect()
    };
    let shares = |logits: &[f64], temperature: f64| -> Vec<f64> {
        let rows = logits.chunks_exact(CLASSES);
        rows.flat_map(|row| {
            let sum: f64 = row.iter().map(|x| (x / temperature).exp()).sum();
            row.iter().map(move |x| (x / temperature).exp() / sum)
        })
        .collect()
    };
    for (temperature, weight) in [(1.0, 1.0), (4.0, 0.9), (2.5, 0.3)] {
        let config = DistillationConfig {
            temperature,
            weight,
        };
        let distillation = Distillation::new(&teacher, config).unwrap();
        let mut pass = Pass::new(Normalization::Batch, &device.autodiff());
        let term: &dyn LossTerm<Network, ImageBatch> = &distillation;
        let loss = term.loss(&context(), &student, &batch, &mut pass).unwrap();
        assert!(pass.take_statistics().is_empty());
        let p = shares(&logits(&teacher, Normalization::Running), temperature);
        let q = shares(&logits(&student, Normalization::Batch), temperature);
        let divergence: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let expected = weight * temperature * temperature * divergence / batch.labels.len() as f64;
        let found: f32 = loss.clone().into_scalar();
        assert!(
            (f64::from(found) / expected - 1.0).abs() < 1e-3,
            "{found}: {expected}"
        );
        assert!((term.objective_weight(&context()) - (1.0 - weight)).abs() < 1e-12);
        let gradients = pass.backward(loss, &student).unwrap();
        assert!(gradients.len() > 5);
    }
    for (temperature, weight) in [
        (0.0, 0.5),
        (-1.0, 0.5),
        (f64::NAN, 0.5),
        (4.0, 0.0),
        (4.0, 1.1),
    ] {
        let config = DistillationConfig {
            temperature,
            weight,
        };
        assert!(
            Distillation::new(&teacher, config)
                .unwrap_err()
                .is_bad_input()
        );
    }
    let mut sections = Sections::default();
    let [mut same, mut other] = [0.9, 0.5].map(|weight| {
        let config = DistillationConfig {
            weight,
            ..Default::default()
        };
        Distillation::new(&teacher, config).unwrap()
    });
    use forgeling::train::parts::RunState;
    same.save(&mut sections).unwrap();
    assert!(same.load(&sections, device.tensors()).is_ok());
    assert!(other.load(&sections, device.tensors()).is_err());
    let method: &mut dyn Method<Network, ImageBatch> = &mut other;
    assert_eq!(method.name(), "distillation");
    // A student of other classes has no such teacher.
    let stranger = Network::new(&graph().with_outputs(CLASSES + 1).unwrap(), 0, &device);
    let mut pass = Pass::new(Normalization::Batch, &device.autodiff());
    let term: &dyn LossTerm<Network, ImageBatch> = &same;
    assert!(term.loss(&context(), &stranger, &batch, &mut pass).is_err());
}
