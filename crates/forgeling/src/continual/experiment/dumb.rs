//! A network from nothing on a buffer, whenever it is tested.

use std::ops::ControlFlow;

use super::single_pass::{Learner, Spent};
use super::strategy::GDumbConfig;
use super::{Experiment, RunEvent};
use crate::continual::{
    Buffer, BufferSource, BufferSourceConfig, ContinualBatch, ContinualLoss, InOrder, Shows,
};
use crate::device::{Device, TensorDevice};
use crate::error::Result;
use crate::nn::Network;
use crate::train::parts::{Replay, RunState, Sections};
use crate::train::{
    HardwareConfig, HardwareManager, Run, Schedule, StopReason, Trainer, TrainerConfig,
};

/// A buffer, and the network that was trained on it last.
pub(super) struct Dumb<'a> {
    experiment: &'a Experiment,
    config: GDumbConfig,
    hardware: HardwareConfig,
    device: Device,
    buffer: Buffer,
    objective: ContinualLoss,
    trained: Option<(Trainer, Network)>,
    /// Steps and examples of all trainings.
    steps: usize,
    examples: u64,
}

impl<'a> Dumb<'a> {
    pub fn new(
        experiment: &'a Experiment,
        config: GDumbConfig,
        manager: &HardwareManager,
    ) -> Result<Self> {
        Ok(Self {
            config,
            hardware: manager.config().clone(),
            device: manager.device().clone(),
            buffer: experiment.protocol.strategy.buffer(experiment)?,
            objective: ContinualLoss::new(experiment.head()?.showing(Shows::All)),
            trained: None,
            experiment,
            steps: 0,
            examples: 0,
        })
    }
}

impl RunState for Dumb<'_> {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("trained", &(self.steps, self.examples))?;
        self.buffer.save(to)
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        (self.steps, self.examples) = from.get("trained")?;
        self.buffer.load(from, device)
    }
}

impl Learner for Dumb<'_> {
    async fn learn(&mut self, batch: &ContinualBatch) -> Result<()> {
        self.buffer.remember(batch, None, None)
    }

    async fn begin_test(
        &mut self,
        on_event: &mut impl FnMut(RunEvent<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        let Experiment {
            scenario,
            protocol,
            seeds,
            ..
        } = self.experiment;
        let manager = HardwareManager::on(self.device.clone(), self.hardware.clone())?;
        let mut network = self.experiment.network(&self.device)?;
        let GDumbConfig {
            passes,
            batch_size,
            initial,
            last,
            shift,
        } = self.config;
        let steps = passes * self.buffer.len().div_ceil(batch_size.max(1));
        let config = TrainerConfig {
            epochs: Some(passes),
            optimizer: protocol.optimizer,
            schedule: Schedule::Cosine {
                initial,
                floor: last,
                steps: steps.max(1),
            },
            ..Default::default()
        };
        let mut trainer = Trainer::new(config, manager)?;
        // Before anything came there is nothing to train on.
        if !self.buffer.is_empty() {
            let config = BufferSourceConfig {
                batch_size,
                setting: scenario.config().setting,
                shift,
                seed: seeds.order,
            };
            let mut source = BufferSource::new(self.buffer.clone(), config)?;
            let run = Run::on(&mut source);
            let fit = trainer.fit(&mut network, &self.objective, run, |event| {
                on_event(RunEvent::Training(event))
            });
            let summary = fit.await?;
            self.steps += summary.steps;
            self.examples += summary.examples as u64;
            if summary.reason == StopReason::Asked {
                return Ok(false);
            }
        }
        self.trained = Some((trainer, network));
        Ok(true)
    }

    async fn test(&mut self, tests: &mut InOrder) -> Result<f64> {
        let Some((trainer, network)) = &self.trained else {
            return Ok(0.0);
        };
        let found = trainer.validate(network, &self.objective, tests).await?;
        Ok(found.accuracy.unwrap_or(0.0))
    }

    fn spent(&self) -> Spent {
        let graph = &self.experiment.graph;
        Spent {
            steps: self.steps,
            replayed: self.examples,
            multiply_adds: 3 * graph.multiply_adds() * self.examples,
            model_bytes: 4 * graph.counts().all(),
            buffer_bytes: self.buffer.bytes() as u64,
            state_bytes: 0,
        }
    }
}
