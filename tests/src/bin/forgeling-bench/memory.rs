//! What ways of saving memory save and cost, how near plans come, and whether memory grows.

use std::fs;
use std::path::Path;
use std::time::Instant;

use forgeling::report::LineChart;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::memory_leak::{assert_flat, grow};
use forgeling_tests::memory_models::{models, savings as networks};
use forgeling_tests::memory_saving::{compare, lines};
use serde_json::Value;

use crate::runner::Result;

/// Steps after warming up.
const LEAK_STEPS: usize = 10_000;

/// A clock in milliseconds that waits for the device first.
fn clock(device: &Device) -> impl Fn() -> f64 {
    let (begun, tensors) = (Instant::now(), device.tensors().clone());
    move || {
        let _ = tensors.sync();
        1000.0 * begun.elapsed().as_secs_f64()
    }
}

/// All ways on three networks, and plain training on the others that plans are tested with.
pub fn savings(device: &Device) -> Result<()> {
    let now = clock(device);
    for (networks, ways, rounds) in [(networks(false), usize::MAX, 7), (models(), 1, 3)] {
        for network in networks {
            let savings = pollster::block_on(compare(&network, ways, rounds, device, &now));
            for line in lines(&savings, device) {
                println!("{line}");
            }
        }
    }
    Ok(())
}

/// Many steps on the GPU and on the CPU.
pub fn leak(gpu: &Device) -> Result<()> {
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu))?;
    for device in [gpu, &cpu] {
        let growth = pollster::block_on(grow(device, LEAK_STEPS, &clock(device)));
        println!("{}", growth.line(device));
        assert_flat(&growth, &device.info().name);
    }
    Ok(())
}

/// Draws the lines of [`leak`] and of its like in a browser, from a file of JSON to an SVG beside it.
pub fn leak_figure(path: &Path) -> Result<()> {
    let runs: Vec<Value> = serde_json::from_str(&fs::read_to_string(path)?)?;
    let curve = |run: &Value, column: usize| -> Vec<(f64, f64)> {
        let samples = run["samples"].as_array().cloned().unwrap_or_default();
        let number = |sample: &Value, column: usize| sample[column].as_f64().unwrap_or(f64::NAN);
        let point = |sample: &Value| (number(sample, 0), number(sample, column) / 1e6);
        samples.iter().map(point).collect()
    };
    let mut device = LineChart::new("steps", "MB of the GPU");
    let mut process = LineChart::new("steps", "MB of the whole process");
    for run in &runs {
        let name = run["device"].as_str().unwrap_or_default();
        if !name.starts_with("cpu") {
            device = device
                .series(&format!("{name}, reserved"), curve(run, 2))
                .series(&format!("{name}, in use"), curve(run, 1));
        }
        process = process.series(name, curve(run, 3));
    }
    let part = |chart: LineChart, y: usize| {
        chart
            .render()
            .replacen("<svg ", &format!("<svg y=\"{y}\" height=\"260\" "), 1)
    };
    let figure = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 540\" width=\"640\" height=\"540\" color=\"#333\">\
         <rect width=\"640\" height=\"540\" fill=\"#fff\"/>{}{}</svg>\n",
        part(device, 0),
        part(process, 280)
    );
    fs::write(path.with_extension("svg"), figure)?;
    Ok(())
}
