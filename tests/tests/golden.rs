//! Three Adam steps of ProtoNet against the values that `golden/protonet.py` printed with PyTorch.

use forgeling::data::{EpisodeBatch, ImageShape, Queries, Shots, Ways};
use forgeling::meta::{
    EpisodeTrainer, FitConfig, Learner, LearnerConfig, MetaTrainingHistory, MethodConfig,
};
use forgeling::nn::zoo::Conv4Config;
use forgeling::train::weights::{NamedTensor, collect};
use forgeling::train::{HalvingSchedule, model_file};
use forgeling_tests::{assert_close, devices, waves};
use serde_json::Value;

const EPISODES: usize = 2;
const WAYS: usize = 3;
const SHOTS: usize = 2;
const QUERIES: usize = 4;
const FILTERS: usize = 5;
const BLOCKS: usize = 2;
const SIZE: usize = 9;

/// The network of the script, as the bytes of a model file.
fn model_bytes() -> Vec<u8> {
    let mut tensors = Vec::new();
    for block in 0..BLOCKS {
        let inputs = if block == 0 { 1 } else { FILTERS };
        let mut add = |name: &str, shape: &[usize], values: Vec<f32>| {
            tensors.push(NamedTensor {
                name: format!("Metric.encoder.blocks.{block}.{name}"),
                shape: shape.to_vec(),
                values,
            });
        };
        let phase = block as f64;
        let weight = waves(FILTERS * inputs * 9, 10.0 + phase)
            .into_iter()
            .map(|w| w * 0.5)
            .collect();
        add("weight", &[FILTERS, inputs, 3, 3], weight);
        add("bias", &[FILTERS], waves(FILTERS, 20.0 + phase));
        add("norm.gamma", &[FILTERS], vec![1.0; FILTERS]);
        add("norm.beta", &[FILTERS], vec![0.0; FILTERS]);
        add("norm.running_mean", &[FILTERS], vec![0.0; FILTERS]);
        add("norm.running_var", &[FILTERS], vec![1.0; FILTERS]);
    }
    let config = Conv4Config {
        channels: 1,
        filters: FILTERS,
        blocks: BLOCKS,
        size: SIZE,
        ..Default::default()
    };
    let config = LearnerConfig::new(MethodConfig::default(), config.graph().unwrap());
    let header = model_file::Header::new(
        Learner::ARCHITECTURE,
        config,
        MetaTrainingHistory::default(),
    );
    model_file::encode(&header, &tensors).unwrap()
}

fn batch(step: usize) -> EpisodeBatch {
    let images = |per_class: usize, phase: f64| {
        waves(
            EPISODES * WAYS * per_class * SIZE * SIZE,
            phase + step as f64,
        )
    };
    EpisodeBatch {
        episodes: EPISODES,
        ways: Ways::new(WAYS).unwrap(),
        shots: Shots::new(SHOTS).unwrap(),
        queries: Queries::new(QUERIES).unwrap(),
        shape: ImageShape::new(1, SIZE, SIZE),
        support: images(SHOTS, 30.0),
        query: images(QUERIES, 40.0),
        classes: vec![0; EPISODES * WAYS],
        support_examples: vec![0; EPISODES * WAYS * SHOTS],
        query_examples: vec![0; EPISODES * WAYS * QUERIES],
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap() as f32)
        .collect()
}

#[test]
fn loss_accuracy_weights_and_statistics_follow_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../golden/protonet.json")).unwrap();
    for device in devices() {
        let mut model = Learner::from_bytes(&model_bytes(), &device).unwrap();
        let schedule = HalvingSchedule {
            initial: 0.01,
            every: 1000,
        };
        let mut trainer = EpisodeTrainer::new(FitConfig {
            schedule,
            ..Default::default()
        })
        .unwrap();
        for (step, expected) in golden["steps"].as_array().unwrap().iter().enumerate() {
            let tasks = batch(step).tasks().unwrap();
            let event = pollster::block_on(trainer.step_on(&mut model, tasks)).unwrap();
            let loss = expected["loss"].as_f64().unwrap();
            let error = (event.loss - loss).abs() / loss;
            // Adam divides by the gradient's size, so rounding grows from step to step.
            let tolerance = [1e-5, 1e-3, 5e-3][step];
            let place = format!("step {step} on {}", device.info().name);
            assert!(
                error < tolerance,
                "{place}: {} instead of {loss}",
                event.loss
            );
            assert!(
                (event.accuracy - expected["accuracy"].as_f64().unwrap()).abs() < 0.05,
                "{place}"
            );
            if step == 0 {
                for name in ["running_mean", "running_var"] {
                    assert_values(&model, name, &golden["after_first_step"][name], 1e-4);
                }
            }
        }
        for name in ["gamma", "beta"] {
            assert_values(&model, name, &golden[name], 5e-3);
        }
    }
}

/// Compares a value of the last block.
fn assert_values(model: &Learner, name: &str, expected: &Value, tolerance: f32) {
    let values = pollster::block_on(collect(model.model().network())).unwrap();
    let path = format!("blocks.{}.norm.{name}", BLOCKS - 1);
    let got = &values
        .iter()
        .find(|tensor| tensor.name == path)
        .unwrap()
        .values;
    assert_close(&path, got, &numbers(expected), tolerance);
}
