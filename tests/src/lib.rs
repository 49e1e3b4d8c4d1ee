//! What the integration tests share: the devices they run on and the tolerances they allow.

pub mod bag;
pub mod baselines;
pub mod blocks_parity;
pub mod conv_parity;
pub mod few_shot;
pub mod linear_parity;
pub mod loading;
pub mod memory_budget;
pub mod memory_leak;
pub mod memory_models;
pub mod memory_saving;
pub mod methods;
pub mod mixed_precision;
pub mod networks;
pub mod ops_parity;
pub mod parallel_bench;
pub mod parallel_work;
pub mod parity;
pub mod photographs;
pub mod profiling;
pub mod resuming;
pub mod second_order;
pub mod sine;
pub mod spd_parity;
pub mod storage_network;
pub mod storage_parity;
pub mod task_digests;
pub mod values;

use burn::tensor::{DType, Device as Tensors};
use forgeling::device::DeviceKind;
use forgeling::{Device, DeviceChoice};

use ops_parity::{Body, Results, assert_same};
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

/// Compares our body with the reference on the CPU: on every device in f32, and in f16 on those that have it.
///
/// # Panics
/// When they differ, or there is no device as in [`devices`].
pub fn everywhere(what: &str, run: impl Fn(Body, DType, &Tensors) -> Results) {
    let devices = devices();
    for dtype in [DType::F32, DType::F16] {
        let expected = run(Body::Reference, dtype, &Tensors::flex().autodiff());
        for device in &devices {
            if dtype == DType::F16 && !device.info().f16 {
                continue;
            }
            let got = run(Body::Own, dtype, &device.autodiff());
            let name = format!("{what} of {dtype:?} on {}", device.info().name);
            assert_same(&got, &expected, dtype, &name);
        }
    }
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
