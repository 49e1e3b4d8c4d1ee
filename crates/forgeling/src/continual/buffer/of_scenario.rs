//! A buffer that is filled when contexts end.

use super::{Buffer, Policy};
use crate::continual::{ContinualBatch, Scenario};
use crate::data::Split;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::train::parts::{Replay, RunState, Sections};

/// A [`Buffer`] that keeps examples of a scenario's contexts by itself when they end, where its policy is
/// [`Policy::PerClassAtEnd`]; with any other it is as the buffer alone.
#[derive(Debug, Clone)]
pub struct ScenarioBuffer {
    buffer: Buffer,
    scenario: Scenario,
}

impl ScenarioBuffer {
    /// For a run on this scenario.
    ///
    /// # Errors
    /// When the scenario has other images or more labels than the buffer takes, or no contexts end in it.
    pub fn new(buffer: Buffer, scenario: Scenario) -> Result<Self> {
        const OPERATION: &str = "scenario_buffer";
        let (shape, labels) = (scenario.image_shape(), scenario.outputs());
        if (shape, labels) != (buffer.memory.shape, labels.min(buffer.classes)) {
            return Err(Error::invalid(OPERATION, "the buffer takes other examples")
                .expected(format!("{labels} labels of {shape}"))
                .got(format!("{} of {}", buffer.classes, buffer.memory.shape)));
        }
        let ends = scenario.config().setting.reveals().task_boundaries;
        if buffer.config.policy == Policy::PerClassAtEnd && !ends {
            let message = "examples are kept when a context ends, and nobody is told of that";
            return Err(Error::invalid(OPERATION, message)
                .expected("a setting with boundaries")
                .got(format!("{:?}", scenario.config().setting)));
        }
        Ok(Self { buffer, scenario })
    }

    /// The buffer.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }
}

impl RunState for ScenarioBuffer {
    fn save(&self, to: &mut Sections) -> Result<()> {
        self.buffer.save(to)
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        self.buffer.load(from, device)
    }
}

impl Replay<ContinualBatch> for ScenarioBuffer {
    fn remember(
        &mut self,
        batch: &ContinualBatch,
        task: Option<usize>,
        answers: Option<&[f32]>,
    ) -> Result<()> {
        self.buffer.remember(batch, task, answers)
    }

    fn keeps_answers(&self) -> bool {
        self.buffer.keeps_answers()
    }

    fn end_task(&mut self, task: usize) -> Result<()> {
        if self.buffer.config.policy != Policy::PerClassAtEnd {
            return Ok(());
        }
        let context = self.scenario.context(Split::Train, task)?;
        self.buffer.end_context(&context, context.labels(), task)
    }

    fn draw(&mut self, examples: usize) -> Result<Option<ContinualBatch>> {
        self.buffer.draw(examples)
    }
}
