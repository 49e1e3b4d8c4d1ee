//! What the integration tests share: the devices they run on and the tolerances they allow.

pub mod bag;
pub mod linear_parity;
pub mod ops_parity;
pub mod parity;
pub mod values;

use forgeling::device::DeviceKind;
use forgeling::{Device, DeviceChoice};

pub use values::{F16_TOLERANCE, F32_TOLERANCE, assert_close, wave, waves};

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

/// Those of [`devices`] that compute with half precision.
///
/// # Panics
/// As [`devices`].
pub fn half_devices() -> Vec<Device> {
    let half = burn::tensor::FloatDType::F16;
    let mut devices = devices();
    devices.retain(|device| !device.is_cpu() && device.tensors().supports_dtype(half));
    devices
}
