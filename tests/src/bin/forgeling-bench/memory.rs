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

use crate::runner::{Extent, Result};

/// Steps after warming up, and fewer that are enough for a look.
const LEAK_STEPS: [usize; 2] = [10_000, 200];

/// A clock in milliseconds that waits for the device first.
fn clock(device: &Device) -> impl Fn() -> f64 {
    let (begun, tensors) = (Instant::now(), device.tensors().clone());
    move || {
        let _ = tensors.sync();
        1000.0 * begun.elapsed().as_secs_f64()
    }
}

/// All ways on three networks, and plain training on the others that plans are tested with; or all ways on one.
pub fn savings(device: &Device, extent: Extent) -> Result<()> {
    let now = clock(device);
    let mut parts = vec![(networks(extent.smallest), usize::MAX, 7), (models(), 1, 3)];
    if extent.smallest {
        parts.truncate(1);
        parts[0].0.truncate(1);
    }
    for (networks, ways, rounds) in parts {
        let rounds = extent.rounds.unwrap_or(rounds);
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
pub fn leak(gpu: &Device, extent: Extent) -> Result<()> {
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu))?;
    let steps = LEAK_STEPS[usize::from(extent.smallest)];
    for device in [gpu, &cpu] {
        let growth = pollster::block_on(grow(device, steps, &clock(device)));
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
    let (mut device, mut process) = (Vec::new(), Vec::new());
    for run in &runs {
        let backend = run["backend"].as_str().unwrap_or_default();
        if run["device"]
            .as_str()
            .is_some_and(|name| !name.starts_with("cpu"))
        {
            device.push((format!("{backend}, reserved"), curve(run, 2)));
            device.push((format!("{backend}, in use"), curve(run, 1)));
        }
        process.push((backend.to_owned(), curve(run, 3)));
    }
    let figure = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 660 540\" width=\"660\" height=\"540\" color=\"#333\">\
         <rect width=\"660\" height=\"540\" fill=\"#fff\"/>{}{}</svg>\n",
        chart("MB of the GPU", device, 0),
        chart("MB of the whole process", process, 280)
    );
    fs::write(path.with_extension("svg"), figure)?;
    Ok(())
}

type Curve = (String, Vec<(f64, f64)>);

/// A part of a figure, so many pixels from its top.
fn chart(label: &str, curves: Vec<Curve>, top: usize) -> String {
    let points = curves.iter().flat_map(|(_, points)| points);
    let highest = points.map(|point| point.1).fold(0.0, f64::max);
    let mut chart = LineChart::new("steps", label);
    for (name, points) in curves {
        chart = chart.series(&name, points);
    }
    // A point without a name makes room for the names.
    let chart = chart.series("", [(0.0, 1.5 * highest)]);
    let place = format!("<svg y=\"{top}\" height=\"260\" ");
    chart.render().replacen("<svg ", &place, 1)
}
