//! Opening a device, saying why, and reading results back.
//!
//! [`Device::open`] takes the best hardware GPU, and the CPU where there is none or where it computes
//! wrongly; [`Device::reason`] says which and why. Software GPUs (lavapipe, SwiftShader, WARP) are many
//! times slower than the CPU back end, so they are opened only when named: by index, or by the
//! environment variable `FORGELING_DEVICE`.
//!
//! - `adapter`: what an adapter is and can do; `platform` finds adapters natively and in a browser.
//! - `choose`: the policy, a pure function of choice and adapters.
//! - `shaders`: what the driver says of our kernels.
//! - `launches`: counts what a GPU is asked to do.
//! - `faults`: what a GPU complains about while nobody waits for it.
//! - `memory`, `memory_monitor`: what a device holds, now and by the phases of training.
//! - `memory_budget`, `ledger`: what one trainer may hold, and does.
//! - [`profile`]: where the time of a training step goes.
//! - `readback`: the one road by which values leave a device.
//! - `several`: lists of devices, and one adapter opened more than once.

mod adapter;
mod choose;
mod faults;
mod launches;
mod ledger;
mod memory;
mod memory_budget;
mod memory_monitor;
mod platform;
pub mod profile;
mod readback;
mod several;
mod shaders;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::tensor::wgpu::wgpu;
use serde::Serialize;

pub use adapter::{Adapter, DeviceKind};
pub use choose::DeviceChoice;
pub use launches::LaunchCounter;
pub(crate) use launches::launching;
pub use ledger::{Attached, Entered, Ledger};
pub(crate) use ledger::{admit, allocated};
pub(crate) use memory::Counted;
pub use memory::MemoryUsage;
pub use memory_budget::MemoryBudget;
pub use memory_monitor::{MemoryMonitor, MemoryReport, PhaseMemory};
pub(crate) use platform::{wait, yield_now};
pub use profile::Phase;
pub use readback::Readback;
pub use several::DeviceList;

use crate::error::{Error, ErrorKind, Result};
use choose::{Selection, choose};
use platform::FoundAdapter;

/// What burn's tensors are on. [`Device::tensors`] and [`Device::autodiff`] give it.
pub type TensorDevice = burn::tensor::Device;

/// An opened device. Cloning is cheap; clones share the device.
#[derive(Clone)]
pub struct Device {
    tensors: TensorDevice,
    /// What the tensors' device is made of, on a GPU.
    gpu: Option<wgpu::Device>,
    /// What a GPU binds at most, in bytes.
    largest_buffer: u64,
    /// Its adapter's index.
    adapter: Option<usize>,
    info: Arc<DeviceInfo>,
}

/// What `--json` prints under `device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// CPU, or which kind of GPU.
    pub kind: DeviceKind,
    /// The adapter's name; `"cpu"` for the CPU.
    pub name: String,
    /// `"flex"` on the CPU, otherwise the graphics API: `"vulkan"`, `"metal"`, `"dx12"`, `"webgpu"`.
    pub backend: String,
    /// Whether our operations take activations of half precision without falling back to stock ones.
    pub f16: bool,
    /// Why this device and no other, for people.
    pub reason: String,
}

/// GPUs opened so far: a device is tested once and shared, whoever asks for it again.
static OPENED: Mutex<Vec<(usize, Opened)>> = Mutex::new(Vec::new());

/// The opened ones among them that are emulated on the CPU.
static SOFTWARE: Mutex<Vec<TensorDevice>> = Mutex::new(Vec::new());

/// A device, or what is wrong with its adapter.
type Opened = std::result::Result<(TensorDevice, wgpu::Device), String>;

impl Device {
    /// [`Self::open`], with what finds a GPU's disagreement with the CPU.
    pub(crate) async fn open_tested(
        choice: DeviceChoice,
        disagreement: impl AsyncFn(&TensorDevice) -> Option<String>,
    ) -> Result<Self> {
        const OPERATION: &str = "open_device";
        let (choice, by_environment) = match choice {
            DeviceChoice::Auto => environment()?,
            _ => (choice, false),
        };
        // Without a look at GPUs: drivers take time, and some print.
        if choice == DeviceChoice::Cpu {
            return Ok(Self::cpu("asked for"));
        }
        let found = platform::find().await;
        let adapters = found.as_ref().map_or(&[][..], |found| &found[..]);
        let described: Vec<Adapter> = adapters.iter().map(|found| found.adapter.clone()).collect();
        let absence = found.as_ref().err().map(String::as_str);

        match choose(choice, by_environment, &described, absence) {
            Selection::Cpu(reason) => Ok(Self::cpu(reason)),
            Selection::None(reason) => Err(Error::new(ErrorKind::Device, OPERATION, reason)),
            Selection::Gpu(index, reason) => {
                match open_once(&adapters[index], disagreement).await {
                    Ok(opened) => Ok(Self::gpu(opened, &described[index], reason)),
                    Err(problem) if choice == DeviceChoice::Auto => Ok(Self::cpu(format!(
                        "{} refused: {problem}",
                        described[index].name
                    ))),
                    Err(problem) => Err(Error::new(ErrorKind::Device, OPERATION, problem)
                        .got(&described[index].name)),
                }
            }
        }
    }

    /// Every adapter of this machine in the order of their indices, and the reason why there is none.
    /// The adapter that [`DeviceChoice::Auto`] takes is marked as chosen.
    pub async fn adapters() -> (Vec<Adapter>, Option<String>) {
        match platform::find().await {
            Ok(found) => {
                let mut adapters: Vec<Adapter> = found.into_iter().map(|f| f.adapter).collect();
                let (choice, by_environment) = environment().unwrap_or_default();
                let selection = choose(choice, by_environment, &adapters, None);
                if let Selection::Gpu(index, _) = selection {
                    adapters[index].chosen = true;
                }
                (adapters, None)
            }
            Err(reason) => (Vec::new(), Some(reason)),
        }
    }

    fn cpu(reason: impl fmt::Display) -> Self {
        platform::keep_freed_memory();
        Self {
            tensors: TensorDevice::flex(),
            gpu: None,
            largest_buffer: 0,
            adapter: None,
            info: Arc::new(DeviceInfo {
                kind: DeviceKind::Cpu,
                name: "cpu".into(),
                backend: "flex".into(),
                f16: false,
                reason: format!("CPU: {reason}"),
            }),
        }
    }

    fn gpu(
        (tensors, gpu): (TensorDevice, wgpu::Device),
        adapter: &Adapter,
        reason: String,
    ) -> Self {
        Self {
            tensors,
            gpu: Some(gpu),
            largest_buffer: adapter.max_buffer,
            adapter: Some(adapter.index),
            info: Arc::new(DeviceInfo {
                kind: adapter.kind,
                name: adapter.name.clone(),
                backend: adapter.backend.clone(),
                f16: adapter.f16,
                reason,
            }),
        }
    }

    /// The burn device without gradient tracking, for tensors of your own.
    pub fn tensors(&self) -> &TensorDevice {
        &self.tensors
    }

    /// The burn device on which operations are recorded for a backward pass.
    pub fn autodiff(&self) -> TensorDevice {
        self.tensors.clone().autodiff()
    }

    /// Kind, name, back end and reason together.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Why this device was chosen, for example
    /// `CPU: no hardware adapter; software adapter llvmpipe ignored`.
    pub fn reason(&self) -> &str {
        &self.info.reason
    }

    /// Has a GPU's driver compile a WGSL module of your own, without running it; `file` names it in the error.
    ///
    /// # Errors
    /// When the device has no shaders, and when the module does not compile: then the message has file and line.
    pub async fn check_shader(&self, file: &str, source: &str) -> Result<()> {
        const OPERATION: &str = "check_shader";
        let Some(gpu) = &self.gpu else {
            return Err(Error::invalid(OPERATION, "the CPU runs no shaders"));
        };
        match shaders::compile(gpu, file, source).await {
            None => Ok(()),
            Some((line, message)) => {
                let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
                Err(Error::bad_data(OPERATION, format!("{place}: {message}")))
            }
        }
    }

    /// The choice that opens this device again.
    pub fn choice(&self) -> DeviceChoice {
        self.adapter
            .map_or(DeviceChoice::Cpu, DeviceChoice::GpuIndex)
    }

    /// Whether this is the CPU back end.
    pub fn is_cpu(&self) -> bool {
        self.info.kind == DeviceKind::Cpu
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(&self.info).finish()
    }
}

/// What [`DeviceChoice::Auto`] means here, and whether the environment says so.
fn environment() -> Result<(DeviceChoice, bool)> {
    match platform::environment_choice() {
        Some(text) => Ok((text.parse()?, true)),
        None => Ok((DeviceChoice::Auto, false)),
    }
}

/// Opens an adapter and tests it, or returns what the first attempt gave.
async fn open_once(
    found: &FoundAdapter,
    disagreement: impl AsyncFn(&TensorDevice) -> Option<String>,
) -> Opened {
    let index = found.adapter.index;
    let known = || {
        lock(&OPENED)
            .iter()
            .find(|entry| entry.0 == index)
            .map(|entry| entry.1.clone())
    };
    if let Some(result) = known() {
        return result;
    }
    let result = match open_anew(found).await {
        Ok((tensors, gpu)) => {
            if let Some(problem) = shaders::refused(&gpu, found.adapter.f16).await {
                Err(format!("it does not compile a kernel: {problem}"))
            } else if let Some(problem) = disagreement(&tensors).await {
                Err(format!("its self-test failed: {problem}"))
            } else {
                faults::watch(&tensors, &gpu);
                Ok((tensors, gpu))
            }
        }
        Err(problem) => Err(problem),
    };
    // Two tasks may have opened it at once; all later ones share what the first has left.
    if let Some(earlier) = known() {
        return earlier;
    }
    lock(&OPENED).push((index, result.clone()));
    result
}

/// Opens an adapter, whether it is open already or not.
async fn open_anew(found: &FoundAdapter) -> Opened {
    let (tensors, gpu) = found.open().await?;
    if found.adapter.kind == DeviceKind::SoftwareGpu {
        lock(&SOFTWARE).push(tensors.clone());
    }
    Ok((tensors, gpu))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Whether `device` was opened here and is a GPU emulated on the CPU, which other launches suit.
pub(crate) fn is_software(device: &TensorDevice) -> bool {
    lock(&SOFTWARE).contains(&device.clone().inner())
}
