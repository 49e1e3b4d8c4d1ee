//! Few-shot methods trained for a while, and asked about characters they have not seen.

use forgeling::data::{Dataset, EpisodeSampler, Queries, Shots, Task, Ways};
use forgeling::meta::{FewShot, Side, Stack, TaskLoss};
use forgeling::nn::Normalization;
use forgeling::train::{
    HardwareConfig, HardwareManager, OptimizerConfig, Schedule, Trainer, TrainerConfig, count_right,
};
use forgeling::{DeviceChoice, Readback};

/// `count` tasks of `[ways, shots, queries]`, each query's number of each class.
///
/// # Panics
/// When the set is too small.
pub fn tasks(
    dataset: &dyn Dataset,
    [ways, shots, queries]: [usize; 3],
    count: usize,
    seed: u64,
) -> Vec<Task> {
    let ways = Ways::new(ways).unwrap();
    let (shots, queries) = (Shots::new(shots).unwrap(), Queries::new(queries).unwrap());
    let mut sampler = EpisodeSampler::new(ways, shots, queries, seed);
    let batch = sampler.sample_batch(dataset, count).unwrap();
    batch.tasks().unwrap()
}

/// The share of queries that a method answers right.
///
/// # Panics
/// When it cannot answer.
pub async fn accuracy<M: FewShot>(model: &M, tasks: &[Task], normalization: Normalization) -> f64 {
    let frozen = model.valid();
    let (mut right, mut all) = (0, 0);
    for part in tasks.chunks(10) {
        for stack in Stack::of(part) {
            let logits = frozen.predict(&stack, normalization).unwrap();
            let labels = stack.classes(Side::Query);
            let [logits] = Readback::new().with(logits).run().await.unwrap();
            right += count_right(&logits, &labels);
            all += labels.len();
        }
    }
    right as f64 / all as f64
}

/// Takes a step on each batch, on the CPU. The losses.
///
/// # Panics
/// When a step fails.
pub async fn train<M: FewShot>(model: &mut M, rate: f64, batches: &[Vec<Task>]) -> Vec<f64> {
    let config = HardwareConfig {
        device: DeviceChoice::Cpu,
        ..Default::default()
    };
    let manager = HardwareManager::open(config).await.unwrap();
    let config = TrainerConfig {
        steps: Some(batches.len()),
        optimizer: OptimizerConfig::default(),
        schedule: Schedule::Constant { rate },
        ..Default::default()
    };
    let mut trainer = Trainer::new(config, manager).unwrap();
    let mut losses = Vec::new();
    for batch in batches {
        let step = trainer.step_on(model, &TaskLoss, std::slice::from_ref(batch));
        losses.push(step.await.unwrap().loss);
    }
    losses
}
