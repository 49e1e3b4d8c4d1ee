//! What a plan says against what a GPU says. One test, since one counter at a time looks at the memory.

use forgeling::nn::PlanConfig;
use forgeling::ops::plan::{PlannedOptimizer, PlannedPrecision};
use forgeling_tests::devices;
use forgeling_tests::memory_models::models;

/// Of the measured peak.
const TOLERANCE: f64 = 0.15;

#[test]
fn plans_lie_near_what_is_measured() {
    let plain = PlanConfig::default();
    let half = PlanConfig {
        precision: PlannedPrecision::F16,
        ..plain
    };
    let without = |config| PlanConfig {
        optimizer: PlannedOptimizer::Sgd,
        ..config
    };
    let configs = [
        ("f32, Adam", plain),
        ("f32, no moments", without(plain)),
        ("f16, Adam", half),
        ("f16, no moments", without(half)),
        (
            "packed to 16 bits, Adam",
            PlanConfig {
                precision: PlannedPrecision::Packed16,
                ..plain
            },
        ),
        (
            "f32, checkpoints",
            PlanConfig {
                checkpointing: true,
                ..plain
            },
        ),
        (
            "f32, accumulating",
            PlanConfig {
                accumulating: true,
                ..plain
            },
        ),
    ];
    let mut wrong = Vec::new();
    for device in devices().into_iter().filter(|device| !device.is_cpu()) {
        let chosen = std::env::var("FORGELING_PLAN_MODES").unwrap_or_default();
        for model in models() {
            for (mode, config) in configs {
                if !mode.contains(&chosen) { continue; }
                if config.precision == PlannedPrecision::F16 && !device.info().f16 {
                    continue;
                }
                let plan = model.plan(config, &device);
                let measured = model.measure(config, &device);
                let error = plan.peak as f64 / measured as f64 - 1.0;
                let line = format!(
                    "| {} | {} | {mode} | {:.2} MB | {:.2} MB | {:+.1} % |",
                    model.name,
                    model.batch,
                    plan.peak as f64 / 1e6,
                    measured as f64 / 1e6,
                    100.0 * error
                );
                println!("{line}");
                if error.abs() > TOLERANCE {
                    wrong.push(format!("{line}\n{plan}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
