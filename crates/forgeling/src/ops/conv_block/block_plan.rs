//! How a block's work is dealt out on a GPU, and its launches.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::{DType, Shape};
use forgeling_shaders::place::QUADS_SIDE_BY_SIDE;
use forgeling_shaders::row::{TILE_HEIGHT, TILE_WIDTH};
use forgeling_shaders::{
    CONV_BLOCK_BACKWARD_ACTIVATION, CONV_BLOCK_FORWARD, CONV_BLOCK_GRAD_INPUT,
    CONV_BLOCK_GRAD_WEIGHT, CONV_BLOCK_GRAD_WEIGHT_VEC4, CONV_BLOCK_PACK, Kernel,
};

use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{Grid, Launch, PART, f32s};

/// Sizes of a block and of its launches.
#[derive(Clone, Copy)]
pub(in crate::ops) struct BlockPlan {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    pub inputs: usize,
    pub channels: usize,
    pub quads: usize,
    /// Of activations.
    stored: DType,
    /// Groups of workgroups that share the pixels of a forward pass; each gives one partial statistic.
    pub slots: usize,
    /// Quads of a workgroup of the weight gradient.
    block: usize,
    /// Images, and slots, that are worked on at a time where the convolution is not to be held as a whole. Where it is,
    /// its statistics are summed in the same order.
    pub group_images: usize,
    pub group_slots: usize,
    /// Images of all groups.
    all_images: usize,
    /// Whether gradients are 0 already where ReLU cut off.
    cut: bool,
}

/// Bytes of a group's convolution in f32 from which there are two of them.
const GROUP_BYTES: usize = 4 << 20;
const MOST_GROUPS: usize = 8;
/// Slots of a group at least, if it has work for so many.
const GROUP_SLOTS: usize = 16;

impl BlockPlan {
    pub(super) fn new(x: &CubeTensor, weight: &CubeTensor, heuristics: Heuristics) -> Self {
        Self::of(x.dtype, &x.shape(), &weight.shape(), heuristics)
    }

    pub fn of(stored: DType, x: &Shape, weight: &Shape, heuristics: Heuristics) -> Self {
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
            group_images: x[0],
            group_slots: 1,
            all_images: x[0],
            cut: false,
        };
        plan.deal(heuristics.statistics_slots);
        // Wide enough to read neighbours together, but not so wide that too few workgroups are left.
        while plan.block < 8
            && plan.block * 2 <= quads
            && plan.weight_units() * quads.div_ceil(plan.block * 2) >= heuristics.weight_workgroups
        {
            plan.block *= 2;
        }
        plan
    }

    /// Deals images to groups and their tiles to slots.
    fn deal(&mut self, most_slots: usize) {
        let pixels = self.height * self.width;
        let [height, width] = self.pooled();
        let bytes = self.images * pixels * self.quads * 4 * size_of::<f32>();
        let groups = bytes.div_ceil(GROUP_BYTES).clamp(1, MOST_GROUPS);
        // A group's part of every buffer, of one in 16 bits too, is one that may be bound by itself.
        let numbers = [
            pixels * self.inputs,
            pixels * self.quads * 4,
            height * width * self.channels,
        ];
        let steps =
            numbers.map(|number| (2 * PART) >> number.trailing_zeros().min((2 * PART).ilog2()));
        let step = steps.into_iter().fold(1, usize::max);
        let images = self.images.div_ceil(groups).next_multiple_of(step);
        self.group_images = images.min(self.images);
        let groups = self.images.div_ceil(self.group_images);
        let most = if groups == 1 {
            most_slots
        } else {
            (most_slots / groups).max(GROUP_SLOTS)
        };
        let tiles = self.tiles() / self.images * self.group_images;
        let items = tiles.div_ceil(self.lanes(&CONV_BLOCK_FORWARD));
        self.group_slots = items.div_ceil(items.div_ceil(most));
        self.slots = groups * self.group_slots;
    }

    /// The plans of the groups with their first images, for a backward pass with gradients that are 0 already where ReLU
    /// cut off.
    pub fn groups(&self) -> impl Iterator<Item = (usize, Self)> {
        let starts = (0..self.images).step_by(self.group_images);
        starts.map(|start| {
            let images = self.group_images.min(self.images - start);
            let group = Self {
                images,
                slots: self.group_slots,
                cut: true,
                ..*self
            };
            (start, group)
        })
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
        self.images * self.height.div_ceil(TILE_HEIGHT) * self.width.div_ceil(TILE_WIDTH)
    }

    /// Groups of quads that lie side by side, and invocations beside each other on the same quad.
    pub fn blocks(&self) -> usize {
        self.quads.div_ceil(QUADS_SIDE_BY_SIDE)
    }

    pub fn lanes(&self, kernel: &Kernel) -> usize {
        kernel.workgroup_size as usize / self.quads.div_ceil(self.blocks())
    }

    pub fn pooled(&self) -> [usize; 2] {
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
            self.group_images,
            self.group_slots,
            self.all_images,
            usize::from(self.cut),
        ]
    }

    /// A launch of `workgroups` workgroups.
    pub fn launch<const N: usize>(
        &self,
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        outputs: [(Shape, DType); N],
        workgroups: usize,
    ) -> [CubeTensor; N] {
        self.prepare(kernel, inputs, outputs, workgroups).run()
    }

    /// As [`launch`](Self::launch), to be run.
    pub fn prepare<const N: usize>(
        &self,
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        outputs: [(Shape, DType); N],
        workgroups: usize,
    ) -> Launch<N> {
        Launch {
            kernel,
            inputs,
            outputs,
            sizes: self.sizes(),
            grid: Grid::Workgroups(workgroups),
        }
    }

    pub fn pack(&self, weight: CubeTensor) -> CubeTensor {
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
    pub fn convolve(&self, x: CubeTensor, packed: CubeTensor) -> [CubeTensor; 2] {
        let convolved = [self.images, self.height, self.width, self.quads * 4];
        let partials = [self.slots, 3, self.quads * 4];
        self.launch(
            &CONV_BLOCK_FORWARD,
            vec![x, packed],
            [self.stored(convolved), f32s(partials)],
            self.slots * self.blocks(),
        )
    }

    /// The gradient of the convolution, from the convolution, statistics, gamma, beta, the output's gradient and the
    /// sums.
    pub fn flow(&self, inputs: Vec<CubeTensor>) -> Launch<1> {
        let kernel = &CONV_BLOCK_BACKWARD_ACTIVATION;
        let invocations = self.images * self.height.div_ceil(2) * self.quads;
        let shape = [self.images, self.height, self.width, self.quads * 4];
        let workgroups = invocations.div_ceil(kernel.workgroup_size as usize);
        self.prepare(kernel, inputs, [self.stored(shape)], workgroups)
    }

    pub fn input_gradient(&self, flow: CubeTensor, packed: CubeTensor) -> Launch<1> {
        let kernel = &CONV_BLOCK_GRAD_INPUT;
        let invocations = self.tiles() * self.inputs.div_ceil(4);
        let shape = [self.images, self.height, self.width, self.inputs];
        let workgroups = invocations.div_ceil(kernel.workgroup_size as usize);
        self.prepare(kernel, vec![flow, packed], [self.stored(shape)], workgroups)
    }

    pub fn weight_gradient(
        &self,
        x: CubeTensor,
        flow: CubeTensor,
        output: (Shape, DType),
    ) -> Launch<1> {
        let workgroups = self.weight_units() * self.quads.div_ceil(self.block);
        self.prepare(self.grad_weight(), vec![x, flow], [output], workgroups)
    }

    /// From one row of the statistics to the next, each of which has a number per channel.
    pub fn row(&self) -> usize {
        self.channels.next_multiple_of(PART)
    }

    pub fn output(&self) -> (Shape, DType) {
        let [height, width] = self.pooled();
        self.stored([self.images, height, width, self.channels])
    }

    /// An output of activations.
    pub fn stored(&self, shape: impl Into<Shape>) -> (Shape, DType) {
        (shape.into(), self.stored)
    }
}
