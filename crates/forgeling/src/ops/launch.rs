//! Launching a kernel of `forgeling-shaders` through CubeCL's wgpu runtime.

use burn::backend::wgpu::{
    CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use burn::backend::{DispatchDevice, TensorMetadata};
use burn::tensor::{DType, Device, Shape};
use cubecl::prelude::{CubeCount, KernelId};
use cubecl::server::KernelArguments;
use forgeling_shaders::Kernel;
pub(super) use forgeling_shaders::PART;

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

/// A kernel with what it reads and makes.
pub(super) struct Launch<const N: usize> {
    pub kernel: &'static Kernel,
    /// The first bindings.
    pub inputs: Vec<CubeTensor>,
    /// Shapes of the new tensors that follow them.
    pub outputs: [Shape; N],
    /// The values of the last binding, `shape`.
    pub sizes: Vec<usize>,
    /// Workgroups along each dimension.
    pub grid: [u32; 3],
}

impl<const N: usize> Launch<N> {
    /// Runs the kernel and gives its outputs, contiguous and of f32.
    pub fn run(self) -> [CubeTensor; N] {
        let inputs: Vec<CubeTensor> = self.inputs.into_iter().map(into_contiguous).collect();
        debug_assert_eq!(
            inputs.len() + N + 1,
            self.kernel.bindings.len(),
            "{}",
            self.kernel.name
        );
        let client = inputs[0].client.clone();
        let device = inputs[0].device();
        let outputs = self.outputs.map(|shape| {
            let bytes = shape.num_elements() * size_of::<f32>();
            let handle = client.empty(bytes);
            CubeTensor::new_contiguous(client.clone(), device.clone(), shape, handle, DType::F32)
        });
        let sizes: Vec<u8> = self
            .sizes
            .iter()
            .flat_map(|&size| (size as u32).to_ne_bytes())
            .collect();
        let buffers = inputs
            .into_iter()
            .map(|tensor| tensor.handle)
            .chain(outputs.iter().map(|output| output.handle.clone()))
            .chain([client.create_from_slice(&sizes)])
            .map(|handle| handle.binding())
            .collect();
        let [x, y, z] = self.grid;
        client.launch(
            Box::new(SourceKernel::new(
                Source(self.kernel),
                CubeDim::new_1d(self.kernel.workgroup_size),
            )),
            CubeCount::Static(x, y, z),
            KernelArguments::new().with_buffers(buffers),
        );
        outputs
    }
}

impl Launch<1> {
    /// Runs a kernel that has one invocation per element of its output, on sizes that fit.
    pub fn per_element(
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        shape: Shape,
        sizes: Vec<usize>,
    ) -> [CubeTensor; 1] {
        let grid = kernel
            .grid(shape.num_elements())
            .expect("the caller checked that the launch fits");
        Self {
            kernel,
            inputs,
            outputs: [shape],
            sizes,
            grid,
        }
        .run()
    }
}

/// `length` numbers of a contiguous f32 tensor from `start` on, a multiple of [`PART`], without a copy.
pub(super) fn part(tensor: &CubeTensor, start: usize, length: usize) -> CubeTensor {
    debug_assert!(start.is_multiple_of(PART));
    let bytes = |numbers: usize| (numbers * size_of::<f32>()) as u64;
    let behind = tensor.shape().num_elements() - start - length;
    // The end counts too: two parts may be bound by one launch, and must not overlap.
    CubeTensor::new_contiguous(
        tensor.client.clone(),
        tensor.device(),
        Shape::new([length]),
        tensor
            .handle
            .clone()
            .offset_start(bytes(start))
            .offset_end(bytes(behind)),
        DType::F32,
    )
}
