//! A profile for trace viewers.

use serde_json::{Value, json};

use super::{Phase, Profile};

/// The numbers under which viewers show host and device.
const HOST: usize = 1;
const GPU: usize = 2;

/// A profile span by span.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Trace {
    pub spans: Vec<TraceSpan>,
    /// Launches that the device has timed: kernel, thread, start and seconds.
    pub launches: Vec<(String, usize, f64, f64)>,
    /// Threads with their names.
    pub threads: Vec<(usize, String)>,
}

/// One span. Times are seconds since the profiler began.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TraceSpan {
    pub name: String,
    pub phase: Option<Phase>,
    pub thread: usize,
    pub start: f64,
    pub seconds: f64,
    /// Start and seconds on the device.
    pub gpu: Option<(f64, f64)>,
    pub dispatches: u64,
    pub bytes: u64,
}

impl Profile {
    /// The profile in the Trace Event Format, which `chrome://tracing` and [Perfetto](https://ui.perfetto.dev) open: spans by
    /// thread, what the GPU did with them on tracks of its own, memory as a counter.
    ///
    /// The GPU's clock is not the host's: its tracks are moved so that nothing begins before it was asked for. A profile
    /// that was read from JSON has no spans to show.
    pub fn to_chrome_trace(&self) -> String {
        let trace = &self.trace;
        let mut events = vec![process(HOST, "host")];
        let on_gpu = !trace.launches.is_empty() || trace.spans.iter().any(|s| s.gpu.is_some());
        if on_gpu {
            events.push(process(GPU, "GPU"));
        }
        for (thread, name) in &trace.threads {
            let processes = if on_gpu { &[HOST, GPU][..] } else { &[HOST] };
            events.extend(processes.iter().map(|pid| {
                json!({"ph": "M", "name": "thread_name", "pid": pid, "tid": thread, "args": {"name": name}})
            }));
        }
        for span in &trace.spans {
            let category = span.phase.map_or("span", Phase::name);
            let arguments = json!({"dispatches": span.dispatches, "bytes": span.bytes});
            let place = (HOST, span.thread);
            let mut event = complete(&span.name, category, place, span.start, span.seconds);
            event["args"] = arguments;
            events.push(event);
            if let Some((start, seconds)) = span.gpu {
                let place = (GPU, span.thread);
                events.push(complete(&span.name, category, place, start, seconds));
            }
        }
        for (kernel, thread, start, seconds) in &trace.launches {
            events.push(complete(kernel, "kernel", (GPU, *thread), *start, *seconds));
        }
        for (seconds, bytes) in &self.memory {
            events.push(json!({
                "ph": "C", "name": "memory", "pid": HOST, "ts": microseconds(*seconds), "args": {"bytes": bytes}
            }));
        }
        json!({"displayTimeUnit": "ms", "traceEvents": events}).to_string()
    }
}

fn microseconds(seconds: f64) -> f64 {
    seconds * 1e6
}

fn process(number: usize, name: &str) -> Value {
    json!({"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}})
}

/// An event with a beginning and a length.
fn complete(
    name: &str,
    category: &str,
    (process, thread): (usize, usize),
    start: f64,
    seconds: f64,
) -> Value {
    json!({
        "ph": "X", "name": name, "cat": category, "pid": process, "tid": thread,
        "ts": microseconds(start), "dur": microseconds(seconds),
    })
}
