//! The operations on GPUs, channels-last as the convolution.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::tensor::{DType, Shape};
use forgeling_shaders::{
    AFFINE_RELU_POOL, AFFINE_RELU_POOL_GRAD, CHANNEL_MOMENTS, CHANNEL_MOMENTS_GRAD, Kernel,
    NORM_POOL_GRAD, NORM_POOL_SECOND, NORM_POOL_SECOND_VECTORS,
};

use super::extension::{
    LineGradients, NormPoolBackward, NormPoolOps, PoolGradients, SecondGradients,
};
use crate::ops::launch::{Grid, Launch, PART, channels_first, channels_last, f32s, part};

/// Rows of what [`NORM_POOL_GRAD`] keeps.
pub(super) const NUMBERS: usize = 6;

/// Rounds of an invocation's loop at most; llvmpipe ends all loops after 65,536.
const ROUNDS: usize = 1 << 14;

/// Channels side by side in a workgroup, whose lanes share the pixels: the more, the more of a memory access is used, and
/// the fewer, the more workgroups there are.
const BLOCKS: [usize; 3] = [8, 4, 1];

/// Channels from which on there are workgroups enough with the largest block.
const MANY: usize = 512;

/// Cells of all images.
const fn cells([images, _, height, width]: [usize; 4]) -> usize {
    images * height.div_ceil(2) * width.div_ceil(2)
}

/// Channels of a workgroup, or `None` where the images are too many for one.
fn block(shape: [usize; 4]) -> Option<usize> {
    let lanes = |block: usize| NORM_POOL_GRAD.workgroup_size as usize / block;
    let fits = |block: &usize| cells(shape).div_ceil(lanes(*block)) <= ROUNDS;
    let from = usize::from(shape[1] < MANY);
    BLOCKS[from..].iter().copied().find(fits)
}

/// Whether the kernels take images of this shape.
pub(super) fn takes(shape: [usize; 4]) -> bool {
    let values: usize = shape.iter().product();
    i32::try_from(values).is_ok() && block(shape).is_some()
}

/// The images of a launch.
struct Plan {
    shape: [usize; 4],
    block: usize,
}

impl Plan {
    fn new(z: &CubeTensor) -> Self {
        let shape: [usize; 4] = z.shape().dims();
        Self {
            shape,
            block: block(shape).expect("the caller checked that the launch fits"),
        }
    }

    const fn channels(&self) -> usize {
        self.shape[1]
    }

    /// Shapes as they lie in memory.
    fn full(&self) -> Shape {
        let [images, channels, height, width] = self.shape;
        Shape::new([images, height, width, channels])
    }

    fn pooled(&self) -> Shape {
        let [images, channels, height, width] = self.shape;
        Shape::new([images, height / 2, width / 2, channels])
    }

    fn launch<const N: usize>(
        &self,
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        outputs: [(Shape, DType); N],
        grid: Grid,
    ) -> [CubeTensor; N] {
        let [images, channels, height, width] = self.shape;
        Launch {
            kernel,
            inputs,
            outputs,
            sizes: vec![images, height, width, channels, self.block],
            grid,
        }
        .run()
    }

    /// Runs a kernel with one workgroup for every block of channels.
    fn by_channel<const N: usize>(
        &self,
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        outputs: [(Shape, DType); N],
    ) -> [CubeTensor; N] {
        let grid = Grid::Workgroups(self.channels().div_ceil(self.block));
        self.launch(kernel, inputs, outputs, grid)
    }

    /// Runs a kernel with one invocation for every channel of every cell.
    fn by_cell<const N: usize>(
        &self,
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        outputs: [(Shape, DType); N],
    ) -> [CubeTensor; N] {
        let grid = Grid::Invocations(cells(self.shape) * self.channels());
        self.launch(kernel, inputs, outputs, grid)
    }
}

impl NormPoolOps for CubeBackend {
    fn channel_moments(z: FloatTensor<Self>) -> FloatTensor<Self> {
        let plan = Plan::new(&z);
        let moments = f32s([2, plan.channels()]);
        let [moments] = plan.by_channel(&CHANNEL_MOMENTS, vec![channels_last(z)], [moments]);
        moments
    }

    fn affine_relu_pool(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (plan, stored) = (Plan::new(&z), z.dtype);
        let inputs = vec![channels_last(z), scale, shift];
        let [y] = plan.by_cell(&AFFINE_RELU_POOL, inputs, [(plan.pooled(), stored)]);
        channels_first(y)
    }

    fn norm_pool_grad(
        z: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> PoolGradients<Self> {
        let (plan, stored) = (Plan::new(&z), z.dtype);
        let channels = plan.channels();
        let inputs = vec![channels_last(z), gamma, beta, channels_last(grad)];
        let outputs = [
            (plan.full(), stored),
            f32s([2, channels]),
            f32s([NUMBERS, channels]),
        ];
        let [input, vectors, numbers] = plan.by_channel(&NORM_POOL_GRAD, inputs, outputs);
        PoolGradients {
            input: channels_first(input),
            vectors,
            numbers,
        }
    }
}

impl NormPoolBackward for CubeBackend {
    fn channel_moments_grad(
        z: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (plan, stored) = (Plan::new(&z), z.dtype);
        let kernel = &CHANNEL_MOMENTS_GRAD;
        let grid = Grid::Invocations(plan.full().num_elements());
        let inputs = vec![channels_last(z), moments, grad];
        let [dz] = plan.launch(kernel, inputs, [(plan.full(), stored)], grid);
        channels_first(dz)
    }

    fn affine_relu_pool_grad(
        z: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> LineGradients<Self> {
        let (plan, stored) = (Plan::new(&z), z.dtype);
        let row = plan.channels().next_multiple_of(PART);
        let inputs = vec![channels_last(z), scale, shift, channels_last(grad)];
        let outputs = [(plan.full(), stored), f32s([2 * row])];
        let [dz, sums] = plan.by_channel(&AFFINE_RELU_POOL_GRAD, inputs, outputs);
        LineGradients {
            z: channels_first(dz),
            scale: part(&sums, 0, plan.channels()),
            shift: part(&sums, row, plan.channels()),
        }
    }

    // The numbers have gamma and beta too: a launch binds no more than eight buffers.
    fn norm_pool_second(
        z: FloatTensor<Self>,
        _gamma: FloatTensor<Self>,
        _beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        flow: FloatTensor<Self>,
        of_vectors: bool,
    ) -> SecondGradients<Self> {
        let (plan, stored) = (Plan::new(&z), z.dtype);
        let channels = plan.channels();
        let given = vec![channels_last(z), channels_last(grad), numbers.clone()];
        let full = (plan.full(), stored);
        let pooled = (plan.pooled(), stored);
        let (dz, gamma, dgrad) = if of_vectors {
            let inputs = [given, vec![flow]].concat();
            let [dz, dgrad] = plan.by_cell(&NORM_POOL_SECOND_VECTORS, inputs, [full, pooled]);
            // Nobody asks for it.
            (dz, part(&numbers, 0, channels), dgrad)
        } else {
            let inputs = [given, vec![channels_last(flow)]].concat();
            let outputs = [full, f32s([channels]), pooled];
            let [dz, gamma, dgrad] = plan.by_channel(&NORM_POOL_SECOND, inputs, outputs);
            (dz, gamma, dgrad)
        };
        SecondGradients {
            z: channels_first(dz),
            gamma,
            grad: channels_first(dgrad),
        }
    }
}
