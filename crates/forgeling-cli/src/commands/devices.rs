//! `forgeling devices`

use forgeling::device::Adapter;
use forgeling::train::{Recommendation, recommend};
use forgeling::{Device, DeviceChoice, Result};
use serde_json::json;

use super::supervised::sides;
use crate::args::{Common, Devices, ModelChoice};
use crate::output::Output;

pub async fn run(args: &Devices, common: &Common, output: &Output) -> Result<()> {
    let (adapters, absence) = adapters(common).await;
    for adapter in &adapters {
        output.line(describe(adapter));
    }
    if adapters.is_empty() {
        output.line(
            absence
                .as_deref()
                .unwrap_or("No GPU adapter: no Vulkan, Metal or DX12 driver was found."),
        );
    }
    let device = Device::open(common.device).await?;
    output.line(format_args!("Chosen: {}", device.reason()));
    let mut object = json!({
        "adapters": adapters,
        "choice": common.device.to_string(),
        "reason": device.reason(),
    });
    if let Some(model) = &args.recommend {
        object["recommendation"] = json!(recommended(args, model, &device, output)?);
    }
    output.object("devices", &device, common.seed, object);
    Ok(())
}

/// The GPUs, or why there are none. Whoever wants the CPU has no driver started.
pub async fn adapters(common: &Common) -> (Vec<Adapter>, Option<String>) {
    if common.device == DeviceChoice::Cpu {
        let reason = "GPUs were not looked for, because of --device cpu.";
        return (Vec::new(), Some(reason.into()));
    }
    Device::adapters().await
}

/// How to train a network on the device, and why.
fn recommended(
    args: &Devices,
    model: &ModelChoice,
    device: &Device,
    output: &Output,
) -> Result<Recommendation> {
    let name = &model.text;
    let usual = model.architecture.usual_input()?;
    let input = args.input.map_or(usual, |input| input.0);
    let network = model
        .architecture
        .graph(input, args.classes, Default::default())?;
    let found = recommend(&network, args.batch_size, device)?;
    output.line(format_args!(
        "\nTo train {name} on {} images of {} classes in batches of {}:",
        sides(input),
        args.classes,
        args.batch_size
    ));
    for reason in &found.reasons {
        output.line(format_args!("  - {reason}"));
    }
    let config = &found.config;
    let mut options = format!("--precision {}", config.precision);
    if config.gradient_checkpointing {
        options += " --checkpointing";
    }
    if config.memory_budget.is_some() {
        options += " --memory-budget 50%";
    }
    output.line(format_args!(
        "  forgeling train --model {name} --batch-size {} {options} …\n\n{}",
        args.batch_size,
        found.plan.explain()
    ));
    Ok(found)
}

fn describe(adapter: &Adapter) -> String {
    let has = |has: bool, name: &'static str| if has { Some(name) } else { None };
    let features: Vec<&str> = [
        has(adapter.f16, "f16"),
        has(adapter.int8_dot, "int8 dot product"),
        has(adapter.subgroups, "subgroups"),
        has(adapter.timestamps, "timestamps"),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!(
        "gpu:{}  {}\n       {}, {}, driver {}\n       {}; buffers to {} MiB, {} for each kernel",
        adapter.index,
        adapter.name,
        adapter.kind.name(),
        adapter.backend,
        if adapter.driver.is_empty() {
            "unknown"
        } else {
            &adapter.driver
        },
        if features.is_empty() {
            "no optional features".into()
        } else {
            features.join(", ")
        },
        adapter.max_buffer >> 20,
        adapter.max_storage_buffers,
    )
}
