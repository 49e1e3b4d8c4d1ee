//! What an adapter is and what it can do.

use serde::Serialize;

/// The kind of hardware behind a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// burn's CPU back end.
    Cpu,
    /// A graphics card with memory of its own.
    DiscreteGpu,
    /// A GPU that shares the processor's memory.
    IntegratedGpu,
    /// A GPU passed through by a hypervisor.
    VirtualGpu,
    /// A GPU emulated on the CPU: lavapipe, SwiftShader, WARP.
    SoftwareGpu,
    /// A GPU that does not say what it is, as in browsers.
    OtherGpu,
}

impl DeviceKind {
    /// The name used in JSON and JavaScript.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::DiscreteGpu => "discrete_gpu",
            Self::IntegratedGpu => "integrated_gpu",
            Self::VirtualGpu => "virtual_gpu",
            Self::SoftwareGpu => "software_gpu",
            Self::OtherGpu => "other_gpu",
        }
    }
}

/// One GPU adapter of this machine, as [`crate::Device::adapters`] lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adapter {
    /// The `N` of `gpu:N`.
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// Which kind of GPU.
    pub kind: DeviceKind,
    /// The graphics API: `"vulkan"`, `"metal"`, `"dx12"` or `"webgpu"`.
    pub backend: String,
    /// The driver and its version, where it says so.
    pub driver: String,
    /// Whether shaders can compute in 16-bit floats.
    pub f16: bool,
    /// Whether the shader language has the packed 4×8-bit integer dot product.
    pub int8_dot: bool,
    /// Whether shaders have subgroup operations.
    pub subgroups: bool,
    /// Whether the GPU can time its own work.
    pub timestamps: bool,
    /// The largest buffer a kernel can bind, in bytes.
    pub max_buffer: u64,
    /// The number of storage buffers a kernel can bind.
    pub max_storage_buffers: u32,
    /// Whether [`crate::DeviceChoice::Auto`] takes this one.
    pub chosen: bool,
}
