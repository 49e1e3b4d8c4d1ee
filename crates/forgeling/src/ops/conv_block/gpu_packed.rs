//! The block on GPUs with the convolution kept in 16 bits. Group after group of images is convolved and packed, and
//! unpacked again: in f32 there is never more than one group's.

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::wgpu::{CubeBackend, CubeTensor, into_contiguous};
use burn::tensor::{DType, Shape};
use forgeling_shaders::activation::RELU;
use forgeling_shaders::{
    ACTIVATION_GRAD, CONV_BLOCK_BACKWARD_REDUCE, CONV_BLOCK_KEEP, CONV_BLOCK_NORMALIZE_PEAKS,
};

use super::block_plan::BlockPlan;
use super::{Backwards, BlockForward, BlockGradients, Formats};
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{
    Grid, Launch, PART, add_parts, channels_first, channels_last, empty, f32s, part, reshaped,
    zeros,
};
use crate::ops::storage::{Half, unpack, words};

impl BlockPlan {
    fn pixels(&self) -> usize {
        self.images * self.height * self.width
    }

    fn windows(&self) -> usize {
        let [height, width] = self.pooled();
        self.images * height * width
    }

    /// The numbers of this plan's images, the first of which is `start`, among those of all images.
    fn range(&self, start: usize, numbers: usize) -> Range<usize> {
        let per_image = numbers / self.images;
        start * per_image..start * per_image + numbers
    }
}

/// The numbers of `range` of a tensor, or of the one that was packed to it.
fn numbers(tensor: &CubeTensor, format: Option<Half>, range: Range<usize>) -> CubeTensor {
    match format {
        None => part(tensor, range.start, range.len()),
        Some(half) => {
            let bits = part(tensor, range.start / 2, words(range.len()));
            unpack(bits, [range.len()], half)
        }
    }
}

pub fn forward(
    plan: &BlockPlan,
    x: CubeTensor,
    weight: CubeTensor,
    [gamma, beta]: [CubeTensor; 2],
    given: Option<[CubeTensor; 2]>,
    half: Half,
    heuristics: Heuristics,
) -> BlockForward<CubeBackend> {
    let packed = plan.pack(weight);
    let x = into_contiguous(channels_last(x));
    let convolved = empty(&x, words(plan.pixels() * plan.quads * 4));
    let peaks = empty(&x, plan.windows() * plan.channels);
    let mut partials = Vec::new();
    for (start, group) in plan.groups() {
        let range = group.range(start, group.pixels() * group.inputs);
        let [y, partial] = group.convolve(numbers(&x, None, range), packed.clone());
        partials.push(partial);
        group.keep(y, &gamma, half, start, [&convolved, &peaks]);
    }
    drop(x);
    let (slots, partials) = match &given {
        Some(given) => (1, as_partials(plan, given)),
        None if partials.len() == 1 => (plan.slots, partials.remove(0)),
        None => (plan.slots, CubeBackend::float_cat(partials, 0)),
    };
    let lanes = plan.lanes(&CONV_BLOCK_NORMALIZE_PEAKS);
    let items = plan.windows().div_ceil(lanes);
    let mut plan = *plan;
    plan.slots = slots;
    let [output, statistics] = plan.launch(
        &CONV_BLOCK_NORMALIZE_PEAKS,
        vec![peaks, partials, gamma, beta],
        [plan.output(), f32s([3 * plan.row()])],
        items.min(heuristics.statistics_slots) * plan.blocks(),
    );
    let [mean, variance] = given.unwrap_or_else(|| {
        let row = |row: usize| part(&statistics, row * plan.row(), plan.channels);
        [row(0), row(1)]
    });
    BlockForward {
        output: channels_first(output),
        packed,
        convolved,
        statistics,
        mean,
        variance,
    }
}

impl BlockPlan {
    /// Packs the convolution and takes its peaks, each to its part of the buffers of all groups.
    fn keep(
        &self,
        y: CubeTensor,
        gamma: &CubeTensor,
        half: Half,
        start: usize,
        [convolved, peaks]: [&CubeTensor; 2],
    ) {
        let bits = self.range(start, self.pixels() * self.quads * 4);
        let windows = self.range(start, self.windows() * self.channels);
        let outputs = [
            part(convolved, bits.start / 2, words(bits.len())),
            part(peaks, windows.start, windows.len()),
        ];
        Launch {
            kernel: &CONV_BLOCK_KEEP,
            inputs: vec![y, gamma.clone()],
            outputs: [f32s([words(bits.len())]), f32s([windows.len()])],
            sizes: vec![
                self.images,
                self.height,
                self.width,
                self.channels,
                half.code(),
            ],
            grid: Grid::Invocations(self.images * self.height.div_ceil(2) * self.quads),
        }
        .run_into(outputs.map(Some));
    }
}

/// Mean and variance as the partial statistics of one value per channel.
fn as_partials(plan: &BlockPlan, [mean, variance]: &[CubeTensor; 2]) -> CubeTensor {
    let device = mean.device();
    let dtype = DType::F32.into();
    let padding = Shape::new([plan.quads * 4 - plan.channels]);
    let zeros = || CubeBackend::float_zeros(padding.clone(), &device, dtype);
    let ones = CubeBackend::float_ones(Shape::new([plan.quads * 4]), &device, dtype);
    let rows = if padding[0] == 0 {
        vec![mean.clone(), variance.clone(), ones]
    } else {
        vec![mean.clone(), zeros(), variance.clone(), zeros(), ones]
    };
    CubeBackend::float_cat(rows, 0)
}

/// What a backward pass reads.
pub struct Kept {
    pub x: CubeTensor,
    pub weight_shape: Shape,
    pub packed: CubeTensor,
    pub gamma: CubeTensor,
    pub beta: CubeTensor,
    pub convolved: CubeTensor,
    pub output: CubeTensor,
    pub statistics: CubeTensor,
    pub formats: Formats,
}

pub fn backward(kept: Kept, grad: CubeTensor, what: Backwards) -> BlockGradients<CubeBackend> {
    let Kept {
        x,
        weight_shape,
        packed,
        gamma,
        beta,
        convolved,
        output,
        statistics,
        formats,
    } = kept;
    let shape = Shape::new(formats.shape);
    let plan = &BlockPlan::of(DType::F32, &shape, &weight_shape, what.heuristics);
    let grad = cut(plan, output, formats.output, grad);
    let groups = plan.groups().count();
    let convolution = |start: usize, group: &BlockPlan| {
        let range = group.range(start, group.pixels() * group.quads * 4);
        numbers(&convolved, Some(formats.convolved), range)
    };
    let inputs = |start: usize, group: &BlockPlan| {
        let windows = group.range(start, group.windows() * group.channels);
        let grad = part(&grad, windows.start, windows.len());
        let parameters = [statistics.clone(), gamma.clone(), beta.clone()];
        let mut inputs = vec![convolution(start, group)];
        inputs.extend(parameters);
        inputs.push(grad);
        inputs
    };

    let length = 2 * plan.row();
    let parts = empty(&grad, groups * length);
    for (index, (start, group)) in plan.groups().enumerate() {
        let kernel = &CONV_BLOCK_BACKWARD_REDUCE;
        let inputs = inputs(start, &group);
        let launch = group.prepare(kernel, inputs, [f32s([length])], group.quads);
        launch.run_into([Some(part(&parts, index * length, length))]);
    }
    let sums = add(parts, length, groups);
    // Where statistics are constants, their gradients do not come back to the activations.
    let through_statistics = if what.running {
        zeros(&sums, length)
    } else {
        sums.clone()
    };

    let of_input = if what.input_gradient {
        plan.pixels() * plan.inputs
    } else {
        0
    };
    let dx = empty(&grad, of_input);
    let weights = weight_shape.num_elements();
    let length = weights.next_multiple_of(PART);
    let parts = empty(&grad, groups * length);
    let x = match formats.x {
        Some(_) => x,
        None => into_contiguous(channels_last(x)),
    };
    for (index, (start, group)) in plan.groups().enumerate() {
        let mut inputs = inputs(start, &group);
        inputs.push(through_statistics.clone());
        let [flow] = group.flow(inputs).run();
        let range = group.range(start, group.pixels() * group.inputs);
        if what.input_gradient {
            let dx = part(&dx, range.start, range.len());
            let launch = group.input_gradient(flow.clone(), packed.clone());
            launch.run_into([Some(dx)]);
        }
        let x = numbers(&x, formats.x, range);
        let launch = group.weight_gradient(x, flow, f32s([weights]));
        launch.run_into([Some(part(&parts, index * length, weights))]);
    }
    let dweight = part(&add(parts, length, groups), 0, weights);
    let dx = if what.input_gradient {
        let shape = [plan.images, plan.height, plan.width, plan.inputs];
        channels_first(reshaped(dx, Shape::new(shape)))
    } else {
        dx
    };
    BlockGradients {
        x: dx,
        weight: reshaped(dweight, weight_shape),
        gamma: part(&sums, 0, plan.channels),
        beta: part(&sums, plan.row(), plan.channels),
    }
}

/// The output's gradient, channels last, where ReLU let it through.
fn cut(plan: &BlockPlan, output: CubeTensor, format: Option<Half>, grad: CubeTensor) -> CubeTensor {
    let grad = into_contiguous(channels_last(grad));
    let output = match format {
        Some(_) => output,
        None => into_contiguous(channels_last(output)),
    };
    let flow = empty(&grad, plan.windows() * plan.channels);
    for (start, group) in plan.groups() {
        let range = group.range(start, group.windows() * group.channels);
        let output = numbers(&output, format, range.clone());
        let [grad, flow] = [&grad, &flow].map(|all| part(all, range.start, range.len()));
        Launch {
            kernel: &ACTIVATION_GRAD,
            inputs: vec![output, grad],
            outputs: [f32s([range.len()])],
            sizes: vec![range.len(), RELU],
            grid: Grid::Invocations(range.len()),
        }
        .run_into([Some(flow)]);
    }
    flow
}

/// The sums of so many parts.
fn add(parts: CubeTensor, length: usize, count: usize) -> CubeTensor {
    if count == 1 {
        return parts;
    }
    add_parts(parts, length, count, [length])
}
