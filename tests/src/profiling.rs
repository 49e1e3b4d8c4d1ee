//! A small training step under the profiler, and what must hold of its figures on every device.

use std::collections::BTreeMap;

use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use forgeling::device::LaunchCounter;
use forgeling::device::profile::{
    GpuTiming, Phase, Profile, ProfileConfig, ProfileRow, Profiler, phase, span,
};
use forgeling::nn::Network;
use forgeling::nn::graph::Shape;
use forgeling::nn::zoo::MlpConfig;
use forgeling::ops::softmax_cross_entropy;
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, Readback};
use serde_json::Value;

use crate::networks::outputs_of_rows;
use crate::values::waves;

const ROWS: usize = 33;
/// Seconds that rounding may add.
const ROUNDING: f64 = 1e-9;

/// A perceptron of three layers in training.
pub struct Training {
    model: Network,
    adam: Adam,
    device: Device,
}

impl Training {
    /// Before its first step.
    ///
    /// # Panics
    /// Never: the sizes are right.
    pub fn new(device: &Device) -> Self {
        let config = MlpConfig {
            input: Shape::Values(60),
            hidden: vec![40, 30],
            classes: 7,
        };
        let graph = config.graph().unwrap();
        Self {
            model: Network::new(&graph, 3, device),
            adam: Adam::new(AdamConfig::default()).unwrap(),
            device: device.clone(),
        }
    }

    /// One step with its phases, and the network's forward pass in a module of its own.
    ///
    /// # Panics
    /// When the device fails.
    pub async fn step(&mut self) {
        let data = phase(Phase::Data);
        let images = TensorData::new(waves(ROWS * 60, 1.0), [ROWS, 60]);
        let images = Tensor::<2>::from_data(images, &self.device.autodiff());
        drop(data);
        let forward = phase(Phase::Forward);
        let logits = {
            let _network = span("network");
            outputs_of_rows(&self.model, images).unwrap()
        };
        let loss = softmax_cross_entropy(logits, &[3; ROWS]).unwrap();
        drop(forward);
        {
            let _backward = phase(Phase::Backward);
            let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
            // Inside the other, from which it is taken off.
            let _step = phase(Phase::Step);
            self.model = self.adam.step(1e-3, self.model.clone(), gradients);
        }
        let _readback = phase(Phase::Readback);
        let [loss] = Readback::new().with(loss).run().await.unwrap();
        assert!(loss[0].is_finite());
    }
}

/// Profiles two steps beside a counter of launches, and checks that they agree.
///
/// # Panics
/// When they do not, or a figure cannot be.
pub async fn figures_agree(device: &Device, gpu: GpuTiming) -> Profile {
    let mut training = Training::new(device);
    // The first step also brings the parameters into order.
    training.step().await;
    let before = LaunchCounter::new();
    let config = ProfileConfig {
        gpu,
        ..Default::default()
    };
    let profiler = Profiler::start(device, config).unwrap();
    let counter = LaunchCounter::new();
    assert!(Profiler::start(device, config).unwrap_err().is_bad_input());
    training.step().await;
    training.step().await;
    let (total, bytes, kernels) = (counter.total(), counter.bytes(), counter.by_kernel());
    let profile = profiler.finish().await;
    assert_eq!(before.total(), total, "each counter counts");
    drop((before, counter));

    assert_eq!((profile.dispatches, profile.bytes), (total as u64, bytes));
    assert_eq!(total == 0, device.is_cpu());
    let phases: Vec<(&str, u64)> = rows(&profile, |row| row.count);
    let twice = ["data", "forward", "backward", "step", "readback"].map(|name| (name, 2));
    assert_eq!(phases, twice);
    let sum = |rows: &[(&str, u64)]| rows.iter().map(|row| row.1).sum::<u64>();
    assert_eq!(sum(&rows(&profile, |row| row.dispatches)), total as u64);
    assert_eq!(sum(&rows(&profile, |row| row.bytes)), bytes);
    let seconds: f64 = profile.phases.iter().map(|row| row.seconds).sum();
    assert!(
        seconds > 0.0 && seconds <= profile.seconds + ROUNDING,
        "{profile}"
    );

    let (mut by_kernel, mut by_phase) = (BTreeMap::new(), BTreeMap::new());
    for row in &profile.kernels {
        *by_kernel.entry(row.name.as_str()).or_insert(0) += row.dispatches as usize;
        *by_phase.entry(row.phase.as_deref()).or_insert(0) += row.dispatches;
    }
    for (kernel, count) in kernels {
        // Ours have no paths.
        if !kernel.contains("::") {
            assert_eq!(by_kernel[kernel], count, "{kernel}");
        }
    }
    for row in &profile.phases {
        let launched = by_phase.get(&Some(&*row.name)).copied().unwrap_or(0);
        assert_eq!(launched, row.dispatches, "{}", row.name);
    }
    modules_are_parts(&profile, device);
    times_of_the_device(&profile, device, gpu);
    trace_nests(&profile);

    let text = serde_json::to_string(&profile).unwrap();
    let again: Profile = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (again.phases, again.kernels),
        (profile.phases.clone(), profile.kernels.clone())
    );
    let table = profile.to_string();
    assert!(
        table.contains("backward") && table.contains("forward/network.layers.2"),
        "{table}"
    );
    profile
}

fn rows(profile: &Profile, value: impl Fn(&ProfileRow) -> u64) -> Vec<(&str, u64)> {
    let phases = profile.phases.iter();
    phases.map(|row| (row.name.as_str(), value(row))).collect()
}

fn modules_are_parts(profile: &Profile, device: &Device) {
    let names: Vec<&str> = profile
        .modules
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    let expected = [
        "network",
        "network.layers.0",
        "network.layers.1",
        "network.layers.2",
    ];
    assert_eq!(names, expected);
    let [network, layers @ ..] = &profile.modules[..] else {
        unreachable!("there are four");
    };
    let forward = &profile.phases[1];
    let seconds: f64 = layers.iter().map(|row| row.seconds).sum();
    assert!(
        seconds <= network.seconds + ROUNDING && network.seconds <= forward.seconds,
        "{profile}"
    );
    let dispatches: u64 = layers.iter().map(|row| row.dispatches).sum();
    assert_eq!(dispatches, network.dispatches);
    if !device.is_cpu() {
        // The loss is not in the network.
        assert!(network.dispatches < forward.dispatches, "{profile}");
        assert!(
            layers
                .iter()
                .all(|row| row.dispatches >= 2 && row.bytes > 0),
            "{profile}"
        );
    }
    assert!(
        profile
            .modules
            .iter()
            .all(|row| row.phase.as_deref() == Some("forward"))
    );
}

fn times_of_the_device(profile: &Profile, device: &Device, gpu: GpuTiming) {
    let all = || profile.phases.iter().chain(&profile.modules);
    assert_eq!(profile.peak_bytes.is_none(), device.is_cpu());
    if device.is_cpu() || gpu == GpuTiming::Off {
        assert!(all().all(|row| row.gpu_seconds.is_none()), "{profile}");
        assert_eq!(profile.memory.is_empty(), device.is_cpu());
        return;
    }
    let highest = profile.memory.iter().map(|sample| sample.1).max();
    assert_eq!((profile.peak_bytes, profile.memory.len()), (highest, 2 * 9));
    assert!(profile.memory.is_sorted_by_key(|sample| sample.0));
    let time = |row: &ProfileRow| row.gpu_seconds.unwrap();
    assert!(all().all(|row| time(row) >= 0.0), "{profile}");
    // Clocks of browsers tick so slowly that a small launch may take no time at all.
    let device_time: f64 = profile.phases.iter().map(time).sum();
    assert!(device_time < profile.seconds, "{profile}");
    if gpu == GpuTiming::Kernels {
        let kernels: f64 = profile
            .kernels
            .iter()
            .filter_map(|row| row.gpu_seconds)
            .sum();
        assert!(
            (kernels - device_time).abs() <= 1e-6 * kernels,
            "{kernels} and {device_time}"
        );
    }
}

/// Events of one track are inside one another or apart.
fn trace_nests(profile: &Profile) {
    let trace: Value = serde_json::from_str(&profile.to_chrome_trace()).unwrap();
    let mut tracks: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    let events = trace["traceEvents"].as_array().unwrap();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let number = |key: &str| event[key].as_u64().unwrap();
        let start = event["ts"].as_f64().unwrap();
        let end = start + event["dur"].as_f64().unwrap();
        assert!(start >= 0.0 && event["name"].is_string(), "{event}");
        tracks
            .entry((number("pid"), number("tid")))
            .or_default()
            .push((start, end));
    }
    // Five phases, the network and three layers, twice.
    let host = tracks.iter().find(|(track, _)| track.0 == 1);
    assert_eq!(host.unwrap().1.len(), 18);
    for (track, mut spans) in tracks {
        // The longer of two that begin together is around the other.
        spans.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut open: Vec<f64> = Vec::new();
        // A thousandth of a microsecond is lost to rounding.
        for (start, end) in spans {
            while open.last().is_some_and(|&around| around <= start + 1e-3) {
                open.pop();
            }
            let inside = open.last().is_none_or(|&around| end <= around + 1e-3);
            assert!(
                inside,
                "an event of {track:?} crosses another: {start} to {end}, {open:?}"
            );
            open.push(end);
        }
    }
    let samples = events.iter().filter(|event| event["ph"] == "C").count();
    assert_eq!(samples, profile.memory.len());
}
