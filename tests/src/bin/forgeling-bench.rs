//! Measurements of `cargo xtask bench cpu|gpu`: one JSON line each.
//!
//! A workload is warmed up, then timed in several rounds; the median is what counts.

use std::process::ExitCode;
use std::time::Instant;

use forgeling::data::{Glyphs, Split};
use forgeling::device::DeviceKind;
use forgeling::meta::{EpisodeTrainer, FitConfig, ProtoNet};
use forgeling::nn::Conv4Config;
use forgeling::{Device, DeviceChoice, Result};
use serde_json::json;

/// Steps before the clock starts: the first ones compile kernels.
const WARM_UP: usize = 2;

struct Workload {
    filters: usize,
    episodes: usize,
}

fn main() -> ExitCode {
    let mut devices = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "cpu" => devices.push(DeviceChoice::Cpu),
            "gpu" => devices.push(DeviceChoice::Gpu),
            "--json" => {}
            other => {
                eprintln!("bench: unknown argument '{other}'; expected cpu or gpu");
                return ExitCode::from(2);
            }
        }
    }
    for choice in devices {
        if let Err(error) = pollster::block_on(bench(choice)) {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn bench(choice: DeviceChoice) -> Result<()> {
    let device = match Device::open(choice).await {
        // A software adapter is worth a figure too, when it is all there is.
        Err(error) if choice == DeviceChoice::Gpu => {
            eprintln!("bench: {error}; taking gpu:0");
            Device::open(DeviceChoice::GpuIndex(0)).await?
        }
        device => device?,
    };
    let slow = device.info().kind == DeviceKind::SoftwareGpu;
    let rounds = if slow { 5 } else { 15 };
    for workload in
        [(32, 1), (64, 1), (32, 8)].map(|(filters, episodes)| Workload { filters, episodes })
    {
        if slow && workload.episodes > 1 {
            continue;
        }
        measure(&device, &workload, rounds).await?;
    }
    Ok(())
}

async fn measure(device: &Device, workload: &Workload, rounds: usize) -> Result<()> {
    let glyphs = Glyphs::new(0, Split::Train, 1000)?;
    let config = Conv4Config {
        filters: workload.filters,
        ..Default::default()
    };
    let mut model = ProtoNet::new(&config, device)?;
    let fit = FitConfig {
        batch_episodes: workload.episodes,
        ..Default::default()
    };
    let mut trainer = EpisodeTrainer::new(fit)?;
    let mut times = Vec::new();
    for round in 0..WARM_UP + rounds {
        let begun = Instant::now();
        trainer.step(&mut model, &glyphs).await?;
        if round >= WARM_UP {
            times.push(1000.0 * begun.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let name = format!(
        "ProtoNet training step, Conv4-{}, 5-way 5-shot 15-query, 28×28, {} per step",
        workload.filters,
        if workload.episodes == 1 {
            "1 episode".into()
        } else {
            format!("{} episodes", workload.episodes)
        }
    );
    println!(
        "{}",
        json!({
            "workload": name,
            "implementation": "forgeling",
            "device": format!("{} ({})", device.info().name, device.info().backend),
            "median_ms": median,
            "min_ms": times[0],
            "max_ms": times[times.len() - 1],
            "rounds": rounds,
            "episodes_per_second": 1000.0 * workload.episodes as f64 / median,
        })
    );
    Ok(())
}
