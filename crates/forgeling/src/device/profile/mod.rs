//! Where the time of a training step goes: phases, modules and kernels.
//!
//! Code says what it is doing by opening a [`phase`] or a [`span`], whose guard closes it. While no [`Profiler`] runs, that
//! is one look at an atomic flag. Spans nest by thread: a span that is opened inside another is part of it.
//!
//! ```
//! use forgeling::device::profile::{Phase, Profiler, ProfileConfig, phase, span};
//! # use forgeling::{Device, DeviceChoice};
//! # pollster::block_on(async {
//! let device = Device::open(DeviceChoice::Auto).await?;
//! let profiler = Profiler::start(&device, ProfileConfig::default())?;
//! {
//!     let _forward = phase(Phase::Forward);
//!     let _stem = span("stem");
//! }
//! let profile = profiler.finish().await;
//! assert_eq!(profile.phases[0].name, "forward");
//! assert_eq!(profile.modules[0].name, "stem");
//! println!("{profile}");
//! # Ok::<(), forgeling::Error>(()) }).unwrap();
//! ```
//!
//! # What the figures mean
//!
//! - `seconds` are of the host. On a GPU they are how long it takes to *ask* for the work; waiting for it is in the phase
//!   that reads a value back.
//! - `gpu_seconds` are of the device's own clock, where it has one (`timestamps` of [`Adapter`](super::Adapter)).
//! - A phase's figures are its own: those of phases inside it are not in it, so that phases add up. A module's include
//!   those of the modules inside it.
//! - `dispatches` and `bytes` are known of GPUs only, as is memory: the CPU back end launches nothing.
//! - A backward pass is one call for the whole network, so that modules cannot be seen in it, except where a checkpointed
//!   segment is computed anew. There the kernels tell: they are counted and, with [`GpuTiming::Kernels`], timed by phase,
//!   ours by their own names.
//!
//! - `recorder`: what is written down while a profiler runs.
//! - `summary`: how it becomes a [`Profile`].
//! - `table`, `trace`: a profile as text and for trace viewers.

mod recorder;
mod summary;
mod table;
mod trace;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::Device;
use super::launches::Listening;
use crate::error::{Error, Result};
use recorder::{Label, Recorder};
pub use summary::{KernelRow, Profile, ProfileRow};

/// A part of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Getting a batch and putting it on the device.
    Data,
    /// From images to the loss.
    Forward,
    /// From the loss to gradients.
    Backward,
    /// From gradients to new weights.
    Step,
    /// Waiting for the device and reading values.
    Readback,
}

impl Phase {
    /// The name in tables, traces and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Step => "step",
            Self::Readback => "readback",
        }
    }
}

/// What is timed by a GPU's own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuTiming {
    /// Nothing.
    Off,
    /// Every span. The device's queue is flushed where one begins or ends, and nothing waits for it, except on Metal.
    #[default]
    Spans,
    /// Every kernel, and of that the spans. Slower: the host speaks to the device's queue three times for each launch.
    Kernels,
}

/// When the memory in use on a GPU is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemorySampling {
    /// Never.
    Off,
    /// Where a span ends. What is in use only in between is not seen.
    #[default]
    Spans,
    /// At every launch, too, for a peak that misses nothing. Slower: each look waits for the queue to take the launch.
    Launches,
}

/// What a [`Profiler`] writes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileConfig {
    /// What is timed by the GPU's own clock. Default [`GpuTiming::Spans`].
    pub gpu: GpuTiming,
    /// When the GPU's memory is looked at. Default [`MemorySampling::Spans`].
    pub memory: MemorySampling,
}

/// Whether there is a [`RECORDER`].
static ACTIVE: AtomicBool = AtomicBool::new(false);
static RECORDER: RwLock<Option<Arc<Recorder>>> = RwLock::new(None);

/// A span that is open until this is dropped.
#[must_use = "a span ends when its guard is dropped"]
#[derive(Debug)]
pub struct Span(Option<(Arc<Recorder>, usize)>);

impl Drop for Span {
    fn drop(&mut self) {
        if let Some((recorder, index)) = self.0.take() {
            recorder.end(index);
        }
    }
}

fn begin(label: impl FnOnce() -> Label) -> Span {
    if !ACTIVE.load(Ordering::Relaxed) {
        return Span(None);
    }
    let recorder = RECORDER
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Span(recorder.and_then(|recorder| {
        let index = recorder.begin(label())?;
        Some((recorder, index))
    }))
}

/// Opens a phase of the step.
pub fn phase(phase: Phase) -> Span {
    begin(|| Label::Phase(phase))
}

/// Opens a module, or any other part of a phase that has a name.
pub fn span(name: &'static str) -> Span {
    begin(|| Label::Part(Cow::Borrowed(name)))
}

/// Opens a module whose name is put together, for example `blocks.0`, as its parameters are called.
pub fn named(name: &impl fmt::Display) -> Span {
    begin(|| Label::Part(Cow::Owned(name.to_string())))
}

/// Writes down spans and launches of this whole process, all threads, while it lives.
///
/// One at a time. It may overlap with [`LaunchCounter`](super::LaunchCounter)s, which go on counting.
#[derive(Debug)]
pub struct Profiler {
    recorder: Arc<Recorder>,
    listening: Option<Listening>,
}

impl Profiler {
    /// Begins. Memory and GPU times are those of `device`; launches are counted on all.
    ///
    /// # Errors
    /// When a profiler runs already.
    pub fn start(device: &Device, config: ProfileConfig) -> Result<Self> {
        let mut active = RECORDER.write().unwrap_or_else(PoisonError::into_inner);
        if active.is_some() {
            let error = Error::invalid("start_profiler", "a profiler runs already");
            return Err(error.expected("one at a time"));
        }
        let recorder = Arc::new(Recorder::new(device, config));
        *active = Some(recorder.clone());
        drop(active);
        let listening = Some(Listening::new(recorder.clone()));
        ACTIVE.store(true, Ordering::Relaxed);
        Ok(Self {
            recorder,
            listening,
        })
    }

    /// Ends, waits for the device's times and sums up. Spans that are still open end here.
    pub async fn finish(mut self) -> Profile {
        self.stop();
        let log = self.recorder.take();
        summary::summarize(log).await
    }

    fn stop(&mut self) {
        if self.listening.take().is_some() {
            ACTIVE.store(false, Ordering::Relaxed);
            *RECORDER.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        self.stop();
        // Windows that are open on the device would stay so.
        drop(self.recorder.take());
    }
}
