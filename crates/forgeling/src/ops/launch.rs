//! Launching a kernel of `forgeling-shaders` through CubeCL's wgpu runtime.

use std::cell::RefCell;
use std::collections::HashMap;

use burn::backend::ops::FloatTensorOps;
use burn::backend::wgpu::{
    CubeBackend, CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use burn::backend::{DispatchDevice, TensorMetadata};
use burn::tensor::{DType, Device, Shape};
use cubecl::Device as CubeDevice;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::{CubeCount, KernelId};
use cubecl::server::{Handle, KernelArguments};
pub(super) use forgeling_shaders::PART;
use forgeling_shaders::{ADD_PARTS, Kernel, Storage};

use super::implementation::{Implementation, implementation};
use crate::device::{allocated, launching};

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
    if implementation() == Implementation::Composite {
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

/// Whether tensors of this device, tracked or not, are computed on the CPU.
pub(crate) fn is_cpu(device: &Device) -> bool {
    let inner = device.clone().inner();
    matches!(inner.as_dispatch(), DispatchDevice::Flex(_))
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
    pub grid: Grid,
}

/// How far a launch reaches, which the caller of the operation has checked to fit.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// So many invocations at least.
    Invocations(usize),
    /// So many workgroups at least.
    Workgroups(usize),
}

impl<const N: usize> Launch<N> {
    /// Runs the kernel's variant for the dtypes of its tensors, and gives its outputs, contiguous.
    pub fn run(self) -> [CubeTensor; N] {
        self.run_into([const { None }; N])
    }

    /// As [`run`](Self::run), with outputs written to where there is something given, such as a [`part`].
    pub fn run_into(self, given: [Option<CubeTensor>; N]) -> [CubeTensor; N] {
        let mut inputs: Vec<CubeTensor> = Vec::with_capacity(self.inputs.len());
        for input in self.inputs {
            let input = into_contiguous(input);
            // An operand may be given twice, but bound only once.
            let bound = inputs.iter().any(|other| overlap(other, &input));
            inputs.push(if bound { input.copy() } else { input });
        }
        debug_assert_eq!(
            inputs.len() + N + 1,
            self.kernel.bindings.len(),
            "{}",
            self.kernel.name
        );
        let client = inputs[0].client.clone();
        let device = inputs[0].device();
        let mut given = given.into_iter();
        let outputs = self.outputs.map(|(shape, dtype)| {
            if let Some(given) = given.next().flatten() {
                debug_assert_eq!(given.shape().num_elements(), shape.num_elements());
                return given;
            }
            // WebGPU binds multiples of 4 bytes.
            let bytes = (shape.num_elements() * dtype.size()).next_multiple_of(4);
            allocated(bytes as u64);
            let handle = client.empty(bytes);
            CubeTensor::new_contiguous(client.clone(), device.clone(), shape, handle, dtype)
        });
        let half = |tensor: &CubeTensor| tensor.dtype == DType::F16;
        let storage = if inputs.iter().chain(&outputs).any(half) {
            Storage::F16
        } else {
            Storage::F32
        };
        let given = inputs.iter().chain(&outputs);
        let bytes = given.map(|tensor| tensor.handle.size_in_used()).sum();
        let sizes = sizes_on(&inputs[0], &self.sizes);
        let buffers = inputs
            .into_iter()
            .map(|tensor| tensor.handle)
            .chain(outputs.iter().map(|output| output.handle.clone()))
            .chain([sizes])
            .map(|handle| handle.binding())
            .collect();
        let grid = match self.grid {
            Grid::Invocations(count) => self.kernel.grid(count),
            Grid::Workgroups(count) => self.kernel.spread(count),
        };
        let [x, y, z] = grid.expect("the caller checked that the launch fits");
        launching(self.kernel.name, bytes, || {
            client.launch(
                Box::new(SourceKernel::new(
                    Source(self.kernel, storage),
                    CubeDim::new_1d(self.kernel.workgroup_size),
                )),
                CubeCount::Static(x, y, z),
                KernelArguments::new().with_buffers(buffers),
            );
        });
        outputs
    }
}

/// Sizes that are kept on devices at most; some hundred are those of a network in training.
const MOST_SIZES: usize = 1024;

thread_local! {
    // For each thread, because each has a queue of its own.
    static SIZES: RefCell<HashMap<(CubeDevice, Vec<u32>), Handle>> = RefCell::default();
}

/// `sizes` in a buffer on the device of `like`. A step's sizes are those of the step before, and whatever is written
/// to a device waits for the launches before it: so they stay there.
fn sizes_on(like: &CubeTensor, sizes: &[usize]) -> Handle {
    let sizes: Vec<u32> = sizes.iter().map(|&size| size as u32).collect();
    SIZES.with_borrow_mut(|known| {
        if known.len() >= MOST_SIZES {
            known.clear();
        }
        let write = |(_, sizes): &(CubeDevice, Vec<u32>)| {
            let bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_ne_bytes()).collect();
            like.client.create_from_slice(&bytes)
        };
        let key = (like.device(), sizes);
        known.entry(key).or_insert_with_key(write).clone()
    })
}

impl Launch<1> {
    /// Runs a kernel of one output.
    pub fn one(
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        output: (Shape, DType),
        sizes: impl Into<Vec<usize>>,
        grid: Grid,
    ) -> CubeTensor {
        let launch = Self {
            kernel,
            inputs,
            outputs: [output],
            sizes: sizes.into(),
            grid,
        };
        let [output] = launch.run();
        output
    }

    /// As [`one`](Self::one), with an invocation for each element of the output.
    pub fn per_element(
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        output: (Shape, DType),
        sizes: impl Into<Vec<usize>>,
    ) -> CubeTensor {
        let grid = Grid::Invocations(output.0.num_elements());
        Self::one(kernel, inputs, output, sizes, grid)
    }
}

/// Sums of `length` numbers from so many parts, which lie one behind the other.
pub(super) fn add_parts(
    parts: CubeTensor,
    length: usize,
    count: usize,
    shape: impl Into<Shape>,
) -> CubeTensor {
    Launch::per_element(&ADD_PARTS, vec![parts], f32s(shape), [length, count])
}

/// Whether two bindings share bytes, which WebGPU refuses.
pub(super) fn overlap(a: &CubeTensor, b: &CubeTensor) -> bool {
    let (a, b) = (a.handle.clone().binding(), b.handle.clone().binding());
    let (x, y) = (a.range(), b.range());
    a.claim_key().0 == b.claim_key().0 && x.start < y.end && y.start < x.end
}

fn numbers(like: &CubeTensor, length: usize, handle: Handle, dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device());
    CubeTensor::new_contiguous(client, device, Shape::new([length]), handle, dtype)
}

/// `length` f32 numbers on the device of `like`, of any value.
pub(super) fn empty(like: &CubeTensor, length: usize) -> CubeTensor {
    allocated((length * size_of::<f32>()) as u64);
    let handle = like.client.empty(length * size_of::<f32>());
    numbers(like, length, handle, DType::F32)
}

/// `length` f32 zeros on the device of `like`.
pub(super) fn zeros(like: &CubeTensor, length: usize) -> CubeTensor {
    let bytes = vec![0; length * size_of::<f32>()];
    let handle = like.client.create_from_slice(&bytes);
    numbers(like, length, handle, DType::F32)
}

/// These numbers on the device of `like`.
pub(super) fn upload(like: &CubeTensor, values: &[f32]) -> CubeTensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let handle = like.client.create_from_slice(&bytes);
    numbers(like, values.len(), handle, DType::F32)
}

/// `length` numbers of a contiguous tensor from `start` on, a multiple of 256 bytes ([`PART`] numbers of f32), without a
/// copy.
pub(super) fn part(tensor: &CubeTensor, start: usize, length: usize) -> CubeTensor {
    let bytes = |numbers: usize| (numbers * tensor.dtype.size()) as u64;
    debug_assert!(bytes(start).is_multiple_of((PART * size_of::<f32>()) as u64));
    let behind = tensor.shape().num_elements() - start - length;
    // The end counts too: two parts may be bound by one launch, and must not overlap.
    let handle = tensor.handle.clone();
    let handle = handle.offset_start(bytes(start)).offset_end(bytes(behind));
    numbers(tensor, length, handle, tensor.dtype)
}

/// `[n, c, h, w]` as `[n, h, w, c]`.
pub(super) fn channels_last(tensor: CubeTensor) -> CubeTensor {
    CubeBackend::float_permute(tensor, &[0, 2, 3, 1])
}

/// `[n, h, w, c]` as `[n, c, h, w]`.
pub(super) fn channels_first(tensor: CubeTensor) -> CubeTensor {
    CubeBackend::float_permute(tensor, &[0, 3, 1, 2])
}

/// Some zeros on the device of another tensor, to be bound where there is nothing to read.
pub(super) fn nothing(like: &CubeTensor) -> CubeTensor {
    numbers(like, 4, sizes_on(like, &[0; 4]), DType::F32)
}

/// A contiguous tensor in another shape.
pub(super) fn reshaped(tensor: CubeTensor, shape: Shape) -> CubeTensor {
    let device = tensor.device();
    CubeTensor::new_contiguous(tensor.client, device, shape, tensor.handle, tensor.dtype)
}
