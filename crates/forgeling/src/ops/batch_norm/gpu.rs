//! Batch norm on GPUs, channels-last as the convolution.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::tensor::{DType, Shape};
use forgeling_shaders::{
    BATCH_NORM, BATCH_NORM_GRAD, BATCH_NORM_GRAD_PARTIALS, BATCH_NORM_PARTIALS,
    BATCH_NORM_STATISTICS, Kernel,
};

use super::{AfterNorm, BatchNormBackward, BatchNormOps, NormForward, NormGradients, NormOptions};
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{
    Grid, Launch, PART, add_parts, channels_first, channels_last, f32s, nothing, part,
};

/// Parts of so many pixels, each with sums of its own.
pub(in crate::ops) fn slots(pixels: usize, heuristics: Heuristics) -> usize {
    /// Of a part at least.
    const PIXELS: usize = 64;
    pixels.div_ceil(PIXELS).min(heuristics.statistics_slots)
}

struct Plan {
    pixels: usize,
    channels: usize,
    slots: usize,
    options: NormOptions,
}

impl Plan {
    fn new(x: &CubeTensor, options: NormOptions) -> Self {
        let x = x.shape();
        let pixels = x[0] * x[2] * x[3];
        Self {
            pixels,
            channels: x[1],
            slots: slots(pixels, options.heuristics),
            options,
        }
    }

    /// From one row of the statistics to the next.
    fn row(&self) -> usize {
        self.channels.next_multiple_of(PART)
    }

    fn launch<const N: usize>(
        &self,
        kernel: &'static Kernel,
        inputs: Vec<CubeTensor>,
        outputs: [(Shape, DType); N],
        invocations: usize,
    ) -> [CubeTensor; N] {
        let sizes = vec![
            self.pixels,
            self.channels,
            self.slots,
            usize::from(self.options.residual),
            match self.options.after {
                AfterNorm::Nothing => 0,
                AfterNorm::Relu => 1,
                AfterNorm::Relu6 => 2,
            },
            (self.options.epsilon as f32).to_bits() as usize,
        ];
        Launch {
            kernel,
            inputs,
            outputs,
            sizes,
            grid: Grid::Invocations(invocations),
        }
        .run()
    }
}

impl BatchNormOps for CubeBackend {
    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: NormOptions,
    ) -> NormForward<Self> {
        let plan = Plan::new(&x, options);
        let (stored, x) = (x.dtype, channels_last(x));
        let [partials] = plan.launch(
            &BATCH_NORM_PARTIALS,
            vec![x.clone()],
            [f32s([plan.slots * 3 * plan.channels])],
            plan.slots * plan.channels,
        );
        let [statistics] = plan.launch(
            &BATCH_NORM_STATISTICS,
            vec![partials],
            [f32s([3 * plan.row()])],
            plan.channels,
        );
        let residual = if options.residual {
            channels_last(residual)
        } else {
            nothing(&x)
        };
        let shape = x.shape();
        let invocations = shape.num_elements();
        let [output] = plan.launch(
            &BATCH_NORM,
            vec![x, statistics.clone(), gamma, beta, residual],
            [(shape, stored)],
            invocations,
        );
        let mean = part(&statistics, 0, plan.channels);
        let variance = part(&statistics, plan.row(), plan.channels);
        NormForward {
            output: channels_first(output),
            statistics,
            mean,
            variance,
        }
    }
}

impl BatchNormBackward for CubeBackend {
    fn normalize_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        output: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: NormOptions,
    ) -> NormGradients<Self> {
        let plan = Plan::new(&x, options);
        let (stored, x, grad) = (x.dtype, channels_last(x), channels_last(grad));
        let shape = x.shape();
        let (output, flow) = if options.cuts() {
            (channels_last(output), shape.clone())
        } else {
            (nothing(&x), Shape::new([4]))
        };
        let [partials, flow] = plan.launch(
            &BATCH_NORM_GRAD_PARTIALS,
            vec![x.clone(), statistics.clone(), output, grad.clone()],
            [f32s([plan.slots * 2 * plan.row()]), (flow, stored)],
            plan.slots * plan.channels,
        );
        let flow = if options.cuts() { flow } else { grad };
        let length = 2 * plan.row();
        let sums = add_parts(partials, length, plan.slots, [length]);
        let inputs = vec![x, statistics, gamma, flow.clone(), sums.clone()];
        let invocations = shape.num_elements();
        let [dx] = plan.launch(&BATCH_NORM_GRAD, inputs, [(shape, stored)], invocations);
        NormGradients {
            x: channels_first(dx),
            residual: channels_first(flow),
            gamma: part(&sums, 0, plan.channels),
            beta: part(&sums, plan.row(), plan.channels),
        }
    }
}
