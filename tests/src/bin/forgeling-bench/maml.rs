//! A meta-step of MAML over many tasks.

use forgeling::Device;
use forgeling::data::{EpisodeSampler, Glyphs, Queries, Shots, Split, Task, Ways};
use forgeling::device::DeviceKind;
use forgeling::meta::gradient::{GradientLearner, InnerConfig, Maml, MamlConfig};
use forgeling::meta::{TaskByTaskLoss, TaskLoss};
use forgeling::nn::Network;
use forgeling::nn::zoo::Conv4Config;
use forgeling::train::{HardwareConfig, HardwareManager, Trainer, TrainerConfig};

use crate::runner::{Contestant, Extent, OURS, Pace, Result, Turn, compare, description, timed};

/// Tasks of a step, and queries of a class: one, as in MAML's paper, and 15, as in most others.
const SIZES: [(usize, usize); 2] = [(16, 1), (16, 15)];
/// For a look: 16 tasks take seconds on a software adapter.
const SMALLEST: (usize, usize) = (2, 1);
const BATCHES: usize = 2;

/// All tasks of a step in one computation against one after the other, on each device.
pub fn bench(devices: &[Device], extent: Extent) -> Result<()> {
    let sizes = if extent.smallest {
        &[SMALLEST][..]
    } else {
        &SIZES
    };
    for device in devices {
        let slow = device.info().kind == DeviceKind::SoftwareGpu;
        for &(tasks, queries) in sizes {
            let batches = draw(tasks, queries)?;
            let mut together = Trained::together(&batches, device)?;
            let mut apart = Trained::task_by_task(&batches, device)?;
            let mut all: [&mut dyn Contestant; 2] = [&mut together, &mut apart];
            let rounds = if slow { 3 } else { 15 };
            let pace = extent.pace(Pace { rounds, steps: 1 });
            let workload = workload(tasks, queries);
            compare(&workload, Some(tasks), pace, device, &mut all)?;
        }
    }
    Ok(())
}

/// 5-way 1-shot tasks.
fn draw(tasks: usize, queries: usize) -> Result<Vec<Vec<Task>>> {
    let glyphs = Glyphs::new(0, Split::Train, 1000)?;
    let queries = Queries::new(queries)?;
    let mut sampler = EpisodeSampler::new(Ways::DEFAULT, Shots::new(1)?, queries, 0);
    let batches = (0..BATCHES).map(|_| sampler.sample_batch(&glyphs, tasks)?.tasks());
    Ok(batches.collect::<forgeling::Result<_>>()?)
}

/// A network in training on one device.
struct Trained<'a> {
    name: String,
    device: String,
    /// In one computation.
    together: bool,
    trainer: Trainer,
    model: GradientLearner<Maml>,
    batches: &'a [Vec<Task>],
    steps: usize,
}

impl<'a> Trained<'a> {
    fn together(batches: &'a [Vec<Task>], device: &Device) -> Result<Self> {
        Self::new(OURS, true, batches, device)
    }

    fn task_by_task(batches: &'a [Vec<Task>], device: &Device) -> Result<Self> {
        Self::new("forgeling, task by task", false, batches, device)
    }

    fn new(name: &str, together: bool, batches: &'a [Vec<Task>], device: &Device) -> Result<Self> {
        let config = Conv4Config {
            filters: 32,
            ..Default::default()
        };
        let maml = MamlConfig {
            inner: InnerConfig {
                steps: 3,
                ..Default::default()
            },
            ..Default::default()
        };
        let graph = config.graph()?.with_outputs(5)?;
        let network = Network::new(&graph, 0, device);
        let manager = HardwareManager::on(device.clone(), HardwareConfig::default())?;
        Ok(Self {
            name: name.to_owned(),
            device: description(device),
            together,
            trainer: Trainer::new(TrainerConfig::default(), manager)?,
            model: GradientLearner::new(network, Maml::new(maml)?, true),
            batches,
            steps: 0,
        })
    }

    fn step(&mut self) -> Result<f64> {
        let place = self.steps % self.batches.len();
        self.steps += 1;
        let batch = &self.batches[place..=place];
        let step = if self.together {
            pollster::block_on(self.trainer.step_on(&mut self.model, &TaskLoss, batch))
        } else {
            pollster::block_on(
                self.trainer
                    .step_on(&mut self.model, &TaskByTaskLoss, batch),
            )
        };
        Ok(step?.loss)
    }
}

impl Contestant for Trained<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        let device = self.trainer.manager().device().tensors().clone();
        timed(&device, steps, || self.step())
    }
}

/// What is measured, for the table.
fn workload(tasks: usize, queries: usize) -> String {
    format!(
        "MAML step, Conv4-32, {tasks} tasks of 5-way 1-shot {queries}-query, 28×28, 3 inner steps"
    )
}
