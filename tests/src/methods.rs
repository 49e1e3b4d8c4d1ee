//! Every few-shot method on a network so small that browsers train it in a test.

use forgeling::data::tasks::{Episodes, UnevenConfig, UnevenTasks};
use forgeling::data::{EpisodeSampler, Glyphs, Queries, Shots, Split, Task, TaskSource, Ways};
use forgeling::meta::{EpisodeTrainer, FitConfig, Learner, LearnerConfig, Method, MethodConfig};
use forgeling::nn::zoo::Conv4Config;
use forgeling::train::{HalvingSchedule, OptimizerConfig, SgdConfig};
use forgeling::{Device, Result};

/// Classes of the set that episodes are drawn from.
const CLASSES: usize = 20;
const SIZE: usize = 16;
/// Optimizer steps that are compared.
pub const STEPS: usize = 3;

/// Invented characters of 16×16 pixels.
///
/// # Errors
/// Never, as the numbers are right.
pub fn glyphs(split: Split) -> Result<Glyphs> {
    Glyphs::new(0, split, CLASSES)?.with_size(SIZE)
}

/// A method on four filters in three blocks, for three classes.
///
/// # Panics
/// Never, as the numbers are right.
pub fn config(method: Method) -> LearnerConfig {
    let encoder = Conv4Config {
        filters: 4,
        blocks: if method == Method::Relation { 2 } else { 3 },
        size: SIZE,
        ..Default::default()
    };
    LearnerConfig {
        seed: 5,
        ways: 3,
        ..LearnerConfig::new(MethodConfig::of(method, CLASSES), encoder.graph().unwrap())
    }
}

/// Two episodes of three classes a step, with plain gradient steps, which do not make rounding larger as Adam does.
///
/// # Errors
/// Never, as the numbers are right.
pub fn fit() -> Result<FitConfig> {
    Ok(FitConfig {
        ways: Ways::new(3)?,
        shots: Shots::new(2)?,
        queries: Queries::new(2)?,
        batch_episodes: 2,
        episodes: Some(2 * STEPS),
        optimizer: OptimizerConfig::Sgd(SgdConfig::default()),
        schedule: HalvingSchedule {
            initial: 0.05,
            ..Default::default()
        },
        seed: 3,
        ..Default::default()
    })
}

/// The losses of the first steps.
///
/// # Errors
/// When training fails.
pub async fn losses(method: Method, device: &Device) -> Result<Vec<f64>> {
    let data = glyphs(Split::Train)?;
    let mut model = Learner::new(&config(method), device)?;
    let mut trainer = EpisodeTrainer::new(fit()?)?;
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        losses.push(trainer.step(&mut model, &data).await?.loss);
    }
    Ok(losses)
}

/// Whether losses are those of `tests/golden/methods.json`.
///
/// # Panics
/// When they are not.
pub fn assert_losses(losses: &[f64], expected: &[f64], what: &str) {
    assert_eq!(losses.len(), expected.len(), "{what}");
    for (step, (loss, expected)) in losses.iter().zip(expected).enumerate() {
        let error = (loss - expected).abs() / expected.abs().max(1e-3);
        assert!(
            error < 1e-3,
            "{what}, step {step}: {loss} instead of {expected}"
        );
    }
}

/// Equal tasks, as [`fit`] draws them.
///
/// # Errors
/// When they cannot be drawn.
pub fn tasks(count: usize) -> Result<Vec<Task>> {
    let fit = fit()?;
    let sampler = EpisodeSampler::new(fit.ways, fit.shots, fit.queries, 9);
    let mut episodes = Episodes::new(sampler, None, 0)?;
    let data = glyphs(Split::Train)?;
    (0..count).map(|_| episodes.task(&data)).collect()
}

/// Tasks of two and three classes with one to four examples.
///
/// # Errors
/// When they cannot be drawn.
pub fn uneven(count: usize) -> Result<Vec<Task>> {
    let config = UnevenConfig {
        ways: 2..=3,
        shots: 1..=4,
        queries: 1..=3,
        ..Default::default()
    };
    let mut source = UnevenTasks::new(glyphs(Split::Train)?, config)?;
    let mut tasks = Vec::new();
    while tasks.len() < count {
        tasks.extend(source.next_task()?);
    }
    Ok(tasks)
}
