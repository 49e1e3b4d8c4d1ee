//! Launching a kernel of `forgeling-shaders` through CubeCL's wgpu runtime.

use burn::backend::wgpu::{
    CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use burn::backend::{DispatchDevice, TensorMetadata};
use burn::tensor::{DType, Device, Shape};
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::{CubeCount, KernelId};
use cubecl::server::KernelArguments;
pub(super) use forgeling_shaders::PART;
use forgeling_shaders::{Kernel, Storage};

use super::bodies::{Bodies, bodies};

/// The language of our kernels, as CubeCL names it.
const LANGUAGE: &str = "wgsl";

struct Source(&'static Kernel, Storage);

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        let text = self.0.source(self.1);
        SourceTemplate::new(text.expect("callers launch with dtypes for which `has_kernels`"))
    }

    // The workgroup size is part of the text: name and storage say it all.
    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info((self.0.name, self.1))
    }

    fn lang(&self) -> &'static str {
        LANGUAGE
    }
}

/// Whether our kernels run on `device` with activations of `dtype`: f32 on the CPU back end, f32 and, where shaders
/// have it, f16 on GPUs that take WGSL text. Where burn's `vulkan` or `metal` features choose another compiler, the
/// composite reference is used.
pub(super) fn has_kernels(device: &Device, dtype: DType) -> bool {
    if bodies() == Bodies::Composite {
        return false;
    }
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Flex(_) => dtype == DType::F32,
        DispatchDevice::Cube(device) => {
            let client = device.client();
            let stores = match dtype {
                DType::F32 => true,
                DType::F16 => client
                    .properties()
                    .supports_type(ElemType::Float(FloatKind::F16)),
                _ => false,
            };
            stores && client.name().ends_with("<wgsl>")
        }
        _ => false,
    }
}

/// An output of f32.
pub(super) fn f32s(shape: impl Into<Shape>) -> (Shape, DType) {
    (shape.into(), DType::F32)
}

/// A kernel with what it reads and makes.
pub(super) struct Launch<const N: usize> {
    pub kernel: &'static Kernel,
    /// The first bindings.
    pub inputs: Vec<CubeTensor>,
    /// Shapes and dtypes of the new tensors that follow them.
    pub outputs: [(Shape, DType); N],
    /// The values of the last binding, `shape`.
    pub sizes: Vec<usize>,
    /// Workgroups along each dimension.
    pub grid: [u32; 3],
}

impl<const N: usize> Launch<N> {
    /// Runs the kernel's variant for the dtypes of its tensors, and gives its outputs, contiguous.
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
        let outputs = self.outputs.map(|(shape, dtype)| {
            // WebGPU binds multiples of 4 bytes.
            let bytes = (shape.num_elements() * dtype.size()).next_multiple_of(4);
            let handle = client.empty(bytes);
            CubeTensor::new_contiguous(client.clone(), device.clone(), shape, handle, dtype)
        });
        let half = |tensor: &CubeTensor| tensor.dtype == DType::F16;
        let storage = if inputs.iter().chain(&outputs).any(half) {
            Storage::F16
        } else {
            Storage::F32
        };
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
                Source(self.kernel, storage),
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
        output: (Shape, DType),
        sizes: Vec<usize>,
    ) -> [CubeTensor; 1] {
        let grid = kernel
            .grid(output.0.num_elements())
            .expect("the caller checked that the launch fits");
        Self {
            kernel,
            inputs,
            outputs: [output],
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

/// A tensor of `length` numbers of f32 on the device of `like`, not initialised.
pub(super) fn empty(like: &CubeTensor, length: usize) -> CubeTensor {
    let handle = like.client.empty(length * size_of::<f32>());
    let (client, device) = (like.client.clone(), like.device());
    CubeTensor::new_contiguous(client, device, Shape::new([length]), handle, DType::F32)
}

/// A contiguous tensor in another shape.
pub(super) fn reshaped(tensor: CubeTensor, shape: Shape) -> CubeTensor {
    let device = tensor.device();
    CubeTensor::new_contiguous(tensor.client, device, shape, tensor.handle, tensor.dtype)
}
