//! Finding adapters and letting others run: one implementation for native machines, one for browsers, with equal signatures.

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuSetup, wgpu};

use super::{Adapter, DeviceKind};

#[cfg(not(target_arch = "wasm32"))]
pub(super) use native::{environment_choice, find, host_memory, keep_freed_memory};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{wait, yield_now};
#[cfg(target_arch = "wasm32")]
pub(super) use web::{environment_choice, find, host_memory, keep_freed_memory};
#[cfg(target_arch = "wasm32")]
pub(crate) use web::{wait, yield_now};

/// Bytes of a machine that does not tell: 2 GiB.
const UNKNOWN_MEMORY: u64 = 2 << 30;

/// An adapter and what is needed to open it.
pub(super) struct FoundAdapter {
    pub adapter: Adapter,
    instance: wgpu::Instance,
    handle: wgpu::Adapter,
}

impl FoundAdapter {
    fn new(index: usize, instance: &wgpu::Instance, handle: wgpu::Adapter) -> Self {
        let info = handle.get_info();
        let features = handle.features();
        let limits = handle.limits();
        let language = instance.wgsl_language_features();
        let adapter = Adapter {
            index,
            name: if info.name.is_empty() {
                "unnamed adapter".into()
            } else {
                info.name
            },
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu,
                wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
                wgpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu,
                wgpu::DeviceType::Cpu => DeviceKind::SoftwareGpu,
                wgpu::DeviceType::Other => DeviceKind::OtherGpu,
            },
            backend: match info.backend {
                wgpu::Backend::BrowserWebGpu => "webgpu".into(),
                backend => backend.to_str().to_lowercase(),
            },
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_string(),
            f16: features.contains(wgpu::Features::SHADER_F16),
            int8_dot: language.contains(wgpu::WgslLanguageFeatures::Packed4x8IntegerDotProduct),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            max_buffer: limits
                .max_storage_buffer_binding_size
                .min(limits.max_buffer_size),
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            chosen: false,
        };
        Self {
            adapter,
            instance: instance.clone(),
            handle,
        }
    }

    /// Makes a device of the adapter for tensors.
    pub async fn open(&self) -> Result<(Device, wgpu::Device), String> {
        let (device, queue) = self
            .handle
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("forgeling"),
                // All of them, because CubeCL reads what the adapter offers, not what was requested.
                required_features: self
                    .handle
                    .features()
                    .difference(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
                required_limits: self.handle.limits(),
                memory_hints: wgpu::MemoryHints::MemoryUsage,
                trace: wgpu::Trace::Off,
                // SAFETY: the features so enabled are CubeCL's to use; forgeling's kernels are plain WGSL.
                experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            })
            .await
            .map_err(|error| format!("the adapter gave no device: {error}"))?;
        let setup = WgpuSetup {
            instance: self.instance.clone(),
            adapter: self.handle.clone(),
            device: device.clone(),
            queue,
            backend: self.handle.get_info().backend,
        };
        let tensors = Device::wgpu_options()
            .setup(setup)
            .init()
            .map_err(|error| format!("the adapter could not be set up: {error}"))?;
        Ok((tensors, device))
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::sync::OnceLock;
    use std::task::Poll;

    use super::{FoundAdapter, UNKNOWN_MEMORY, wgpu};

    /// The machine's memory in bytes.
    pub(in super::super) fn host_memory() -> u64 {
        static TOTAL: OnceLock<u64> = OnceLock::new();
        *TOTAL.get_or_init(|| {
            let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
            total(&text).unwrap_or(UNKNOWN_MEMORY)
        })
    }

    /// The line is `MemTotal:       24049860 kB`.
    fn total(text: &str) -> Option<u64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    }

    /// Has the C library keep what tensors free for the next ones. Otherwise it gives large blocks back to the system at
    /// once, and those of the next step come page by page and are filled with zeros first: a third of a step's time where
    /// maps are large.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    pub(in super::super) fn keep_freed_memory() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            // SAFETY: glibc's settings may change at any time; both values are among those allowed.
            unsafe {
                libc::mallopt(libc::M_MMAP_MAX, 0);
                libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
            }
        });
    }

    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    pub(in super::super) const fn keep_freed_memory() {}

    /// Waits for a future where it stands; `None` where one cannot wait.
    pub(crate) fn wait<T>(future: impl Future<Output = T>) -> Option<T> {
        Some(cubecl_environment::future::block_on(future))
    }

    /// Lets the executor's other tasks run.
    pub(crate) async fn yield_now() {
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// What the environment asks for, unless it leaves the choice open.
    pub(in super::super) fn environment_choice() -> Option<String> {
        std::env::var("FORGELING_DEVICE")
            .ok()
            .filter(|text| !text.is_empty() && text != "auto")
    }

    /// The adapters of Vulkan, Metal or DX12. OpenGL would list the same cards again, with less.
    pub(in super::super) async fn find() -> Result<Vec<FoundAdapter>, String> {
        // One for the process: Vulkan loaders crash when instances come and go on several threads.
        static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
        let instance = INSTANCE.get_or_init(|| windowless().unwrap_or_else(usual));
        let handles = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
        let found = handles.into_iter().enumerate();
        Ok(found
            .map(|(index, handle)| FoundAdapter::new(index, instance, handle))
            .collect())
    }

    fn usual() -> wgpu::Instance {
        wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::PRIMARY,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        })
    }

    /// Vulkan without windows. With them, Mesa's layer that sorts GPUs asks the desktop for its own one, and where there is
    /// no desktop, libwayland complains of `XDG_RUNTIME_DIR` on standard error.
    #[cfg(target_os = "linux")]
    fn windowless() -> Option<wgpu::Instance> {
        use wgpu::hal::{InstanceDescriptor, vulkan};

        let descriptor = InstanceDescriptor {
            name: "forgeling",
            flags: wgpu::InstanceFlags::default(),
            memory_budget_thresholds: Default::default(),
            backend_options: Default::default(),
            telemetry: None,
            display: None,
        };
        let without_windows = |args: vulkan::CreateInstanceCallbackArgs<'_, '_, '_>| {
            let windows = [
                c"VK_KHR_wayland_surface",
                c"VK_KHR_xcb_surface",
                c"VK_KHR_xlib_surface",
            ];
            args.extensions.retain(|name| !windows.contains(name));
        };
        let callback: Box<vulkan::CreateInstanceCallback<'_>> = Box::new(without_windows);
        // SAFETY: wgpu drops these extensions by itself where the driver has none of them, so it needs none to compute, and
        // nothing here makes a surface.
        let instance =
            unsafe { vulkan::Instance::init_with_callback(&descriptor, Some(callback)) }.ok()?;
        // SAFETY: the instance was just made, and is given away.
        Some(unsafe { wgpu::Instance::from_hal::<wgpu::hal::api::Vulkan>(instance) })
    }

    #[cfg(not(target_os = "linux"))]
    fn windowless() -> Option<wgpu::Instance> {
        None
    }
}

#[cfg(target_arch = "wasm32")]
mod web {
    use std::pin::pin;
    use std::sync::Once;
    use std::task::{Context, Poll, Waker};

    use js_sys::{Function, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};

    use super::{FoundAdapter, UNKNOWN_MEMORY, wgpu};

    /// A page does not learn it.
    pub(in super::super) fn host_memory() -> u64 {
        UNKNOWN_MEMORY
    }

    /// A module keeps all memory that it was ever given.
    pub(in super::super) const fn keep_freed_memory() {}

    /// Waits for a future where it stands; `None` where one cannot wait: what is not there already comes when the page has
    /// had its turn.
    pub(crate) fn wait<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    /// Lets the page handle what has happened in the meantime, and draw.
    ///
    /// A message to oneself, because timers that follow one another are slowed down to 4 ms.
    pub(crate) async fn yield_now() {
        let mut port = None;
        let soon = Promise::new(&mut |resolve, _| {
            port = post_to_self(&resolve);
            if port.is_none() {
                // Without channels there is nothing to wait for but the queue of promises.
                let _ = resolve.call0(&JsValue::UNDEFINED);
            }
        });
        let _ = soon.await;
        // An open port would keep Node.js from ending.
        if let Some(port) = port
            && let Some(close) = method(&port, "close")
        {
            let _ = close.call0(&port);
        }
    }

    /// Has `receiver` called by a message of its own; gives the port that sent it.
    fn post_to_self(receiver: &Function) -> Option<JsValue> {
        let channel = global("MessageChannel")?.dyn_into::<Function>().ok()?;
        let channel = Reflect::construct(&channel, &js_sys::Array::new()).ok()?;
        let port = |name: &str| Reflect::get(&channel, &name.into()).ok();
        let (from, to) = (port("port1")?, port("port2")?);
        Reflect::set(&to, &"onmessage".into(), receiver).ok()?;
        method(&from, "postMessage")?
            .call1(&from, &JsValue::NULL)
            .ok()?;
        Some(from)
    }

    fn method(object: &JsValue, name: &str) -> Option<Function> {
        let method = Reflect::get(object, &name.into()).ok()?;
        method.dyn_into().ok()
    }

    /// A page has no environment.
    pub(in super::super) fn environment_choice() -> Option<String> {
        None
    }

    /// A property of the global scope: a window or a worker.
    fn global(name: &str) -> Option<wasm_bindgen::JsValue> {
        let value = js_sys::Reflect::get(&js_sys::global(), &name.into()).ok()?;
        (!value.is_undefined() && !value.is_null()).then_some(value)
    }

    unsafe extern "C" {
        fn __wasm_call_ctors();
    }

    /// Runs the module's constructors, with which CubeCL registers what its compiler knows.
    ///
    /// Were they not called by name, the linker would have every export call them, each time: that is, for every object
    /// of JavaScript that comes or goes, which took half of a training step.
    fn construct() {
        static CONSTRUCTED: Once = Once::new();
        // SAFETY: constructors are made to run once before what they register is used, which is on GPUs only.
        CONSTRUCTED.call_once(|| unsafe { __wasm_call_ctors() });
    }

    /// The one adapter a browser gives out, or why there is none.
    pub(in super::super) async fn find() -> Result<Vec<FoundAdapter>, String> {
        construct();
        if global("isSecureContext").is_some_and(|secure| secure.is_falsy()) {
            return Err("WebGPU needs a secure context (https or localhost)".into());
        }
        let gpu = global("navigator")
            .and_then(|navigator| js_sys::Reflect::get(&navigator, &"gpu".into()).ok())
            .filter(|gpu| !gpu.is_undefined() && !gpu.is_null());
        if gpu.is_none() {
            return Err("this browser has no WebGPU (no navigator.gpu)".into());
        }
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::BROWSER_WEBGPU,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let handle = instance
            .request_adapter(&options)
            .await
            .map_err(|_| "the browser gave no WebGPU adapter".to_string())?;
        // CubeCL makes a query set when it starts and panics where it cannot.
        if !handle.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err("the WebGPU adapter has no timestamp-query".into());
        }
        Ok(vec![FoundAdapter::new(0, &instance, handle)])
    }
}
