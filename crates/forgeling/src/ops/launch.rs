//! Launching a kernel of `forgeling-shaders` through CubeCL's wgpu runtime.

use burn::backend::wgpu::{
    CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use burn::backend::{DispatchDevice, TensorMetadata};
use burn::tensor::{DType, Device, Shape};
use cubecl::prelude::{CubeCount, KernelId};
use cubecl::server::KernelArguments;
use forgeling_shaders::Kernel;

use super::bodies::{Bodies, bodies};

/// The language of our kernels, as CubeCL names it.
const LANGUAGE: &str = "wgsl";

struct Source(&'static Kernel);

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.source)
    }

    // The workgroup size is part of the text, and f32 is the only dtype yet: the name says it all.
    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.0.name)
    }

    fn lang(&self) -> &'static str {
        LANGUAGE
    }
}

/// Whether our kernels run on `device`: the CPU back end, and GPUs that take WGSL text. Where burn's `vulkan` or
/// `metal` features choose another compiler, the composite reference is used.
pub(super) fn has_kernels(device: &Device) -> bool {
    if bodies() == Bodies::Composite {
        return false;
    }
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Cube(device) => device.client().name().ends_with("<wgsl>"),
        _ => false,
    }
}

/// Whether `device` is the CPU back end, and its own bodies are wanted.
pub(super) fn has_cpu_bodies(device: &Device) -> bool {
    let device = device.clone().inner();
    bodies() == Bodies::Own && matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// Runs `kernel` with `inputs`, one output of `shape`, and the sizes in `sizes` as its last binding.
pub(super) fn launch(
    kernel: &'static Kernel,
    inputs: Vec<CubeTensor>,
    shape: Shape,
    sizes: [usize; 4],
) -> CubeTensor {
    let inputs: Vec<CubeTensor> = inputs.into_iter().map(into_contiguous).collect();
    debug_assert_eq!(inputs.len() + 2, kernel.bindings.len(), "{}", kernel.name);
    let client = inputs[0].client.clone();
    let elements = shape.num_elements();
    let output = CubeTensor::new_contiguous(
        client.clone(),
        inputs[0].device(),
        shape,
        client.empty(elements * size_of::<f32>()),
        DType::F32,
    );
    let [x, y, z] = kernel
        .grid(elements)
        .expect("the caller checked that the launch fits");

    let sizes: Vec<u8> = sizes
        .iter()
        .flat_map(|&size| (size as u32).to_ne_bytes())
        .collect();
    let buffers = inputs
        .into_iter()
        .map(|tensor| tensor.handle)
        .chain([output.handle.clone(), client.create_from_slice(&sizes)])
        .map(|handle| handle.binding())
        .collect();
    client.launch(
        Box::new(SourceKernel::new(
            Source(kernel),
            CubeDim::new_1d(kernel.workgroup_size),
        )),
        CubeCount::Static(x, y, z),
        KernelArguments::new().with_buffers(buffers),
    );
    output
}
