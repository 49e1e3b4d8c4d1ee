//! A buffer that a strategy fills.

use std::sync::{Arc, Mutex, PoisonError};

use super::Buffer;
use crate::continual::ContinualBatch;
use crate::device::TensorDevice;
use crate::error::Result;
use crate::train::parts::{Replay, RunState, Sections};

/// One [`Buffer`] for a run and for a strategy that chooses what is kept, such as [`Icarl`](crate::continual::Icarl): clones
/// share it. In checkpoints it is the run's.
#[derive(Debug, Clone)]
pub struct SharedBuffer(Arc<Mutex<Buffer>>);

impl SharedBuffer {
    /// Of this buffer.
    pub fn new(buffer: Buffer) -> Self {
        Self(Arc::new(Mutex::new(buffer)))
    }

    /// Does something with the buffer, which nobody else sees meanwhile.
    pub fn with<T>(&self, act: impl FnOnce(&mut Buffer) -> T) -> T {
        // What changes it leaves it whole, also where it fails.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RunState for SharedBuffer {
    fn save(&self, to: &mut Sections) -> Result<()> {
        self.with(|buffer| buffer.save(to))
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        self.with(|buffer| buffer.load(from, device))
    }
}

impl Replay<ContinualBatch> for SharedBuffer {
    fn remember(
        &mut self,
        batch: &ContinualBatch,
        task: Option<usize>,
        answers: Option<&[f32]>,
    ) -> Result<()> {
        self.with(|buffer| buffer.remember(batch, task, answers))
    }

    fn keeps_answers(&self) -> bool {
        self.with(|buffer| buffer.keeps_answers())
    }

    fn draw(&mut self, examples: usize) -> Result<Option<ContinualBatch>> {
        self.with(|buffer| buffer.draw(examples))
    }
}
