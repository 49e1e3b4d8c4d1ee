//! Counting what GPUs are asked to do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use burn::backend::DispatchDevice;
use cubecl::MemoryScope;
use cubecl::client::Client;
use cubecl::logging::{LaunchObservation, LaunchObserver};

use super::{Device, lock};

/// Counts the kernels launched on every GPU of this process while it lives, ours and burn's alike; with them the bytes
/// that ours were given, and on one device the memory in use.
///
/// One counter at a time: a second one takes over until it is dropped. The CPU back end launches nothing.
#[derive(Debug)]
pub struct LaunchCounter {
    counts: Arc<Counts>,
    /// [`BOUND`] when the counter began.
    bound: u64,
    _observation: LaunchObservation,
}

/// Bytes bound by all launches of our own kernels so far.
static BOUND: AtomicU64 = AtomicU64::new(0);

/// Notes that a kernel of ours was given buffers of so many bytes.
pub(crate) fn bound(bytes: u64) {
    BOUND.fetch_add(bytes, Ordering::Relaxed);
}

#[derive(Default)]
struct Counts {
    kernels: Mutex<BTreeMap<&'static str, usize>>,
    /// Whose memory is watched.
    watched: Option<Client>,
    peak: AtomicU64,
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counts")
            .field("kernels", &self.kernels)
            .field("peak", &self.peak)
            .finish_non_exhaustive()
    }
}

impl Counts {
    fn look_at_memory(&self) {
        if let Some(client) = &self.watched {
            let usage = client.memory_report(MemoryScope::Device).usage();
            self.peak.fetch_max(usage.bytes_in_use, Ordering::Relaxed);
        }
    }
}

impl LaunchObserver for Counts {
    fn launched(&self, kernel: &'static str) {
        *lock(&self.kernels).entry(kernel).or_default() += 1;
        // What the kernel writes to is allocated by now.
        self.look_at_memory();
    }
}

impl LaunchCounter {
    /// A counter at zero.
    #[expect(clippy::new_without_default, reason = "it begins to count")]
    pub fn new() -> Self {
        Self::observe(Counts::default())
    }

    /// A counter at zero that also looks at the memory of `device` at every launch, which waits for the device's
    /// queue: for counting, not for timing.
    pub fn on(device: &Device) -> Self {
        let watched = match device.tensors.as_dispatch() {
            DispatchDevice::Cube(device) => Some(device.client()),
            _ => None,
        };
        Self::observe(Counts {
            watched,
            ..Default::default()
        })
    }

    fn observe(counts: Counts) -> Self {
        let counts = Arc::new(counts);
        Self {
            bound: BOUND.load(Ordering::Relaxed),
            _observation: LaunchObservation::new(counts.clone()),
            counts,
        }
    }

    /// Launches so far.
    pub fn total(&self) -> usize {
        self.by_kernel().values().sum()
    }

    /// Launches so far by the type that made the kernel. Kernels written as text, ours among them, share one type.
    pub fn by_kernel(&self) -> BTreeMap<&'static str, usize> {
        lock(&self.counts.kernels).clone()
    }

    /// Bytes of the buffers that kernels of our own were given so far, which is what they move if they read and write
    /// each value once. What burn's own kernels move is not known.
    pub fn bytes(&self) -> u64 {
        BOUND.load(Ordering::Relaxed) - self.bound
    }

    /// The most bytes of the device that were in use at a launch so far. `None` on the CPU, and from a counter that is
    /// not [on](Self::on) a device.
    pub fn peak_bytes(&self) -> Option<u64> {
        let watches = self.counts.watched.is_some();
        watches.then(|| self.counts.peak.load(Ordering::Relaxed))
    }

    /// The most bytes at a launch since the last call, or 0.
    pub(super) fn take_peak(&self) -> u64 {
        self.counts.peak.swap(0, Ordering::Relaxed)
    }
}
