//! Memory stays what it is however long training lasts.

use std::time::Instant;

use forgeling_tests::devices;
use forgeling_tests::memory_leak::{assert_flat, grow};

/// 1,000 steps, or as many as `FORGELING_LEAK_STEPS` says; with `--nocapture` the figures are printed.
#[test]
fn memory_does_not_grow_with_steps() {
    let steps = std::env::var("FORGELING_LEAK_STEPS").map_or(1000, |steps| steps.parse().unwrap());
    let begun = Instant::now();
    let now = || 1000.0 * begun.elapsed().as_secs_f64();
    for device in devices() {
        let growth = pollster::block_on(grow(&device, steps, &now));
        let name = &device.info().name;
        let [first, last] = [growth.samples.first(), growth.samples.last()].map(Option::unwrap);
        println!(
            "{name}: {steps} steps, in use {} to {} bytes, reserved {} to {} bytes, process {} to {} bytes, slopes {:?} \
             bytes a step",
            first[0], last[0], first[1], last[1], first[2], last[2], growth.slopes
        );
        assert_flat(&growth, name);
    }
}
