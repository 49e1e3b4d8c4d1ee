//! What the integration tests share: the devices they run on and the tolerances they allow.

pub mod parity;

use forgeling::device::DeviceKind;
use forgeling::{Device, DeviceChoice};

/// f32 on another device: sums in another order.
pub const F32_TOLERANCE: f32 = 1e-4;

/// The devices that every operation is tested on: the CPU, and every GPU adapter where
/// `FORGELING_TEST_VULKAN=1` (set by `cargo xtask test` on Linux) promises that there is one.
///
/// # Panics
/// When the variable is set and there is no adapter, or one does not open: that must not pass silently.
pub fn devices() -> Vec<Device> {
    let open = |choice| {
        pollster::block_on(Device::open(choice)).unwrap_or_else(|e| panic!("{choice}: {e}"))
    };
    let mut devices = vec![open(DeviceChoice::Cpu)];
    if std::env::var_os("FORGELING_TEST_VULKAN").is_none_or(|value| value != "1") {
        eprintln!("skipped on GPUs: FORGELING_TEST_VULKAN is not 1");
        return devices;
    }
    let (adapters, _) = pollster::block_on(Device::adapters());
    assert!(
        !adapters.is_empty(),
        "FORGELING_TEST_VULKAN=1, but there is no adapter"
    );
    devices.extend(
        adapters
            .iter()
            .map(|adapter| open(DeviceChoice::GpuIndex(adapter.index))),
    );
    devices
}

/// The devices on which longer training is worth a test: no software GPUs.
pub fn fast_devices() -> Vec<Device> {
    let mut devices = devices();
    devices.retain(|device| {
        let software = device.info().kind == DeviceKind::SoftwareGpu;
        if software {
            eprintln!(
                "skipped on {}: a software adapter is too slow for training",
                device.info().name
            );
        }
        !software
    });
    devices
}

/// `|a - b| <= tolerance * max|b|` for every element.
///
/// # Panics
/// When the lengths differ, an element is too far off, or is not a number.
pub fn assert_close(name: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{name}: lengths differ");
    let scale = b
        .iter()
        .fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs()));
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        let error = (a - b).abs() / scale;
        assert!(
            error <= tolerance,
            "{name}[{index}]: {a} instead of {b}, {error:e} of the largest value"
        );
    }
}

/// `count` values between -1 and 1 that look random and are the same everywhere; the script
/// `golden/protonet.py` makes the same ones.
pub fn waves(count: usize, phase: f64) -> Vec<f32> {
    (0..count).map(|i| wave(i, phase) as f32).collect()
}

/// One of [`waves`] in f64.
pub fn wave(index: usize, phase: f64) -> f64 {
    (index as f64 * 12.9898 + phase * 78.233).sin() * 0.6
        + (index as f64 * 0.37 + phase).cos() * 0.4
}
