//! What is written down while a profiler runs.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cubecl::client::{Client, ProfileWindow};
use cubecl::logging::{ProfileDuration, TimingMethod};
use web_time::Instant;

use super::{GpuTiming, MemorySampling, Phase, ProfileConfig};
use crate::device::launches::{Launched, Listener, bytes_in_use, client};
use crate::device::{Device, lock};

/// Spans that are written down at most; later ones are only counted.
const MOST_SPANS: usize = 1 << 20;

/// What a span is.
#[derive(Debug, Clone)]
pub(super) enum Label {
    Phase(Phase),
    Part(Cow<'static, str>),
}

/// One span. Times are seconds since the profiler began.
pub(super) struct SpanRecord {
    pub label: Label,
    /// The span it was opened in.
    pub parent: Option<usize>,
    pub thread: usize,
    pub start: f64,
    pub end: Option<f64>,
    /// Launches in it, but not in a span inside it.
    pub dispatches: u64,
    /// Bytes that those of ours were given.
    pub bytes: u64,
    /// Open on the device.
    window: Option<ProfileWindow>,
    /// Closed on the device, to be read later.
    pub measured: Option<ProfileDuration>,
}

/// Launches of one kernel in one phase.
#[derive(Default)]
pub(super) struct KernelRecord {
    pub dispatches: u64,
    pub bytes: u64,
}

/// A launch that the device times.
#[derive(Clone, Copy)]
pub(super) struct Launch {
    pub kernel: &'static str,
    pub phase: Option<Phase>,
    pub span: Option<usize>,
    pub thread: usize,
    pub start: f64,
}

/// All of it.
#[derive(Default)]
pub(super) struct Log {
    pub spans: Vec<SpanRecord>,
    pub dropped: usize,
    pub kernels: BTreeMap<(Option<Phase>, &'static str), KernelRecord>,
    pub launches: Vec<(Launch, ProfileDuration)>,
    pub memory: Vec<(f64, u64)>,
    pub peak: Option<u64>,
    /// Names of the threads that opened spans.
    pub threads: BTreeMap<usize, String>,
    pub seconds: f64,
    /// Whether the device has a clock.
    pub timestamps: bool,
    /// Before any time that the device's clock can say.
    pub epoch: Option<Instant>,
}

pub(super) struct Recorder {
    number: u64,
    begun: Instant,
    config: ProfileConfig,
    client: Option<Client>,
    timestamps: bool,
    log: Mutex<Log>,
}

thread_local! {
    /// Spans that were opened here, with their recorder's number, innermost last.
    static OPEN: RefCell<Vec<(u64, usize)>> = const { RefCell::new(Vec::new()) };
    /// The launch that is being timed.
    static LAUNCH: Cell<Option<(u64, Launch)>> = const { Cell::new(None) };
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("config", &self.config)
            .field("spans", &lock(&self.log).spans.len())
            .finish_non_exhaustive()
    }
}

impl Recorder {
    pub fn new(device: &Device, config: ProfileConfig) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let client = client(device);
        let clock = client
            .as_ref()
            .is_some_and(|client| client.properties().timing_method == TimingMethod::Device);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            begun: Instant::now(),
            config,
            client,
            timestamps: clock && config.gpu != GpuTiming::Off,
            log: Mutex::default(),
        }
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn times_spans(&self) -> Option<&Client> {
        let spans = self.timestamps && self.config.gpu == GpuTiming::Spans;
        self.client.as_ref().filter(|_| spans)
    }

    /// The innermost span of this thread that is open.
    fn innermost(&self, log: &Log) -> Option<usize> {
        OPEN.with_borrow(|open| {
            let mut own = open.iter().rev().filter(|span| span.0 == self.number);
            // One that another thread has closed may still be listed here.
            own.find(|span| log.spans.get(span.1).is_some_and(|s| s.end.is_none()))
                .map(|span| span.1)
        })
    }

    /// The index of a new span, unless there are too many.
    pub fn begin(&self, label: Label) -> Option<usize> {
        if lock(&self.log).spans.len() >= MOST_SPANS {
            lock(&self.log).dropped += 1;
            return None;
        }
        let window = self
            .times_spans()
            .and_then(|client| client.profile_start().ok());
        let thread = THREAD.with(|thread| *thread);
        let mut log = lock(&self.log);
        log.threads.entry(thread).or_insert_with(|| {
            let name = std::thread::current().name().map(str::to_owned);
            name.unwrap_or_else(|| format!("thread {thread}"))
        });
        let parent = self.innermost(&log);
        let index = log.spans.len();
        log.spans.push(SpanRecord {
            label,
            parent,
            thread,
            start: self.now(),
            end: None,
            dispatches: 0,
            bytes: 0,
            window,
            measured: None,
        });
        drop(log);
        OPEN.with_borrow_mut(|open| open.push((self.number, index)));
        Some(index)
    }

    pub fn end(&self, index: usize) {
        let end = self.now();
        OPEN.with_borrow_mut(|open| {
            let place = open.iter().rposition(|&span| span == (self.number, index));
            place.map(|place| open.remove(place))
        });
        let window = lock(&self.log)
            .spans
            .get_mut(index)
            .and_then(|span| span.window.take());
        let measured = window
            .zip(self.client.as_ref())
            .and_then(|(window, client)| client.profile_end(window).ok());
        let memory = match &self.client {
            Some(client) if self.config.memory != MemorySampling::Off => Some(bytes_in_use(client)),
            _ => None,
        };
        let mut log = lock(&self.log);
        // The profiler may have finished in the meantime.
        let Some(span) = log.spans.get_mut(index) else {
            return;
        };
        span.end = Some(end);
        span.measured = measured;
        if let Some(bytes) = memory {
            log.memory.push((end, bytes));
            log.peak = log.peak.max(Some(bytes));
        }
    }

    /// Everything so far, with open spans ended.
    pub fn take(&self) -> Log {
        let mut log = std::mem::take(&mut *lock(&self.log));
        log.seconds = self.now();
        for span in &mut log.spans {
            if let Some(window) = span.window.take()
                && let Some(client) = &self.client
            {
                client.profile_abandon(window);
            }
            span.end.get_or_insert(log.seconds);
        }
        log.timestamps = self.timestamps;
        // The device's clock may have begun long before the profiler; not every platform knows times before its own start.
        let ages = [100_000, 10_000, 1000, 100, 10];
        let before = |age: u64| self.begun.checked_sub(Duration::from_secs(age));
        log.epoch = ages.into_iter().find_map(before).or(Some(self.begun));
        log
    }
}

impl Listener for Recorder {
    fn launched(&self, launch: Launched) {
        let memory = match &self.client {
            Some(client) if self.config.memory == MemorySampling::Launches => {
                Some(bytes_in_use(client))
            }
            _ => None,
        };
        let start = self.now();
        let mut log = lock(&self.log);
        log.peak = log.peak.max(memory);
        let span = self.innermost(&log);
        let phase = span.and_then(|span| phase_of(&log.spans, span));
        if let Some(span) = span {
            log.spans[span].dispatches += 1;
            log.spans[span].bytes += launch.bytes;
        }
        let kernel = log.kernels.entry((phase, launch.kernel)).or_default();
        kernel.dispatches += 1;
        kernel.bytes += launch.bytes;
        drop(log);
        if self.wants_times() {
            let launch = Launch {
                kernel: launch.kernel,
                phase,
                span,
                thread: THREAD.with(|thread| *thread),
                start,
            };
            LAUNCH.set(Some((self.number, launch)));
        }
    }

    fn wants_times(&self) -> bool {
        self.timestamps && self.config.gpu == GpuTiming::Kernels
    }

    fn timed(&self, time: ProfileDuration) {
        if let Some((number, launch)) = LAUNCH.take()
            && number == self.number
        {
            lock(&self.log).launches.push((launch, time));
        }
    }
}

/// The phase that a span is part of.
pub(super) fn phase_of(spans: &[SpanRecord], span: usize) -> Option<Phase> {
    let mut next = Some(span);
    while let Some(index) = next {
        if let Label::Phase(phase) = spans[index].label {
            return Some(phase);
        }
        next = spans[index].parent;
    }
    None
}
