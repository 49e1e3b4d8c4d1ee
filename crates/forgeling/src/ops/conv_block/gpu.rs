//! The block on GPUs. Images are channels-last here: a tensor whose memory already is (an image of one channel, or
//! the output of another block) is used as it lies, any other is copied.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::tensor::{DType, Shape};
use forgeling_shaders::{
    CONV_BLOCK_BACKWARD_ACTIVATION, CONV_BLOCK_BACKWARD_REDUCE, CONV_BLOCK_FORWARD,
    CONV_BLOCK_GRAD_INPUT, CONV_BLOCK_GRAD_WEIGHT, CONV_BLOCK_GRAD_WEIGHT_VEC4,
    CONV_BLOCK_NORMALIZE, CONV_BLOCK_NORMALIZE_RUNNING, CONV_BLOCK_PACK, Kernel,
};

use super::{Backwards, BlockForward, BlockGradients, ConvBlockOps};
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{Launch, PART, channels_first, channels_last, f32s, part, zeros};

/// Quads (of four channels) that lie side by side in a workgroup at most, as in `wgsl/shared/place.wgsl`.
const QUADS_SIDE_BY_SIDE: usize = 16;
/// The register tile of `wgsl/shared/row.wgsl`.
const TILE: [usize; 2] = [2, 7];

/// Sizes of a block and of its launches.
struct Plan {
    images: usize,
    height: usize,
    width: usize,
    inputs: usize,
    channels: usize,
    quads: usize,
    /// Of activations.
    stored: DType,
    /// Groups of workgroups that share the pixels of a forward pass; each gives one partial statistic.
    slots: usize,
    /// Quads of a workgroup of the weight gradient.
    block: usize,
}

impl Plan {
    fn new(x: &CubeTensor, weight: &CubeTensor, heuristics: Heuristics) -> Self {
        let stored = x.dtype;
        let (x, weight) = (x.shape(), weight.shape());
        let (inputs, channels) = (x[1], weight[0]);
        let quads = channels.div_ceil(4);
        let mut plan = Self {
            images: x[0],
            height: x[2],
            width: x[3],
            inputs,
            channels,
            quads,
            stored,
            slots: 1,
            block: 1,
        };
        let items = plan.tiles().div_ceil(plan.lanes(&CONV_BLOCK_FORWARD));
        plan.slots = items.div_ceil(items.div_ceil(heuristics.statistics_slots));
        // Wide enough to read neighbours together, but not so wide that too few workgroups are left.
        while plan.block < 8
            && plan.block * 2 <= quads
            && plan.weight_units() * quads.div_ceil(plan.block * 2) >= heuristics.weight_workgroups
        {
            plan.block *= 2;
        }
        plan
    }

    /// Whether the weight gradient reads inputs four channels at a time.
    fn vec4(&self) -> bool {
        self.inputs.is_multiple_of(4)
    }

    fn grad_weight(&self) -> &'static Kernel {
        if self.vec4() {
            &CONV_BLOCK_GRAD_WEIGHT_VEC4
        } else {
            &CONV_BLOCK_GRAD_WEIGHT
        }
    }

    fn weight_units(&self) -> usize {
        if self.vec4() {
            self.inputs / 4 * 3
        } else {
            self.inputs
        }
    }

    fn tiles(&self) -> usize {
        self.images * self.height.div_ceil(TILE[0]) * self.width.div_ceil(TILE[1])
    }

    /// Groups of quads that lie side by side, and invocations beside each other on the same quad.
    fn blocks(&self) -> usize {
        self.quads.div_ceil(QUADS_SIDE_BY_SIDE)
    }

    fn lanes(&self, kernel: &Kernel) -> usize {
        kernel.workgroup_size as usize / self.quads.div_ceil(self.blocks())
    }

    fn pooled(&self) -> [usize; 2] {
        [self.height / 2, self.width / 2]
    }

    fn sizes(&self) -> Vec<usize> {
        vec![
            self.images,
            self.height,
            self.width,
            self.inputs,
            self.channels,
            self.slots,
            self.block,
        ]
    }

    /// A launch of `workgroups` workgroups.
    fn launch<const N: usize>(
        &self,
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        outputs: [(Shape, DType); N],
        workgroups: usize,
    ) -> [CubeTensor; N] {
        Launch {
            kernel,
            inputs,
            outputs,
            sizes: self.sizes(),
            grid: kernel
                .spread(workgroups)
                .expect("the caller checked that the launch fits"),
        }
        .run()
    }

    fn pack(&self, weight: CubeTensor) -> CubeTensor {
        let values = 9 * self.inputs * self.quads;
        let [packed] = self.launch(
            &CONV_BLOCK_PACK,
            vec![weight],
            [f32s([values * 4])],
            values.div_ceil(CONV_BLOCK_PACK.workgroup_size as usize),
        );
        packed
    }

    /// The convolution and the partial statistics.
    fn convolve(&self, x: CubeTensor, packed: CubeTensor) -> [CubeTensor; 2] {
        let convolved = [self.images, self.height, self.width, self.quads * 4];
        let partials = [self.slots, 3, self.quads * 4];
        self.launch(
            &CONV_BLOCK_FORWARD,
            vec![x, packed],
            [self.stored(convolved), f32s(partials)],
            self.slots * self.blocks(),
        )
    }

    /// From one row of the statistics to the next, each of which has a number per channel.
    fn row(&self) -> usize {
        self.channels.next_multiple_of(PART)
    }

    fn output(&self) -> (Shape, DType) {
        let [height, width] = self.pooled();
        self.stored([self.images, height, width, self.channels])
    }

    /// An output of activations.
    fn stored(&self, shape: impl Into<Shape>) -> (Shape, DType) {
        (shape.into(), self.stored)
    }
}

impl ConvBlockOps for CubeBackend {
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let plan = Plan::new(&x, &weight, heuristics);
        let packed = plan.pack(weight);
        let [convolved, partials] = plan.convolve(channels_last(x), packed.clone());
        let lanes = plan.lanes(&CONV_BLOCK_NORMALIZE);
        let rows = (plan.images * plan.pooled()[0]).div_ceil(lanes);
        let [output, statistics] = plan.launch(
            &CONV_BLOCK_NORMALIZE,
            vec![convolved.clone(), partials, gamma, beta],
            [plan.output(), f32s([3 * plan.row()])],
            rows.min(heuristics.statistics_slots) * plan.blocks(),
        );
        let mean = part(&statistics, 0, plan.channels);
        let variance = part(&statistics, plan.row(), plan.channels);
        BlockForward {
            output: channels_first(output),
            packed,
            convolved,
            statistics,
            mean,
            variance,
        }
    }

    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        what: Backwards,
    ) -> BlockGradients<Self> {
        let plan = Plan::new(&x, &weight, what.heuristics);
        let weight_shape = weight.shape();
        let inputs = vec![convolved, statistics, gamma, beta, channels_last(grad)];
        let [sums] = plan.launch(
            &CONV_BLOCK_BACKWARD_REDUCE,
            inputs.clone(),
            [f32s([2 * plan.row()])],
            plan.quads,
        );
        // Where statistics are constants, their gradients do not come back to the activations.
        let through_statistics = if what.running {
            zeros(&sums, 2 * plan.row())
        } else {
            sums.clone()
        };
        let invocations = plan.images * plan.height.div_ceil(2) * plan.quads;
        let shape = inputs[0].shape();
        let [flow] = plan.launch(
            &CONV_BLOCK_BACKWARD_ACTIVATION,
            inputs.into_iter().chain([through_statistics]).collect(),
            [plan.stored(shape)],
            invocations.div_ceil(CONV_BLOCK_BACKWARD_ACTIVATION.workgroup_size as usize),
        );
        let dx = if what.input_gradient {
            let invocations = plan.tiles() * plan.inputs.div_ceil(4);
            let shape = [plan.images, plan.height, plan.width, plan.inputs];
            let [dx] = plan.launch(
                &CONV_BLOCK_GRAD_INPUT,
                vec![flow.clone(), packed],
                [plan.stored(shape)],
                invocations.div_ceil(CONV_BLOCK_GRAD_INPUT.workgroup_size as usize),
            );
            channels_first(dx)
        } else {
            part(&sums, 0, 0)
        };
        let [dweight] = plan.launch(
            plan.grad_weight(),
            vec![channels_last(x), flow],
            [f32s(weight_shape)],
            plan.weight_units() * plan.quads.div_ceil(plan.block),
        );
        BlockGradients {
            x: dx,
            weight: dweight,
            gamma: part(&sums, 0, plan.channels),
            beta: part(&sums, plan.row(), plan.channels),
        }
    }

    fn conv_block_running(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        _keep: bool,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let plan = Plan::new(&x, &weight, heuristics);
        let packed = plan.pack(weight);
        let [convolved, _] = plan.convolve(channels_last(x), packed.clone());
        // What the bias adds, the mean may as well lack.
        let shifted = CubeBackend::float_sub(mean.clone(), bias);
        let invocations = plan.images * plan.pooled()[0] * plan.quads;
        let [output, statistics] = plan.launch(
            &CONV_BLOCK_NORMALIZE_RUNNING,
            vec![convolved.clone(), shifted, variance.clone(), gamma, beta],
            [plan.output(), f32s([3 * plan.row()])],
            invocations.div_ceil(CONV_BLOCK_NORMALIZE_RUNNING.workgroup_size as usize),
        );
        BlockForward {
            output: channels_first(output),
            packed,
            convolved,
            statistics,
            mean,
            variance,
        }
    }
}
