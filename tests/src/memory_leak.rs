//! Whether memory grows from step to step.

use burn::tensor::{Tensor, TensorData};
use forgeling::nn::zoo::Conv4Config;
use forgeling::nn::{Network, Normalization, Pass, absorb};
use forgeling::ops::softmax_cross_entropy;
use forgeling::train::{Adam, AdamConfig};
use forgeling::{Device, Readback};
use serde_json::{Value, json};

use super::values::waves;

/// Steps before the first sample: buffers and kernels are made, pools find their size.
const WARM_UP: usize = 50;
/// Samples in all.
const SAMPLES: usize = 20;
/// Growth that is noise, of all steps together: a buffer or two of the step that had not ended when another sample was
/// taken.
const NOISE: f64 = 64.0 * 1024.0;
/// The same of the whole process: heaps grow by pages, and drivers keep what they like.
const PROCESS_NOISE: f64 = 4.0 * 1024.0 * 1024.0;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Growth {
    /// Steps after warming up.
    pub steps: usize,
    /// Bytes of the device in use and reserved, and of the whole process, at evenly spaced steps. In a browser the
    /// process is the module's linear memory; 0 where it is not known.
    pub samples: Vec<[u64; 3]>,
    /// Bytes by which these grow with each step: slopes of least squares.
    pub slopes: [f64; 3],
    /// Milliseconds of a step, of those before each sample.
    pub times: Vec<f64>,
}

impl Growth {
    /// For a benchmark's table and figure.
    pub fn line(&self, device: &Device) -> Value {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        let every = self.steps / self.samples.len();
        let samples = self.samples.iter().enumerate();
        let samples: Vec<Vec<u64>> = samples
            .map(|(index, sample)| [&[((index + 1) * every) as u64], &sample[..]].concat())
            .collect();
        let info = device.info();
        let browser = cfg!(target_arch = "wasm32");
        let backend = if device.is_cpu() && browser {
            "wasm"
        } else {
            &info.backend
        };
        json!({
            "workload": format!("{backend}: Conv4-8 of 2 blocks, 12x12, batch 24, {} steps", self.steps),
            "implementation": "forgeling",
            "device": format!("{} ({backend})", info.name),
            "backend": backend,
            "median_ms": times[times.len() / 2],
            "min_ms": times[0],
            "max_ms": times[times.len() - 1],
            "rounds": times.len(),
            "steps": every,
            "last_bytes": self.samples.last(),
            "slopes": self.slopes,
            "samples": samples,
        })
    }
}

/// Bytes that this process has of the system's memory.
#[cfg(not(target_arch = "wasm32"))]
fn process() -> u64 {
    // Pages in all, then those that are resident.
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|pages| pages.split(' ').nth(1)?.parse::<u64>().ok());
    resident.map_or(0, |pages| 4096 * pages)
}

/// Bytes of the module's linear memory.
#[cfg(target_arch = "wasm32")]
fn process() -> u64 {
    65_536 * core::arch::wasm32::memory_size(0) as u64
}

/// Trains a small network for so many steps after warming up, and samples the device's memory. `now` is in milliseconds.
pub async fn grow(device: &Device, steps: usize, now: &dyn Fn() -> f64) -> Growth {
    let config = Conv4Config {
        filters: 8,
        blocks: 2,
        size: 12,
        ..Default::default()
    };
    let on = device.autodiff();
    let graph = config.graph().unwrap();
    let mut model = Network::on(&graph, 0, &on);
    let mut adam = Adam::new(AdamConfig::default()).unwrap();
    // Large enough for the CPU's pool, which counts large buffers.
    let (batch, classes) = (24, graph.features_shape().len());
    let labels: Vec<usize> = (0..batch).map(|row| row % classes).collect();
    let values = waves(batch * 12 * 12, 1.0);
    let (mut samples, mut times, mut begun) = (Vec::new(), Vec::new(), 0.0);
    let every = (steps / SAMPLES).max(1);
    for step in 0..WARM_UP + steps {
        if step == WARM_UP {
            begun = now();
        }
        let mut pass = Pass::new(Normalization::Batch, &on);
        let images: Tensor<4> = pass.values(TensorData::new(values.clone(), [batch, 1, 12, 12]));
        let logits = model.features(images, &mut pass).unwrap().flatten(1, 3);
        let loss = softmax_cross_entropy(logits, &labels).unwrap();
        let statistics = pass.take_statistics();
        let gradients = pass.backward(loss.clone(), &model).unwrap();
        model = absorb(adam.step(1e-4, model, gradients), statistics).unwrap();
        let [loss] = Readback::new().with(loss).run().await.unwrap();
        assert!(loss[0].is_finite());
        if step >= WARM_UP && (step - WARM_UP + 1).is_multiple_of(every) {
            let usage = device.memory();
            samples.push([usage.in_use, usage.reserved, process()]);
            let ended = now();
            times.push((ended - begun) / every as f64);
            begun = ended;
        }
    }
    let slopes = [0, 1, 2].map(|which| {
        let values = samples.iter().map(|sample| sample[which] as f64);
        slope(&values.collect::<Vec<_>>()) / every as f64
    });
    Growth {
        steps,
        samples,
        slopes,
        times,
    }
}

/// Of least squares, from one value to the next.
fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let places = || (0..values.len()).map(|place| place as f64 - middle);
    let covariance: f64 = places().zip(values).map(|(x, y)| x * (y - mean)).sum();
    covariance / places().map(|x| x * x).sum::<f64>()
}

/// Asserts that neither what is in use nor what is reserved has grown by more than noise, nor the process.
///
/// # Panics
/// When it has.
pub fn assert_flat(growth: &Growth, name: &str) {
    let kinds = [
        ("in use", NOISE),
        ("reserved", NOISE),
        ("of the process", PROCESS_NOISE),
    ];
    for (slope, (what, noise)) in growth.slopes.iter().zip(kinds) {
        let grown = slope * growth.steps as f64;
        assert!(
            grown <= noise,
            "{grown} bytes {what} in {} steps on {name}: {:?}",
            growth.steps,
            growth.samples
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope() {
        assert_eq!(slope(&[1.0, 3.0, 5.0, 7.0]), 2.0);
        assert_eq!(slope(&[4.0; 5]), 0.0);
    }
}
