//! Which hardware configuration suits a network.

use serde::Serialize;

use super::{HardwareConfig, Precision, ResolvedPrecision};
use crate::device::{Device, MemoryBudget};
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{MemoryPlan, PlanConfig, Planned, readable};

const OPERATION: &str = "recommend";

/// The part of a device's memory that training is to stay within: the rest is for what the plan does not know, such as
/// memory that pools keep in reserve, and for other programs.
const SHARE: f64 = 0.5;

/// What [`recommend`] has come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// How to train.
    pub config: HardwareConfig,
    /// What that takes.
    pub plan: MemoryPlan,
    /// Why, step by step, for people.
    pub reasons: Vec<String>,
}

/// The fastest way to train `network` in batches of so many examples on `device` that fits into half of
/// [its memory](Device::memory_limit), by a [`MemoryPlan`] with Adam: nothing is allocated.
///
/// It begins with what [`Precision::Auto`] comes to on the device, and while that takes too much it goes on to what
/// costs the least time: activations in 16 bits, then gradient checkpointing, then micro-batches. Where any of these is
/// needed, the configuration has the budget too, so that training is held to it.
///
/// ```
/// use forgeling::nn::catalog::ModelConfig;
/// use forgeling::train::recommend;
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let found = recommend(&ModelConfig::new("resnet18")?.graph()?, 8, &device)?;
/// for reason in &found.reasons {
///     println!("{reason}");
/// }
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
///
/// # Errors
/// As [`MemoryPlan::new`], and [out of memory](crate::Error::is_out_of_memory) when not even one example fits.
pub fn recommend(network: &impl Planned, batch: usize, device: &Device) -> Result<Recommendation> {
    let budget = MemoryBudget::Fraction(SHARE).resolve(device)?;
    within(network, batch, device, budget)
}

fn within(
    network: &impl Planned,
    batch: usize,
    device: &Device,
    budget: u64,
) -> Result<Recommendation> {
    let resolved = ResolvedPrecision::new(Precision::Auto, device);
    let mut config = HardwareConfig {
        device: device.choice(),
        precision: resolved.compute.parse()?,
        ..Default::default()
    };
    let mut planned = PlanConfig {
        precision: resolved.planned(),
        ..Default::default()
    };
    let mut plan = MemoryPlan::new(network, batch, planned, device)?;
    let mut reasons = vec![format!(
        "{} activations: {}; {batch} examples take {}",
        config.precision,
        resolved.reason,
        readable(plan.peak)
    )];
    let too_much = |plan: &MemoryPlan| plan.peak > budget;
    if !too_much(&plan) {
        reasons.push(format!(
            "that fits into the {} that training is to stay within",
            readable(budget)
        ));
        return Ok(Recommendation {
            config,
            plan,
            reasons,
        });
    }
    config.memory_budget = Some(MemoryBudget::Bytes(budget));
    reasons.push(format!(
        "training is to stay within {}, so less has to do",
        readable(budget)
    ));
    let halved = ResolvedPrecision::new(Precision::F16, device);
    if halved.planned() != planned.precision {
        config.precision = Precision::F16;
        planned.precision = halved.planned();
        let before =
            std::mem::replace(&mut plan, MemoryPlan::new(network, batch, planned, device)?);
        reasons.push(step("16-bit activations", &before, &plan));
    }
    if too_much(&plan) {
        config.gradient_checkpointing = true;
        planned.checkpointing = true;
        let before =
            std::mem::replace(&mut plan, MemoryPlan::new(network, batch, planned, device)?);
        let what = "gradient checkpointing, for about a third more time";
        reasons.push(step(what, &before, &plan));
    }
    if too_much(&plan) {
        planned.accumulating = true;
        let most = MemoryPlan::largest_batch(network, batch, planned, device, budget)?;
        let Some(most) = most else {
            let one = MemoryPlan::new(network, 1, planned, device)?;
            let message = "not even one example fits into the memory";
            return Err(Error::new(ErrorKind::OutOfMemory, OPERATION, message)
                .expected(format!("at most {budget} bytes"))
                .got(format!("{} bytes", one.peak)));
        };
        config.micro_batch = Some(most);
        let before = std::mem::replace(&mut plan, MemoryPlan::new(network, most, planned, device)?);
        let what = format!(
            "micro-batches of at most {most} examples, whose gradients add up to the batch's"
        );
        reasons.push(step(&what, &before, &plan));
    }
    Ok(Recommendation {
        config,
        plan,
        reasons,
    })
}

/// One step down, with what it brings.
fn step(what: &str, before: &MemoryPlan, after: &MemoryPlan) -> String {
    format!(
        "{what}: {} in place of {}",
        readable(after.peak),
        readable(before.peak)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceChoice;
    use crate::nn::catalog::ModelConfig;

    fn cpu() -> Device {
        pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
    }

    #[test]
    fn every_rung_is_reached_and_none_too_early() {
        let device = cpu();
        let network = ModelConfig::new("resnet18").unwrap().graph().unwrap();
        let batch = 256;
        let peak = |precision, checkpointing| {
            let config = PlanConfig {
                precision,
                checkpointing,
                ..Default::default()
            };
            MemoryPlan::new(&network, batch, config, &device)
                .unwrap()
                .peak
        };
        use crate::ops::plan::PlannedPrecision::{F32, Packed16};
        let peaks = [
            peak(F32, false),
            peak(Packed16, false),
            peak(Packed16, true),
        ];
        assert!(peaks.is_sorted_by(|a, b| a > b), "{peaks:?}");
        let smallest = peaks[2] * 3 / 4;
        let rungs = [peaks[0], peaks[1], peaks[2], smallest];
        for (rung, budget) in rungs.into_iter().enumerate() {
            let found = within(&network, batch, &device, budget).unwrap();
            let config = &found.config;
            assert!(found.plan.peak <= budget, "{found:?}");
            assert_eq!(config.memory_budget.is_some(), rung > 0);
            assert_eq!(config.precision == Precision::F16, rung > 0);
            assert_eq!(config.gradient_checkpointing, rung > 1);
            assert_eq!(config.micro_batch.is_some(), rung > 2);
            assert_eq!(found.reasons.len(), 2 + rung, "{:?}", found.reasons);
            config.validate().unwrap();
        }
        let micro = within(&network, batch, &device, smallest).unwrap();
        assert!((1..batch).contains(&micro.config.micro_batch.unwrap()));
        let none = within(&network, batch, &device, 1_000_000).unwrap_err();
        assert!(none.is_out_of_memory(), "{none}");
    }

    #[test]
    fn a_network_too_large_for_any_machine_is_dealt_out() {
        let network = ModelConfig::new("conv4").unwrap().graph().unwrap();
        let found = recommend(&network, 1 << 22, &cpu()).unwrap();
        assert!(found.config.micro_batch.is_some() && found.config.gradient_checkpointing);
        let small = recommend(&network, 8, &cpu()).unwrap();
        assert_eq!(small.config.device, DeviceChoice::Cpu);
        assert_eq!(small.config.memory_budget, None);
        assert!(recommend(&network, 0, &cpu()).unwrap_err().is_bad_input());
    }
}
