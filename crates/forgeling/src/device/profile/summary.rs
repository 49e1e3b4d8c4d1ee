//! What was written down, summed up.

use std::collections::BTreeMap;
use std::time::Duration;

use cubecl::logging::ProfileDuration;
use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::recorder::{Label, Log, SpanRecord, phase_of};
use super::trace::{Trace, TraceSpan};

/// A phase or a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// A phase's name, or a module's with those of the modules around it: `encoder.blocks.0`.
    pub name: String,
    /// The phase in which a module ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How often.
    pub count: u64,
    /// Seconds of the host.
    pub seconds: f64,
    /// Seconds of the device's clock. `None` where it has none or was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_seconds: Option<f64>,
    /// Kernels launched.
    pub dispatches: u64,
    /// Bytes of the buffers that kernels of ours were given.
    pub bytes: u64,
}

/// A kernel in a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelRow {
    /// Its own name if it is one of ours, otherwise the type that made it, without the path.
    pub name: String,
    /// The phase in which it was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How often.
    pub dispatches: u64,
    /// Bytes of the buffers it was given; 0 where it is not one of ours.
    pub bytes: u64,
    /// Seconds of the device's clock, with [`GpuTiming::Kernels`](super::GpuTiming::Kernels).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_seconds: Option<f64>,
}

/// Where the time went. `Display` is a table; [`Self::to_chrome_trace`] is for trace viewers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Seconds from start to finish.
    pub seconds: f64,
    /// Kernels launched, in spans or not.
    pub dispatches: u64,
    /// Bytes of the buffers that kernels of ours were given.
    pub bytes: u64,
    /// The phases in the order in which they first began. Each without those inside it.
    pub phases: Vec<ProfileRow>,
    /// The modules in the order in which they first began. Each with those inside it.
    pub modules: Vec<ProfileRow>,
    /// The kernels, those that took longest first; without times, those of most bytes and launches.
    pub kernels: Vec<KernelRow>,
    /// The most bytes that were seen in use on the device. `None` on the CPU.
    pub peak_bytes: Option<u64>,
    /// Bytes in use on the device over time: seconds since the start, bytes.
    pub memory: Vec<(f64, u64)>,
    /// Spans that were too many to be written down.
    pub dropped_spans: usize,
    /// Span by span. Not part of the JSON.
    #[serde(skip)]
    pub(super) trace: Trace,
}

/// Where something began on the device's clock, and how long it took.
type Interval = (Duration, Duration);

/// What a span amounts to.
#[derive(Clone, Copy, Default)]
struct Sum {
    seconds: f64,
    gpu: f64,
    dispatches: u64,
    bytes: u64,
}

pub(super) async fn summarize(mut log: Log) -> Profile {
    let epoch = log.epoch.unwrap_or_else(Instant::now);
    let mut windows = Vec::with_capacity(log.spans.len());
    for span in &mut log.spans {
        windows.push(read(span.measured.take(), epoch).await);
    }
    let mut launches = Vec::with_capacity(log.launches.len());
    for (launch, time) in std::mem::take(&mut log.launches) {
        if let Some(interval) = read(Some(time), epoch).await {
            launches.push((launch, interval));
        }
    }

    let mut own_gpu = vec![0.0; log.spans.len()];
    let mut kernel_gpu = BTreeMap::new();
    for (launch, (_, time)) in &launches {
        let seconds = time.as_secs_f64();
        if let Some(span) = launch.span {
            own_gpu[span] += seconds;
        }
        let kernel = kernel_gpu.entry((launch.phase, launch.kernel));
        *kernel.or_insert(0.0) += seconds;
    }
    let sums = inclusive(&log.spans, &windows, &own_gpu);
    let clock = |seconds: f64| log.timestamps.then_some(seconds);
    let phases = phases(&log.spans, &sums, &clock);
    let (modules, names) = modules(&log.spans, &sums, &clock);

    let mut kernels: Vec<KernelRow> = log
        .kernels
        .iter()
        .map(|(key, kernel)| KernelRow {
            name: short(key.1),
            phase: key.0.map(|phase| phase.name().to_owned()),
            dispatches: kernel.dispatches,
            bytes: kernel.bytes,
            gpu_seconds: kernel_gpu.get(key).copied(),
        })
        .collect();
    kernels.sort_by(|a, b| {
        let time = |row: &KernelRow| row.gpu_seconds.unwrap_or(0.0);
        let size = |row: &KernelRow| (row.bytes, row.dispatches);
        time(b).total_cmp(&time(a)).then(size(b).cmp(&size(a)))
    });

    // The device's clock is put to the host's so that nothing begins before it was asked for. It may have counted for
    // months: what is common to all is taken off while it is exact.
    let of_spans = log.spans.iter().zip(&windows);
    let of_spans = of_spans.filter_map(|(s, window)| Some((s.thread, s.start, (*window)?.0)));
    let of_launches = launches.iter().map(|(l, i)| (l.thread, l.start, i.0));
    let asked: Vec<(usize, f64, Duration)> = of_spans.chain(of_launches).collect();
    let first = asked.iter().map(|one| one.2).min().unwrap_or_default();
    let mut late: BTreeMap<usize, f64> = BTreeMap::new();
    for (thread, host, device) in asked {
        let late = late.entry(thread).or_insert(f64::NEG_INFINITY);
        *late = late.max(host - (device - first).as_secs_f64());
    }
    let on_host = |thread: usize, (from, time): Interval| {
        let late = late.get(&thread).copied().unwrap_or(0.0);
        (late + (from - first).as_secs_f64(), time.as_secs_f64())
    };
    let traced = log.spans.iter().enumerate().map(|(index, span)| TraceSpan {
        name: names[index].clone(),
        phase: phase_of(&log.spans, index),
        thread: span.thread,
        start: span.start,
        seconds: sums[index].seconds,
        gpu: windows[index].map(|window| on_host(span.thread, window)),
        dispatches: sums[index].dispatches,
        bytes: sums[index].bytes,
    });
    let trace = Trace {
        spans: traced.collect(),
        launches: launches
            .iter()
            .map(|(launch, interval)| {
                let (start, seconds) = on_host(launch.thread, *interval);
                (short(launch.kernel), launch.thread, start, seconds)
            })
            .collect(),
        threads: log.threads.into_iter().collect(),
    };
    Profile {
        seconds: log.seconds,
        dispatches: kernels.iter().map(|kernel| kernel.dispatches).sum(),
        bytes: kernels.iter().map(|kernel| kernel.bytes).sum(),
        phases,
        modules,
        kernels,
        peak_bytes: log.peak,
        memory: log.memory,
        dropped_spans: log.dropped,
        trace,
    }
}

async fn read(time: Option<ProfileDuration>, epoch: Instant) -> Option<Interval> {
    let ticks = time?.resolve().await?;
    Some((ticks.start_duration_since(epoch), ticks.duration()))
}

/// What each span amounts to with the spans inside it.
fn inclusive(spans: &[SpanRecord], windows: &[Option<Interval>], own_gpu: &[f64]) -> Vec<Sum> {
    let mut sums: Vec<Sum> = spans
        .iter()
        .zip(own_gpu)
        .map(|(span, gpu)| Sum {
            seconds: span.end.unwrap_or(span.start) - span.start,
            gpu: *gpu,
            dispatches: span.dispatches,
            bytes: span.bytes,
        })
        .collect();
    // A span comes after the one it is in.
    for index in (0..spans.len()).rev() {
        if let Some((_, time)) = windows[index] {
            // The span's own window covers those inside it.
            sums[index].gpu = time.as_secs_f64();
        }
        if let Some(parent) = spans[index].parent {
            let inner = sums[index];
            let outer = &mut sums[parent];
            outer.gpu += inner.gpu;
            outer.dispatches += inner.dispatches;
            outer.bytes += inner.bytes;
        }
    }
    sums
}

/// Rows in order of first appearance.
struct Rows<K> {
    rows: Vec<ProfileRow>,
    places: BTreeMap<K, usize>,
}

impl<K: Ord> Rows<K> {
    fn new() -> Self {
        Self {
            rows: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    fn at(&mut self, key: K, name: &str, phase: Option<&str>, gpu: Option<f64>) -> &mut ProfileRow {
        let rows = &mut self.rows;
        let place = *self.places.entry(key).or_insert_with(|| {
            rows.push(ProfileRow {
                name: name.to_owned(),
                phase: phase.map(str::to_owned),
                count: 0,
                seconds: 0.0,
                gpu_seconds: gpu,
                dispatches: 0,
                bytes: 0,
            });
            rows.len() - 1
        });
        &mut rows[place]
    }
}

impl ProfileRow {
    fn add(&mut self, sum: Sum) {
        self.seconds += sum.seconds;
        self.gpu_seconds = self.gpu_seconds.map(|gpu| gpu + sum.gpu);
        self.dispatches += sum.dispatches;
        self.bytes += sum.bytes;
    }

    fn take_off(&mut self, sum: Sum) {
        self.seconds -= sum.seconds;
        self.gpu_seconds = self.gpu_seconds.map(|gpu| gpu - sum.gpu);
        self.dispatches -= sum.dispatches;
        self.bytes -= sum.bytes;
    }
}

fn phases(
    spans: &[SpanRecord],
    sums: &[Sum],
    clock: &impl Fn(f64) -> Option<f64>,
) -> Vec<ProfileRow> {
    let mut rows = Rows::new();
    for (span, &sum) in spans.iter().zip(sums) {
        let Label::Phase(phase) = span.label else {
            continue;
        };
        let row = rows.at(phase, phase.name(), None, clock(0.0));
        row.count += 1;
        row.add(sum);
        if let Some(around) = span.parent.and_then(|parent| phase_of(spans, parent)) {
            rows.at(around, around.name(), None, clock(0.0))
                .take_off(sum);
        }
    }
    for row in &mut rows.rows {
        // Rounding can make it a little less than nothing.
        row.gpu_seconds = row.gpu_seconds.map(|gpu| gpu.max(0.0));
    }
    rows.rows
}

/// The modules, and the full name of every span.
fn modules(
    spans: &[SpanRecord],
    sums: &[Sum],
    clock: &impl Fn(f64) -> Option<f64>,
) -> (Vec<ProfileRow>, Vec<String>) {
    let mut rows = Rows::new();
    let mut names: Vec<String> = Vec::with_capacity(spans.len());
    // Names of modules only, which those inside them continue.
    let mut paths: Vec<String> = Vec::with_capacity(spans.len());
    for (index, span) in spans.iter().enumerate() {
        let around = span.parent.map_or("", |parent| paths[parent].as_str());
        let name = match &span.label {
            Label::Phase(phase) => {
                paths.push(around.to_owned());
                names.push(phase.name().to_owned());
                continue;
            }
            Label::Part(name) if around.is_empty() => name.to_string(),
            Label::Part(name) => format!("{around}.{name}"),
        };
        let phase = phase_of(spans, index);
        let key = (phase, name.clone());
        let row = rows.at(key, &name, phase.map(|phase| phase.name()), clock(0.0));
        row.count += 1;
        row.add(sums[index]);
        paths.push(name.clone());
        names.push(name);
    }
    (rows.rows, names)
}

/// A type's name without paths: `a::b::Kernel<c::D>` as `Kernel<D>`.
fn short(name: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in name.chars() {
        match c {
            ':' => word.clear(),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                short.push_str(&word);
                word.clear();
                short.push(c);
            }
        }
    }
    short.push_str(&word);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_lose_their_paths() {
        let name = "burn_cubecl::kernel::binary::Kernel<f32, alloc::vec::Vec<u8>>";
        assert_eq!(short(name), "Kernel<f32, Vec<u8>>");
        assert_eq!(short("conv_block_forward"), "conv_block_forward");
    }
}
