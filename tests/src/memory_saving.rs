//! What each way of saving memory saves and costs, and how near plans come. One test for every GPU, natively and in a
//! browser.

use forgeling::Device;
use forgeling::nn::PlanConfig;
use serde_json::{Value, json};

use super::memory_models::{Model, Stepped, ways};

/// Of the peak of plain training, with activations in 16 bits.
const HALVED: f64 = 0.6;
/// Of the peak of plain training, where a ResNet-18 is checkpointed.
const CHECKPOINTED: f64 = 0.65;
/// By which a plan may err.
const PLANNED: f64 = 0.15;

/// One network trained in one way.
#[derive(Debug, Clone)]
pub struct Saving {
    /// The network.
    pub network: &'static str,
    /// Examples of a batch.
    pub batch: usize,
    /// The way.
    pub way: &'static str,
    /// How it trains.
    pub config: PlanConfig,
    /// The most bytes in use.
    pub peak: u64,
    /// What the plan says they are.
    pub planned: u64,
    /// Parts of the peak of plain training.
    pub share: f64,
    /// Of each round's step, in milliseconds.
    pub times: Vec<f64>,
}

impl Saving {
    /// By how much the plan errs.
    pub fn error(&self) -> f64 {
        self.planned as f64 / self.peak as f64 - 1.0
    }

    /// The median of the steps, in milliseconds.
    pub fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    /// For a benchmark's table; `plain` is the median of plain training, where this is another.
    pub fn line(&self, device: &Device, plain: Option<f64>) -> Value {
        let extreme = |choose: fn(f64, f64) -> f64| self.times.iter().copied().reduce(choose);
        let backend = &device.info().backend;
        let implementation = match self.way {
            "f32" => "forgeling".to_owned(),
            way => format!("forgeling, {way}"),
        };
        json!({
            "workload": format!("{backend}: {}, batch {}", self.network, self.batch),
            "implementation": implementation,
            "device": format!("{} ({backend})", device.info().name),
            "median_ms": self.median(),
            "min_ms": extreme(f64::min),
            "max_ms": extreme(f64::max),
            "rounds": self.times.len(),
            "peak_bytes": self.peak,
            "peak_share": self.share,
            "planned_bytes": self.planned,
            "ratio": plain.map(|plain| self.median() / plain),
        })
    }

    /// Asserts that it saves what it is to save, and that the plan is near.
    ///
    /// # Panics
    /// When it is not so.
    pub fn check(&self) {
        assert!(self.error().abs() <= PLANNED, "planned: {self:?}");
        let most = match self.way {
            "f16" | "stored in 16 bits" => HALVED,
            "checkpointed" if self.network.starts_with("ResNet-18") => CHECKPOINTED,
            _ => f64::INFINITY,
        };
        // A perceptron's input is a third of its memory, and there in full before it is stored in 16 bits.
        let perceptron = self.network.starts_with("Mlp") && self.way != "f16";
        assert!(perceptron || self.share <= most, "saved: {self:?}");
    }
}

/// Trains a network in the first so many [`ways`] of saving memory, first by itself for its memory, then in so many
/// rounds of turns for its time. `now` is in milliseconds, and waits for the device where that can be done.
pub async fn compare(
    model: &Model,
    most: usize,
    rounds: usize,
    device: &Device,
    now: &dyn Fn() -> f64,
) -> Vec<Saving> {
    let mut savings: Vec<Saving> = Vec::new();
    for (way, config) in ways(device).into_iter().take(most) {
        let phases = model.measure(config, device).await;
        let peak = phases.values().copied().max().unwrap_or(0);
        let plain = savings.first().map_or(peak, |plain| plain.peak);
        savings.push(Saving {
            network: model.name,
            batch: model.batch,
            way,
            config,
            peak,
            planned: model.plan(config, device).peak,
            share: peak as f64 / plain as f64,
            times: Vec::new(),
        });
        device.tensors().memory_cleanup();
    }
    let trainings = savings.iter().map(|one| model.train(one.config, device));
    let mut trainings: Vec<_> = trainings.collect();
    // The first round warms up.
    for round in 0..=rounds {
        for (training, saving) in trainings.iter_mut().zip(&mut savings) {
            let begun = now();
            let Stepped { trip, rest } = training.step(&mut |_| ());
            let read = trip.run_all().await.unwrap();
            let loss = read.last().unwrap()[0];
            assert!(loss.is_finite(), "{saving:?}: the loss is {loss}");
            drop(rest);
            if round > 0 {
                saving.times.push(now() - begun);
            }
        }
    }
    savings
}

/// One after the other, each with its lines for a benchmark's table.
pub fn lines(savings: &[Saving], device: &Device) -> Vec<String> {
    let plain = savings[0].median();
    let plain = |index: usize| (index > 0).then_some(plain);
    let lines = savings.iter().enumerate();
    lines
        .map(|(index, saving)| saving.line(device, plain(index)).to_string())
        .collect()
}
