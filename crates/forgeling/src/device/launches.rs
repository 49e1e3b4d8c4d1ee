//! Watching what GPUs are asked to do.
//!
//! CubeCL tells one observer of every launch; [`Listening`] shares it among all who want to know.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use burn::backend::DispatchDevice;
use cubecl::MemoryScope;
use cubecl::client::Client;
use cubecl::logging::{LaunchObservation, LaunchObserver, ProfileDuration, TimingRequest};

use super::{Device, lock};

/// A kernel that is about to be launched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launched {
    /// Its own name if it is one of ours, otherwise the type that made it.
    pub kernel: &'static str,
    /// Bytes of the buffers that it was given; 0 where it is not one of ours.
    pub bytes: u64,
}

/// Somebody who wants to know of launches, on the thread that makes them and before they reach the device.
pub(super) trait Listener: Send + Sync {
    fn launched(&self, launch: Launched);

    /// Whether the device is to time every launch for [`Self::timed`]. One listener at a time may want that.
    fn wants_times(&self) -> bool {
        false
    }

    /// The time of the launch that was last reported to this thread, to be read later.
    fn timed(&self, _time: ProfileDuration) {}
}

static LISTENERS: RwLock<Vec<(u64, Arc<dyn Listener>)>> = RwLock::new(Vec::new());

/// Ours, as long as there are listeners. Never locked together with the list of them for writing: launches read the list
/// under CubeCL's own lock.
static OBSERVATION: Mutex<Option<LaunchObservation>> = Mutex::new(None);

/// Tells a listener of launches as long as it lives.
#[derive(Debug)]
pub(super) struct Listening(u64);

impl Listening {
    pub fn new(listener: Arc<dyn Listener>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut listeners = LISTENERS.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push((number, listener));
        drop(listeners);
        lock(&OBSERVATION).get_or_insert_with(|| LaunchObservation::new(Arc::new(Everyone)));
        Self(number)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = LISTENERS.write().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(number, _)| *number != self.0);
        drop(listeners);
        let mut observation = lock(&OBSERVATION);
        if listeners_now().is_empty() {
            *observation = None;
        }
    }
}

fn listeners_now() -> Vec<Arc<dyn Listener>> {
    let listeners = LISTENERS.read().unwrap_or_else(PoisonError::into_inner);
    listeners.iter().map(|(_, one)| one.clone()).collect()
}

thread_local! {
    /// The kernel of ours that this thread is launching, with its bytes.
    static OWN: Cell<Option<(&'static str, u64)>> = const { Cell::new(None) };
}

/// Launches a kernel of ours, which is given buffers of so many bytes.
pub(crate) fn launching<R>(kernel: &'static str, bytes: u64, launch: impl FnOnce() -> R) -> R {
    OWN.set(Some((kernel, bytes)));
    let result = launch();
    OWN.set(None);
    result
}

/// Passes on what CubeCL says.
struct Everyone;

impl LaunchObserver for Everyone {
    fn launched(&self, made_by: &'static str) {
        let (kernel, bytes) = OWN.take().unwrap_or((made_by, 0));
        for listener in listeners_now() {
            listener.launched(Launched { kernel, bytes });
        }
    }

    fn timing(&self) -> TimingRequest {
        if listeners_now().iter().any(|one| one.wants_times()) {
            TimingRequest::Deferred
        } else {
            TimingRequest::None
        }
    }

    fn profiled(&self, _kernel: &'static str, time: ProfileDuration) {
        // A measurement can be given to one only.
        if let Some(listener) = listeners_now().iter().find(|one| one.wants_times()) {
            listener.timed(time);
        }
    }
}

/// The client of a GPU, which knows its memory and its clock.
pub(super) fn client(device: &Device) -> Option<Client> {
    match device.tensors.as_dispatch() {
        DispatchDevice::Cube(device) => Some(device.client()),
        _ => None,
    }
}

/// Bytes in use on a device.
pub(super) fn bytes_in_use(client: &Client) -> u64 {
    client
        .memory_report(MemoryScope::Device)
        .usage()
        .bytes_in_use
}

/// Counts the kernels launched on every GPU of this process while it lives, ours and burn's alike; with them the bytes
/// that ours were given, and on one device the memory in use.
///
/// Counters may overlap: each counts for itself. The CPU back end launches nothing.
#[derive(Debug)]
pub struct LaunchCounter {
    counts: Arc<Counts>,
    _listening: Listening,
}

#[derive(Default)]
struct Counts {
    kernels: Mutex<BTreeMap<&'static str, usize>>,
    bytes: AtomicU64,
    /// Whose memory is watched.
    watched: Option<Client>,
    peak: AtomicU64,
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counts")
            .field("kernels", &self.kernels)
            .field("bytes", &self.bytes)
            .field("peak", &self.peak)
            .finish_non_exhaustive()
    }
}

impl Listener for Counts {
    fn launched(&self, launch: Launched) {
        *lock(&self.kernels).entry(launch.kernel).or_default() += 1;
        self.bytes.fetch_add(launch.bytes, Ordering::Relaxed);
        // What the kernel writes to is allocated by now.
        if let Some(client) = &self.watched {
            self.peak.fetch_max(bytes_in_use(client), Ordering::Relaxed);
        }
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
        Self::observe(Counts {
            watched: client(device),
            ..Default::default()
        })
    }

    fn observe(counts: Counts) -> Self {
        let counts = Arc::new(counts);
        Self {
            _listening: Listening::new(counts.clone()),
            counts,
        }
    }

    /// Launches so far.
    pub fn total(&self) -> usize {
        self.by_kernel().values().sum()
    }

    /// Launches so far by kernel: ours by their own names, burn's by the types that made them.
    pub fn by_kernel(&self) -> BTreeMap<&'static str, usize> {
        lock(&self.counts.kernels).clone()
    }

    /// Bytes of the buffers that kernels of our own were given so far, which is what they move if they read and write
    /// each value once. What burn's own kernels move is not known.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
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
