//! `forgeling devices`

use forgeling::device::Adapter;
use forgeling::{Device, Result};
use serde_json::json;

use crate::args::Common;
use crate::output::Output;

pub async fn run(common: &Common, output: &Output) -> Result<()> {
    let (adapters, absence) = Device::adapters().await;
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
    output.object(
        "devices",
        &device,
        common.seed,
        json!({ "adapters": adapters, "choice": common.device.to_string(), "reason": device.reason() }),
    );
    Ok(())
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
