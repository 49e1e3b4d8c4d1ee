//! The devices that tests run on. What is missing is said, or a failure where it was promised.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, Device as Tensors};
use forgeling::device::{Adapter, DeviceKind};
use forgeling::{Device, DeviceChoice};

use super::ops_parity::{Body, Results, assert_same};

/// Set to 1, it promises a Vulkan adapter; `cargo xtask test` sets it on Linux.
const PROMISE: &str = "FORGELING_TEST_VULKAN";

/// The GPU adapters to test on: all of them where `FORGELING_TEST_VULKAN=1` promises that there is one, and none, which is
/// [said](skipped), where it does not.
///
/// # Panics
/// When the variable is set and there is no Vulkan adapter: that must not pass silently.
pub fn adapters() -> Vec<Adapter> {
    if std::env::var_os(PROMISE).is_none_or(|value| value != "1") {
        skipped("GPUs", &format!("{PROMISE} is not 1"));
        return Vec::new();
    }
    let (adapters, absence) = pollster::block_on(Device::adapters());
    assert!(
        adapters.iter().any(|adapter| adapter.backend == "vulkan"),
        "{PROMISE}=1, but there is no Vulkan adapter: {absence:?}, {adapters:?}"
    );
    adapters
}

/// The GPUs to test on: those of [`adapters`].
///
/// # Panics
/// As [`adapters`], and when one does not open.
pub fn gpus() -> Vec<Device> {
    let indices = adapters().into_iter().map(|adapter| adapter.index);
    indices
        .map(|index| open(DeviceChoice::GpuIndex(index)))
        .collect()
}

/// The devices that every operation is tested on: the CPU and the [`gpus`].
///
/// # Panics
/// As [`gpus`].
pub fn devices() -> Vec<Device> {
    let mut devices = vec![open(DeviceChoice::Cpu)];
    devices.extend(gpus());
    devices
}

/// The devices on which longer training is worth a test: no software GPUs.
///
/// # Panics
/// As [`devices`].
pub fn fast_devices() -> Vec<Device> {
    let mut devices = devices();
    devices.retain(|device| {
        let software = device.info().kind == DeviceKind::SoftwareGpu;
        if software {
            let name = &device.info().name;
            skipped(name, "a software adapter is too slow for training");
        }
        !software
    });
    devices
}

/// Whether a device computes in f16. The CPU never does; of a GPU that does not it is [said](skipped).
///
/// # Panics
/// When it is a software GPU, as lavapipe has f16.
pub fn has_f16(device: &Device) -> bool {
    let info = device.info();
    assert!(
        info.f16 || info.kind != DeviceKind::SoftwareGpu,
        "{} should compute in f16",
        info.name
    );
    if !info.f16 && !device.is_cpu() {
        skipped(
            &format!("{} in f16", info.name),
            "its shaders do not compute in it",
        );
    }
    info.f16
}

/// Compares our implementation with the reference on the CPU: on every device in f32, and in f16 on those that have it.
///
/// # Panics
/// When they differ, and as [`devices`] and [`has_f16`].
pub fn everywhere(what: &str, run: impl Fn(Body, DType, &Tensors) -> Results) {
    let devices = devices();
    for dtype in [DType::F32, DType::F16] {
        let expected = run(Body::Reference, dtype, &Tensors::flex().autodiff());
        for device in &devices {
            if dtype == DType::F16 && !has_f16(device) {
                continue;
            }
            let got = run(Body::Own, dtype, &device.autodiff());
            let name = format!("{what} of {dtype:?} on {}", device.info().name);
            assert_same(&got, &expected, dtype, &name);
        }
    }
}

/// Says by name that the test at hand, or a part of it, was skipped: once, and past the capture that keeps what passing
/// tests print.
pub fn skipped(on: &str, why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let line = format!("skipped on {on}: {}: {why}\n", test());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(line.clone()) {
        // Macros would be captured; in one piece, as tests run side by side.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// The file and the function of the test at hand: each runs in a thread of its name.
fn test() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let file = program.file_stem().unwrap_or_default().to_string_lossy();
    // Cargo adds a hash.
    let file = file.rsplit_once('-').map_or(&*file, |(name, _)| name);
    let thread = std::thread::current();
    format!("{file}::{}", thread.name().unwrap_or("?"))
}

fn open(choice: DeviceChoice) -> Device {
    pollster::block_on(Device::open(choice)).unwrap_or_else(|error| panic!("{choice}: {error}"))
}
