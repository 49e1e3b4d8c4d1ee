//! What the profiler says is what was done. One test, since launches and spans of the whole process are recorded.

use std::time::Duration;

use forgeling::device::profile::{
    GpuTiming, MemorySampling, Phase, ProfileConfig, Profiler, named, phase, span,
};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::devices;
use forgeling_tests::profiling::{Training, figures_agree};
use pollster::block_on;

#[test]
fn profiles_say_what_was_done() {
    nothing_is_recorded_without_a_profiler();
    spans_sum_up_by_phase_and_path();
    spans_of_other_threads_stand_by_themselves();
    for device in devices() {
        for gpu in [GpuTiming::Off, GpuTiming::Spans, GpuTiming::Kernels] {
            let profile = block_on(figures_agree(&device, gpu));
            let timed = profile.phases.iter().filter_map(|row| row.gpu_seconds);
            // Lavapipe's clock counts nanoseconds.
            let takes_time = !device.is_cpu() && gpu != GpuTiming::Off;
            assert_eq!(timed.sum::<f64>() > 0.0, takes_time, "{profile}");
        }
        a_peak_at_launches_is_at_least_that_at_spans(&device);
    }
}

fn cpu() -> Device {
    block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

fn nap() {
    std::thread::sleep(Duration::from_millis(3));
}

fn nothing_is_recorded_without_a_profiler() {
    let early = span("early");
    let profiler = Profiler::start(&cpu(), ProfileConfig::default()).unwrap();
    drop(early);
    drop(profiler);
    let profiler = Profiler::start(&cpu(), ProfileConfig::default()).unwrap();
    let open = span("open");
    nap();
    let profile = block_on(profiler.finish());
    // It ended with the profiler, and its guard does no harm later.
    drop(open);
    assert_eq!((profile.modules.len(), profile.phases.len()), (1, 0));
    assert!(profile.modules[0].seconds >= 3e-3 && profile.modules[0].seconds <= profile.seconds);
}

fn spans_sum_up_by_phase_and_path() {
    let profiler = Profiler::start(&cpu(), ProfileConfig::default()).unwrap();
    for _ in 0..2 {
        let _backward = phase(Phase::Backward);
        nap();
        for index in 0..3 {
            let _block = named(&format_args!("blocks.{index}"));
            let _inner = span("conv");
            nap();
        }
        let _readback = phase(Phase::Readback);
        nap();
    }
    {
        let _alone = named(&"blocks.0");
    }
    let profile = block_on(profiler.finish());
    let named: Vec<_> = profile
        .modules
        .iter()
        .map(|row| (row.phase.as_deref(), row.name.as_str(), row.count))
        .collect();
    let backward = Some("backward");
    let expected = [
        (backward, "blocks.0", 2),
        (backward, "blocks.0.conv", 2),
        (backward, "blocks.1", 2),
        (backward, "blocks.1.conv", 2),
        (backward, "blocks.2", 2),
        (backward, "blocks.2.conv", 2),
        (None, "blocks.0", 1),
    ];
    assert_eq!(named, expected);
    let [outer, inner] = [&profile.phases[0], &profile.phases[1]];
    assert_eq!(
        (outer.name.as_str(), inner.name.as_str()),
        ("backward", "readback")
    );
    // Four naps in each round of one, one in the other's.
    assert!(
        outer.seconds >= 8.0 * 3e-3 && inner.seconds >= 2.0 * 3e-3,
        "{profile}"
    );
    assert!(
        outer.seconds + inner.seconds <= profile.seconds,
        "{profile}"
    );
    let blocks: f64 = profile
        .modules
        .iter()
        .step_by(2)
        .map(|row| row.seconds)
        .sum();
    assert!(blocks >= 6.0 * 3e-3 && blocks <= outer.seconds, "{profile}");
    assert!(profile.kernels.is_empty() && profile.peak_bytes.is_none());
}

fn spans_of_other_threads_stand_by_themselves() {
    let profiler = Profiler::start(&cpu(), ProfileConfig::default()).unwrap();
    let forward = phase(Phase::Forward);
    let replica = std::thread::Builder::new().name("replica".into());
    let work = || {
        let _alone = span("alone");
        nap();
        // To be closed elsewhere.
        span("moved")
    };
    let moved = replica.spawn(work).unwrap().join().unwrap();
    drop(moved);
    let within = span("within");
    drop(within);
    drop(forward);
    let profile = block_on(profiler.finish());
    let named: Vec<_> = profile
        .modules
        .iter()
        .map(|row| (row.phase.as_deref(), row.name.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            (None, "alone"),
            (None, "alone.moved"),
            (Some("forward"), "within")
        ]
    );
    let trace: serde_json::Value = serde_json::from_str(&profile.to_chrome_trace()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let thread = |name: &str| {
        let event = events.iter().find(|event| event["name"] == name).unwrap();
        event["tid"].as_u64().unwrap()
    };
    assert_eq!(thread("alone"), thread("alone.moved"));
    assert_ne!(thread("alone"), thread("forward"));
    let threads = events.iter().filter(|event| event["name"] == "thread_name");
    assert!(
        threads
            .into_iter()
            .any(|event| event["args"]["name"] == "replica")
    );
}

fn a_peak_at_launches_is_at_least_that_at_spans(device: &Device) {
    let peak = |memory| {
        let mut training = Training::new(device);
        block_on(training.step());
        let config = ProfileConfig {
            gpu: GpuTiming::Off,
            memory,
        };
        let profiler = Profiler::start(device, config).unwrap();
        block_on(training.step());
        block_on(profiler.finish()).peak_bytes
    };
    assert_eq!(peak(MemorySampling::Off), None);
    let [spans, launches] = [MemorySampling::Spans, MemorySampling::Launches].map(peak);
    assert!(
        launches >= spans && launches.is_some() != device.is_cpu(),
        "{launches:?}, {spans:?}"
    );
}
