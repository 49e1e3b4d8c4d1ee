//! What a plan says against what a GPU says. One test, since the memory of the whole process is looked at.

use forgeling::device::Phase;
use forgeling::nn::PlanConfig;
use forgeling::ops::plan::{PlannedOptimizer, PlannedPrecision};
use forgeling_tests::memory_models::models;
use forgeling_tests::{gpus, has_f16};

/// Of the measured peak.
const TOLERANCE: f64 = 0.15;
/// Modes that all models are measured in, the first of all.
const ON_ALL: usize = 4;

/// Over all phases, and of the forward and the backward pass by themselves; the table is printed in MB, the plan's figure
/// before the measured one.
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
    for device in gpus() {
        for model in models() {
            for (index, (mode, config)) in configs.into_iter().enumerate() {
                let runs = config.precision != PlannedPrecision::F16 || has_f16(&device);
                if !runs || (index >= ON_ALL && !model.small) {
                    continue;
                }
                let plan = model.plan(config, &device);
                let measured = pollster::block_on(model.measure(config, &device));
                let mut line = format!("| {} | {} | {mode} |", model.name, model.batch);
                let peak = (plan.peak, measured.values().copied().max().unwrap_or(0));
                let of = |phase| (plan.phases[&phase], measured[&phase]);
                let phases = [Phase::Forward, Phase::Backward].map(of);
                let mut worst: f64 = 0.0;
                for (planned, measured) in [peak, phases[0], phases[1]] {
                    let error = planned as f64 / measured as f64 - 1.0;
                    worst = worst.max(error.abs());
                    let [planned, measured] = [planned, measured].map(|bytes| bytes as f64 / 1e6);
                    line += &format!(" {planned:.2} | {measured:.2} | {:+.1} % |", 100.0 * error);
                }
                println!("{line}");
                if worst > TOLERANCE {
                    wrong.push(format!("{line}\n{plan}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
