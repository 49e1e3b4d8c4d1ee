//! The block on GPUs. Images are channels-last here: a tensor whose memory already is (an image of one channel, or
//! the output of another block) is used as it lies, any other is copied.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use forgeling_shaders::{
    CONV_BLOCK_BACKWARD_REDUCE, CONV_BLOCK_NORMALIZE, CONV_BLOCK_NORMALIZE_RUNNING,
};

use super::block_plan::BlockPlan;
use super::{
    Backwards, BlockForward, BlockGradients, ConvBlockBackward, ConvBlockOps, Formats, gpu_packed,
};
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{channels_first, channels_last, f32s, part, zeros};
use crate::ops::storage::Half;

impl ConvBlockOps for CubeBackend {
    fn conv_block(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let plan = BlockPlan::new(&x, &weight, heuristics);
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
        let plan = BlockPlan::new(&x, &weight, heuristics);
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

impl ConvBlockBackward for CubeBackend {
    fn conv_block_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        convolved: FloatTensor<Self>,
        output: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        formats: Option<Formats>,
        what: Backwards,
    ) -> BlockGradients<Self> {
        let weight_shape = weight.shape();
        if let Some(formats) = formats {
            let kept = gpu_packed::Kept {
                x,
                weight_shape,
                packed,
                gamma,
                beta,
                convolved,
                output,
                statistics,
                formats,
            };
            return gpu_packed::backward(kept, grad, what);
        }
        let plan = BlockPlan::new(&x, &weight, what.heuristics);
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
        let inputs = inputs.into_iter().chain([through_statistics]).collect();
        let [flow] = plan.flow(inputs).run();
        let dx = if what.input_gradient {
            let [dx] = plan.input_gradient(flow.clone(), packed).run();
            channels_first(dx)
        } else {
            part(&sums, 0, 0)
        };
        let [dweight] = plan
            .weight_gradient(channels_last(x), flow, f32s(weight_shape))
            .run();
        BlockGradients {
            x: dx,
            weight: dweight,
            gamma: part(&sums, 0, plan.channels),
            beta: part(&sums, plan.row(), plan.channels),
        }
    }

    fn conv_block_packed(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        half: Half,
        heuristics: Heuristics,
    ) -> BlockForward<Self> {
        let plan = BlockPlan::new(&x, &weight, heuristics);
        let given = (mean.shape().num_elements() > 0).then_some([mean, variance]);
        gpu_packed::forward(&plan, x, weight, [gamma, beta], given, half, heuristics)
    }
}
