//! The run that native and wasm are compared on: which episodes are drawn, and the losses on the CPU.

use std::ops::ControlFlow;

use forgeling::data::{EpisodeSampler, Glyphs, Queries, RandomAffine, Shots, Split, Ways};
use forgeling::meta::{FitConfig, Learner};
use forgeling::nn::zoo::Conv4Config;
use forgeling::train::HalvingSchedule;
use forgeling::{Device, DeviceChoice, Result};

/// Steps that are compared.
pub const STEPS: usize = 50;

/// Examples and classes of the first episodes, in order.
///
/// # Errors
/// When the episodes cannot be drawn.
pub fn episode_order() -> Result<Vec<usize>> {
    let glyphs = Glyphs::new(0, Split::Train, 1000)?;
    let mut sampler = EpisodeSampler::new(Ways::DEFAULT, Shots::DEFAULT, Queries::new(2)?, 42);
    let mut order = Vec::new();
    for _ in 0..3 {
        let plan = sampler.plan(&glyphs)?;
        order.extend(plan.classes.iter().chain(&plan.support).chain(&plan.query));
    }
    Ok(order)
}

/// The losses of [`STEPS`] steps on the CPU.
///
/// # Errors
/// When training fails.
pub async fn losses() -> Result<Vec<f64>> {
    let device = Device::open(DeviceChoice::Cpu).await?;
    let glyphs = Glyphs::new(0, Split::Train, 1000)?;
    let config = Conv4Config {
        filters: 16,
        ..Default::default()
    };
    let mut model = Learner::protonet(&config.graph()?, 7, &device)?;
    let fit = FitConfig {
        episodes: Some(STEPS),
        // Adam divides by the gradient's size, so that rounding in a small one becomes a step of full size.
        // At 1e-3 two platforms were 2e-2 apart after 18 steps; these steps are five times smaller.
        schedule: HalvingSchedule {
            initial: 2e-4,
            ..Default::default()
        },
        augment: Some(RandomAffine::default()),
        seed: 7,
        ..Default::default()
    };
    let mut losses = Vec::new();
    model
        .fit(&glyphs, fit, |event| {
            losses.push(event.loss);
            ControlFlow::Continue(())
        })
        .await?;
    Ok(losses)
}

/// Whether `losses` follow `expected`: 1e-4 relative over the first 5 steps, 1e-2 over all.
///
/// # Panics
/// When they do not.
pub fn assert_follows(losses: &[f64], expected: &[f64]) {
    assert_eq!((losses.len(), expected.len()), (STEPS, STEPS));
    for (step, (loss, expected)) in losses.iter().zip(expected).enumerate() {
        let error = (loss - expected).abs() / expected;
        let tolerance = if step < 5 { 1e-4 } else { 1e-2 };
        assert!(
            error <= tolerance,
            "step {step}: {loss} instead of {expected}, {error:e}"
        );
    }
}
