//! How much memory a device holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use burn::backend::DispatchDevice;
use cubecl::MemoryScope;
use forgeling_cpu::pool;
use serde::{Deserialize, Serialize};

use super::{Device, Ledger, lock};

/// Bytes of a device's memory.
///
/// On GPUs this is what CubeCL says of its pools, all streams together, burn's tensors and ours alike. On the CPU it is
/// the large buffers of our own operations, those of 64 KiB and more: smaller ones, scratch that lives within one
/// operation, and whatever burn's own operations allocate are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryUsage {
    /// Bytes that tensors hold now.
    pub in_use: u64,
    /// Bytes taken from the system, with those that wait to be used again.
    pub reserved: u64,
    /// The most that was in use so far. On the CPU that is exact; on GPUs it is the most of all looks that were taken, by
    /// this method, a [`MemoryMonitor`](super::MemoryMonitor) or a [`Ledger`].
    pub peak: u64,
}

/// The most that was seen in use on GPUs.
static PEAKS: Mutex<Vec<(burn::tensor::Device, u64)>> = Mutex::new(Vec::new());

/// What the host's large buffers come to.
#[derive(Debug)]
struct Host {
    in_use: AtomicU64,
    peak: AtomicU64,
}

static HOST: Host = Host {
    in_use: AtomicU64::new(0),
    peak: AtomicU64::new(0),
};

/// The most that was in use on the host since each of these was made or read.
static WATCHES: Mutex<Vec<Weak<AtomicU64>>> = Mutex::new(Vec::new());

/// Follows the most bytes in use on the host.
#[derive(Debug)]
pub(super) struct HostWatch(Arc<AtomicU64>);

impl HostWatch {
    pub fn new() -> Self {
        let watch = Arc::new(AtomicU64::new(HOST.in_use.load(Ordering::Relaxed)));
        let mut watches = lock(&WATCHES);
        watches.retain(|other| other.strong_count() > 0);
        watches.push(Arc::downgrade(&watch));
        Self(watch)
    }

    /// The most since the last call.
    pub fn take(&self) -> u64 {
        let now = HOST.in_use.load(Ordering::Relaxed);
        self.0.swap(now, Ordering::Relaxed).max(now)
    }
}

/// Bytes of the host that are in use as long as this lives, on the account of the trainer whose ledger was entered
/// when it was made.
#[derive(Debug)]
pub(crate) struct Counted {
    bytes: u64,
    owner: Option<Ledger>,
}

impl Counted {
    pub fn new(bytes: u64) -> Self {
        let now = HOST.in_use.fetch_add(bytes, Ordering::Relaxed) + bytes;
        HOST.peak.fetch_max(now, Ordering::Relaxed);
        for watch in lock(&WATCHES).iter().filter_map(Weak::upgrade) {
            watch.fetch_max(now, Ordering::Relaxed);
        }
        let owner = Ledger::of_host();
        if let Some(owner) = &owner {
            owner.host_grows(bytes);
        }
        Self { bytes, owner }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        HOST.in_use.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(owner) = &self.owner {
            owner.host_shrinks(self.bytes);
        }
    }
}

/// Bytes in use and reserved on a GPU, or `None` on the CPU.
pub(super) fn on_gpu(device: &burn::tensor::Device, scope: MemoryScope) -> Option<[u64; 2]> {
    match device.as_dispatch() {
        DispatchDevice::Cube(device) => {
            let usage = device.client().memory_report(scope).usage();
            Some([usage.bytes_in_use, usage.bytes_reserved])
        }
        _ => None,
    }
}

impl Device {
    /// The memory this device holds now, for the whole process. On a GPU the call waits until what was asked of the
    /// device has been handed to it, though not until it is computed: not for every operation.
    pub fn memory(&self) -> MemoryUsage {
        let Some([in_use, reserved]) = on_gpu(&self.tensors, MemoryScope::Device) else {
            let in_use = HOST.in_use.load(Ordering::Relaxed);
            return MemoryUsage {
                in_use,
                reserved: in_use + pool::held(),
                peak: HOST.peak.load(Ordering::Relaxed),
            };
        };
        MemoryUsage {
            in_use,
            reserved,
            peak: self.seen(in_use),
        }
    }

    /// Gives memory that waits to be used again back to the system, as far as the device's pools let it go; on the CPU
    /// that is what our own operations keep. What is in use stays. The next operations are slower for it.
    pub fn cleanup(&self) {
        if self.is_cpu() {
            pool::empty();
        }
        self.tensors().memory_cleanup();
    }

    /// Notes that so much was in use, and gives the most so far.
    pub(super) fn seen(&self, in_use: u64) -> u64 {
        let mut peaks = lock(&PEAKS);
        let index = peaks.iter().position(|(device, _)| *device == self.tensors);
        let index = index.unwrap_or_else(|| {
            peaks.push((self.tensors.clone(), 0));
            peaks.len() - 1
        });
        let peak = &mut peaks[index].1;
        *peak = in_use.max(*peak);
        *peak
    }
}
