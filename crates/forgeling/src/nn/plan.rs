//! How much memory training a network takes, known before any is allocated.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::graph::Graph;
use crate::device::{Device, Phase};
use crate::error::{Error, Result};
use crate::ops::plan::{MemoryUse, PlannedOptimizer, PlannedPrecision, Shaped, Simulation};
use crate::ops::{EpisodeCounts, Heuristics};

/// A network that can tell what its training needs, without being made.
pub trait Planned {
    /// The shape of a batch of so many examples.
    fn batch_shape(&self, examples: usize) -> Vec<usize>;

    /// From a batch to logits `[rows, classes]`, whose cross entropy is the loss: the same operations in the same order
    /// as the network's own forward pass.
    ///
    /// # Errors
    /// When the configuration is not valid, or the batch does not fit it.
    fn describe(&self, sim: &Simulation, batch: Shaped) -> Result<Shaped>;
}

/// How training is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanConfig {
    /// In what activations are computed and kept. Default f32.
    pub precision: PlannedPrecision,
    /// Who takes the step. Default Adam.
    pub optimizer: PlannedOptimizer,
    /// Whether blocks keep their input only, and are computed once more in the backward pass. Default `false`.
    pub checkpointing: bool,
    /// Whether a step gathers the gradients of several micro-batches, those of the earlier ones being kept. Default
    /// `false`.
    pub accumulating: bool,
}

/// What some of the memory is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contributor {
    /// What it is for.
    pub usage: MemoryUse,
    /// Whose it is, for example `blocks.0.convolved`.
    pub name: String,
    /// How much it is.
    pub bytes: u64,
}

/// How much memory a training step takes at most, phase by phase, and for what.
///
/// The plan is made by going through two steps, the first of which also brings the parameters into order, and counting
/// each buffer that the operations of ours on a GPU would allocate until they would free it again. It knows the
/// launches, so it is not a rule of thumb: it lies within 15 % of what lavapipe says is in use, most often within 3 %.
/// Memory that pools keep in reserve comes on top.
///
/// ```
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::nn::{MemoryPlan, PlanConfig};
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let mlp = MlpConfig::default().graph()?;
/// let plan = MemoryPlan::new(&mlp, 128, PlanConfig::default(), &device)?;
/// assert!(plan.peak > 4 * 128 * 784);
/// let most = MemoryPlan::largest_batch(&mlp, 4096, PlanConfig::default(), &device, 10_000_000)?;
/// assert!(most.is_some_and(|most| (512..2048).contains(&most)));
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Examples in a forward and backward pass.
    pub batch: usize,
    /// How training is done.
    pub config: PlanConfig,
    /// The most bytes in use at once.
    pub peak: u64,
    /// The most bytes in use in each phase.
    pub phases: BTreeMap<Phase, u64>,
    /// What is in use when the most is, the largest first.
    pub contributors: Vec<Contributor>,
}

/// Contributors that [`MemoryPlan::explain`] names.
const NAMED: usize = 8;

impl MemoryPlan {
    /// The plan for a network on batches of so many examples.
    ///
    /// # Errors
    /// When there is no example, and those of [`Planned::describe`].
    pub fn new(
        network: &impl Planned,
        batch: usize,
        config: PlanConfig,
        device: &Device,
    ) -> Result<Self> {
        if batch == 0 {
            return Err(Error::invalid("memory_plan", "no example in a batch")
                .expected("at least 1")
                .got(0));
        }
        let shape = network.batch_shape(batch);
        let heuristics = Heuristics::of(device.tensors());
        // Who has which parameters is known once the network has described itself.
        let first = Simulation::new(config.precision, false, heuristics);
        network.describe(&first, first.batch(&shape))?;
        let sim = Simulation::new(config.precision, config.checkpointing, heuristics);
        sim.begin(Phase::Data);
        for (name, shape, trained) in first.all_parameters() {
            if trained {
                sim.parameter(&name, &shape);
            } else {
                sim.constant(&name, &shape);
            }
        }
        drop(first);
        for _ in 0..2 {
            let passes = 1 + usize::from(config.accumulating);
            let mut results = Vec::new();
            for _ in 0..passes {
                sim.begin(Phase::Data);
                let images = sim.batch(&shape);
                sim.begin(Phase::Forward);
                let logits = network.describe(&sim, images)?;
                results.push(sim.untracked(&logits));
                let loss = sim.softmax_cross_entropy(sim.output(logits))?;
                sim.begin(Phase::Backward);
                results.push(sim.untracked(&loss));
                sim.backward(loss)?;
            }
            sim.begin(Phase::Step);
            let before = sim.step(config.optimizer);
            let statistics = sim.absorb();
            sim.begin(Phase::Readback);
            let staging: Vec<Shaped> = results.iter().map(|result| sim.read_back(result)).collect();
            drop((before, statistics, results, staging));
        }
        let (peak, by_name) = sim.peak();
        let mut contributors: Vec<Contributor> = by_name
            .into_iter()
            .map(|(usage, name, bytes)| Contributor { usage, name, bytes })
            .collect();
        contributors.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        Ok(Self {
            batch,
            config,
            peak,
            phases: sim.phases(),
            contributors,
        })
    }

    /// The most examples, up to `most`, whose plan stays within `budget` bytes; `None` if not even one does.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn largest_batch(
        network: &impl Planned,
        most: usize,
        config: PlanConfig,
        device: &Device,
        budget: u64,
    ) -> Result<Option<usize>> {
        let fits = |batch: usize| -> Result<bool> {
            Ok(Self::new(network, batch, config, device)?.peak <= budget)
        };
        if most == 0 || !fits(1)? {
            return Ok(None);
        }
        // The first fits, what lies beyond the last does not or is not wanted.
        let (mut fitting, mut beyond) = (1, most + 1);
        while beyond - fitting > 1 {
            let middle = fitting + (beyond - fitting) / 2;
            if fits(middle)? {
                fitting = middle;
            } else {
                beyond = middle;
            }
        }
        Ok(Some(fitting))
    }

    /// What is in use when the most is, by what it is for.
    pub fn by_use(&self) -> BTreeMap<MemoryUse, u64> {
        let mut by_use = BTreeMap::new();
        for Contributor { usage, bytes, .. } in &self.contributors {
            *by_use.entry(*usage).or_default() += bytes;
        }
        by_use
    }

    /// A table of the phases, of what the peak is made of, and of its largest parts, for people.
    pub fn explain(&self) -> String {
        self.to_string()
    }
}

/// Bytes as people read them.
pub(crate) fn readable(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..10_000 => return format!("{bytes} B"),
        10_000..10_000_000 => (1e3, "kB"),
        10_000_000..10_000_000_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{:.1} {name}", bytes as f64 / unit)
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlanConfig {
            precision,
            optimizer,
            checkpointing,
            accumulating,
        } = self.config;
        let and = |on: bool, what: &'static str| if on { what } else { "" };
        writeln!(
            f,
            "{} for {} examples: {precision:?}, {optimizer:?}{}{}",
            readable(self.peak),
            self.batch,
            and(checkpointing, ", checkpoints"),
            and(accumulating, ", accumulated"),
        )?;
        let mut line = |name: &str, bytes: u64| {
            let part = 100.0 * bytes as f64 / self.peak.max(1) as f64;
            writeln!(f, "  {name:<40} {:>10} {part:>5.1} %", readable(bytes))
        };
        line("the most in each phase", self.peak)?;
        for (phase, bytes) in &self.phases {
            line(&format!("  {}", phase.name()), *bytes)?;
        }
        line("the peak, by what it is for", self.peak)?;
        for (usage, bytes) in self.by_use() {
            line(&format!("  {}", usage.name()), bytes)?;
        }
        let named = &self.contributors[..self.contributors.len().min(NAMED)];
        line(
            "its largest parts",
            named.iter().map(|part| part.bytes).sum(),
        )?;
        for Contributor { name, bytes, .. } in named {
            line(&format!("  {name}"), *bytes)?;
        }
        Ok(())
    }
}

/// Episodes of a prototypical network ([`Learner::protonet`](crate::meta::Learner::protonet)); their number is that of the examples.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedEpisodes {
    /// The network, of which only what makes features is planned.
    pub encoder: Graph,
    /// Classes of an episode.
    pub ways: usize,
    /// Support examples of a class.
    pub shots: usize,
    /// Query examples of a class.
    pub queries: usize,
}

impl PlannedEpisodes {
    fn counts(&self, episodes: usize) -> EpisodeCounts {
        EpisodeCounts {
            episodes,
            ways: self.ways,
            shots: self.shots,
            queries: self.queries,
        }
    }
}

impl Planned for PlannedEpisodes {
    fn batch_shape(&self, examples: usize) -> Vec<usize> {
        self.encoder.batch_shape(self.counts(examples).rows())
    }

    fn describe(&self, sim: &Simulation, batch: Shaped) -> Result<Shaped> {
        let episodes = batch.shape()[0] / self.counts(1).rows().max(1);
        let features = self.encoder.encoder().describe(sim, batch)?;
        let shape = [features.shape()[0], features.len() / features.shape()[0]];
        let features = sim.reshape(features, &shape);
        let logits = sim.episode_logits(features, self.counts(episodes))?;
        let rows = logits.len() / self.ways;
        Ok(sim.reshape(logits, &[rows, self.ways]))
    }
}
