//! How much a GPU is asked to do for one training step. One test, since launches of the whole process are counted.

use forgeling::data::{Glyphs, Queries, Shots, Split};
use forgeling::device::LaunchCounter;
use forgeling::meta::{EpisodeTrainer, FitConfig, Learner, LearnerOptions, Method};
use forgeling::nn::zoo::{Conv4Config, MlpConfig};
use forgeling::train::MlpTrainer;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::{gpus, waves};

/// Launches of a whole Conv4 ProtoNet step with Adam.
const MOST: usize = 40;
/// Launches of a whole step of a perceptron of three layers with Adam: three forward and one for the loss; two for its
/// gradient, two for each layer's gradients but one for the first, which needs none of its input, two for those of ReLU;
/// two of Adam. One more where the sums of a small layer are split, as the last one's are.
const MOST_OF_MLP: usize = 16;
/// Launches of a meta-step of MAML with three inner steps, of any number of tasks.
const MOST_OF_MAML: usize = 1400;

#[test]
fn training_steps_take_few_launches() {
    a_protonets_step_takes_few_launches();
    a_perceptrons_step_takes_few_launches();
    a_meta_step_takes_as_many_launches_as_for_one_task();
}

fn a_meta_step_takes_as_many_launches_as_for_one_task() {
    let glyphs = Glyphs::new(0, Split::Train, 50).unwrap();
    let options = LearnerOptions {
        method: Method::Maml,
        filters: Some(4),
        inner_steps: Some(3),
        ..Default::default()
    };
    for device in gpus() {
        let launches = |tasks: usize| {
            let mut model = Learner::new(&options.config().unwrap(), &device).unwrap();
            let fit = FitConfig {
                shots: Shots::new(1).unwrap(),
                queries: Queries::new(1).unwrap(),
                batch_episodes: tasks,
                ..Default::default()
            };
            let mut trainer = EpisodeTrainer::new(fit).unwrap();
            let mut step = || {
                let counter = LaunchCounter::new();
                pollster::block_on(trainer.step(&mut model, &glyphs)).unwrap();
                (counter.total(), counter.by_kernel())
            };
            step();
            step()
        };
        let (one, _) = launches(1);
        let (four, kernels) = launches(4);
        let name = &device.info().name;
        assert!(four <= MOST_OF_MAML, "{four} on {name}: {kernels:#?}");
        assert!(four <= one + 8, "{four} for four tasks, {one} for one");
    }
}

fn a_perceptrons_step_takes_few_launches() {
    let config = MlpConfig {
        hidden: vec![400, 400],
        ..Default::default()
    };
    let (images, labels) = (waves(128 * config.input.len(), 1.0), vec![3; 128]);
    for device in gpus() {
        let mut trainer = MlpTrainer::new(&config, 0, &device).unwrap();
        let mut step = || {
            let counter = LaunchCounter::new();
            pollster::block_on(trainer.step(images.clone(), &labels, 1e-3)).unwrap();
            (counter.total(), counter.by_kernel())
        };
        // The first step also brings the parameters into order.
        step();
        let (total, kernels) = step();
        let name = &device.info().name;
        assert!(total <= MOST_OF_MLP, "{total} on {name}: {kernels:#?}");
    }
}

fn a_protonets_step_takes_few_launches() {
    let glyphs = Glyphs::new(0, Split::Train, 50).unwrap();
    let config = Conv4Config {
        filters: 12,
        ..Default::default()
    };
    let encoder = config.graph().unwrap();
    for device in gpus() {
        let mut model = Learner::protonet(&encoder, 0, &device).unwrap();
        let mut trainer = EpisodeTrainer::new(FitConfig::default()).unwrap();
        let mut step = || {
            let counter = LaunchCounter::on(&device);
            pollster::block_on(trainer.step(&mut model, &glyphs)).unwrap();
            let peak = counter.peak_bytes().unwrap();
            (counter.total(), counter.by_kernel(), counter.bytes(), peak)
        };
        // The first step also brings the parameters into order.
        step();
        let (total, kernels, bytes, peak) = step();
        assert!(
            total <= MOST,
            "{total} on {}: {kernels:#?}",
            device.info().name
        );
        // The first block's convolution of 100 images is kept for the backward pass, and is written and read again.
        let convolved = 100 * 28 * 28 * 12 * 4;
        assert!(peak > convolved && peak < 8 * convolved, "{peak}");
        assert!(bytes > 4 * convolved && bytes < 40 * convolved, "{bytes}");
    }
    // Here, because there is one counter at a time.
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    assert_eq!(LaunchCounter::on(&cpu).peak_bytes(), None);
}
