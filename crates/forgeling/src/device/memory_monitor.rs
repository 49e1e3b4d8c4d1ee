//! Memory by the phases of training.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::memory::HostWatch;
use super::profile::Phase;
use super::{Device, LaunchCounter, MemoryUsage};

/// Bytes of one phase, over all times it was gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PhaseMemory {
    /// In use at the phase's last end.
    pub in_use: u64,
    /// The most that was in use.
    pub peak: u64,
    /// The most that was reserved at the phase's ends.
    pub reserved: u64,
    /// How often it ended.
    pub times: u64,
}

/// What a [`MemoryMonitor`] has seen, as it goes into reports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryReport {
    /// The device's name.
    pub device: String,
    /// Each phase that was gone through.
    pub phases: BTreeMap<Phase, PhaseMemory>,
    /// Whether the peaks of phases were looked for at every launch, or else at their ends only.
    pub at_launches: bool,
}

impl MemoryReport {
    /// The most that was in use in any phase.
    pub fn peak(&self) -> u64 {
        self.phases
            .values()
            .map(|phase| phase.peak)
            .max()
            .unwrap_or(0)
    }
}

/// Follows a device's memory through the phases of training.
///
/// ```
/// use forgeling::device::{MemoryMonitor, Phase};
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let mut monitor = MemoryMonitor::new(&device);
/// // Forward pass ..
/// monitor.end(Phase::Forward);
/// assert_eq!(monitor.report().phases[&Phase::Forward].times, 1);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
///
/// On the CPU a phase's peak is exact. On a GPU each end of a phase is one look, and the peak is the most of those at
/// its beginning and its end; what is allocated and freed in between is not seen unless the monitor
/// [watches](Self::watching) launches. The reserved bytes never lie below the true peak.
#[derive(Debug)]
pub struct MemoryMonitor {
    device: Device,
    host: Option<HostWatch>,
    launches: Option<LaunchCounter>,
    last: MemoryUsage,
    report: MemoryReport,
}

impl MemoryMonitor {
    /// A monitor that looks at the ends of phases. The first phase begins now.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            host: device.is_cpu().then(HostWatch::new),
            launches: None,
            last: device.memory(),
            report: MemoryReport {
                device: device.info().name.clone(),
                at_launches: device.is_cpu(),
                ..Default::default()
            },
        }
    }

    /// A monitor that looks at every launch of a GPU too, which takes time: for measuring memory, not speed.
    pub fn watching(device: &Device) -> Self {
        let mut monitor = Self::new(device);
        if !device.is_cpu() {
            monitor.launches = Some(LaunchCounter::on(device));
            monitor.report.at_launches = true;
        }
        monitor
    }

    /// Ends a phase; the next one begins. Gives what the device holds now.
    pub fn end(&mut self, phase: Phase) -> MemoryUsage {
        let now = self.device.memory();
        let watched = match (&self.host, &self.launches) {
            (Some(host), _) => host.take(),
            (None, Some(launches)) => launches.take_peak(),
            (None, None) => 0,
        };
        let seen = self.report.phases.entry(phase).or_default();
        seen.in_use = now.in_use;
        seen.peak = seen.peak.max(now.in_use).max(self.last.in_use).max(watched);
        seen.reserved = seen.reserved.max(now.reserved);
        seen.times += 1;
        self.last = now;
        now
    }

    /// What was seen so far.
    pub fn report(&self) -> &MemoryReport {
        &self.report
    }
}
