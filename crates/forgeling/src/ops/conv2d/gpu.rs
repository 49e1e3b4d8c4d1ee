//! The convolution on GPUs. Images are channels-last here: a tensor whose memory already is (an image of one channel,
//! or what another operation of ours gave) is used as it lies, any other is copied.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::tensor::{DType, Shape};
use forgeling_shaders::gather::TILE;
use forgeling_shaders::outer::BLOCK;
use forgeling_shaders::{
    CONV2D, CONV2D_GRAD_BIAS, CONV2D_GRAD_INPUT, CONV2D_GRAD_INPUT_VEC4, CONV2D_GRAD_WEIGHT,
    CONV2D_GRAD_WEIGHT_VEC4, CONV2D_PACK, CONV2D_VEC4, DEPTHWISE, DEPTHWISE_GRAD_INPUT,
    DEPTHWISE_GRAD_WEIGHT, Kernel, depthwise, depthwise_grad_weight,
};

use super::{Conv2dBackward, Conv2dOps, ConvShape, weight_shape};
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{Grid, Launch, add_parts, channels_first, channels_last, f32s, nothing};

/// The weights in the order in which kernels read them: those of depthwise convolutions as they are.
fn pack(weight: CubeTensor, stored: DType, shape: &ConvShape, transposed: bool) -> CubeTensor {
    if shape.is_depthwise() {
        return weight;
    }
    let [inputs, outputs] = shape.group();
    let [depth, rows] = if transposed {
        [outputs, inputs]
    } else {
        [inputs, outputs]
    };
    let quads = shape.groups * shape.taps() * depth * rows.div_ceil(4);
    let transposed = usize::from(transposed);
    Launch::one(
        &CONV2D_PACK,
        vec![weight],
        (Shape::new([4 * quads]), stored),
        [shape.groups, inputs, outputs, shape.taps(), transposed],
        Grid::Invocations(quads),
    )
}

/// Source and target images with the channels of a group of each, `[height, width, channels]`.
struct Gather {
    source: [usize; 3],
    target: [usize; 3],
    /// Target pixels that are so far apart are reached by the same taps, and make a phase.
    spread: [usize; 2],
}

impl Gather {
    /// Of three kernels that for any depth, that for a multiple of four, and that for depthwise convolutions runs.
    fn run(
        self,
        kernels: [&'static Kernel; 3],
        source: CubeTensor,
        packed: CubeTensor,
        bias: CubeTensor,
        shape: &ConvShape,
    ) -> CubeTensor {
        let stored = source.dtype;
        let [source_height, source_width, depth] = self.source;
        let [height, width, rows] = self.target;
        let has_bias = bias.shape().num_elements() > 0;
        let bias = if has_bias { bias } else { nothing(&source) };
        let phases = [0, 1].map(|axis| self.spread[axis].min(self.target[axis]));
        // The first phase has the most pixels.
        let most = [0, 1].map(|axis| self.target[axis].div_ceil(self.spread[axis]));
        let (kernel, tiles, invocations) = if shape.is_depthwise() {
            let tiles = most[1].div_ceil(depthwise::TILE);
            let rows = shape.images * height * phases[1];
            (kernels[2], tiles, rows * tiles * shape.groups)
        } else {
            let tiles = (shape.images * most[0] * most[1]).div_ceil(TILE);
            let blocks = phases[0] * phases[1] * shape.groups * rows.div_ceil(4);
            let kernel = kernels[usize::from(depth.is_multiple_of(4))];
            (kernel, tiles, blocks * tiles)
        };
        let sizes = [
            shape.images,
            shape.groups,
            depth,
            rows,
            source_height,
            source_width,
            height,
            width,
            shape.kernel[0],
            shape.kernel[1],
            shape.stride[0],
            shape.stride[1],
            shape.padding[0],
            shape.padding[1],
            usize::from(has_bias),
            tiles,
        ];
        let target = Shape::new([shape.images, height, width, shape.groups * rows]);
        channels_first(Launch::one(
            kernel,
            vec![channels_last(source), packed, bias],
            (target, stored),
            sizes,
            Grid::Invocations(invocations),
        ))
    }
}

/// Invocations of a weight gradient in one part.
fn weight_invocations(shape: &ConvShape) -> usize {
    let [inputs, outputs] = shape.group();
    let blocks = if shape.is_depthwise() {
        shape.kernel[0] * shape.kernel[1].div_ceil(depthwise_grad_weight::BLOCK)
    } else {
        shape.taps() * inputs.div_ceil(BLOCK) * outputs.div_ceil(BLOCK)
    };
    shape.groups * blocks
}

/// Parts of a weight gradient, which are added up in a second launch if there are several.
pub(in crate::ops) fn weight_parts(shape: &ConvShape, heuristics: Heuristics) -> usize {
    let rows = shape.images * shape.out()[0];
    let invocations = heuristics.weight_invocations;
    invocations.div_ceil(weight_invocations(shape)).min(rows)
}

impl Conv2dOps for CubeBackend {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: ConvShape,
        _heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let [inputs, outputs] = shape.group();
        let ([height, width], [out_height, out_width]) = (shape.size, shape.out());
        let packed = pack(weight, x.dtype, &shape, false);
        let gather = Gather {
            source: [height, width, inputs],
            target: [out_height, out_width, outputs],
            spread: [1, 1],
        };
        gather.run([&CONV2D, &CONV2D_VEC4, &DEPTHWISE], x, packed, bias, &shape)
    }

    fn convolve_grad_input(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvShape,
        _heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let [inputs, outputs] = shape.group();
        let ([height, width], [out_height, out_width]) = (shape.size, shape.out());
        let packed = pack(weight, grad.dtype, &shape, true);
        let gather = Gather {
            source: [out_height, out_width, outputs],
            target: [height, width, inputs],
            spread: shape.stride,
        };
        let kernels = [
            &CONV2D_GRAD_INPUT,
            &CONV2D_GRAD_INPUT_VEC4,
            &DEPTHWISE_GRAD_INPUT,
        ];
        let bias = nothing(&grad);
        gather.run(kernels, grad, packed, bias, &shape)
    }

    fn convolve_grad_weight(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        shape: ConvShape,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let [inputs, outputs] = shape.group();
        let [out_height, out_width] = shape.out();
        let parts = weight_parts(&shape, heuristics);
        let weights = shape.outputs * inputs * shape.taps();
        let sizes = [
            shape.images,
            shape.groups,
            inputs,
            outputs,
            shape.size[0],
            shape.size[1],
            out_height,
            out_width,
            shape.kernel[0],
            shape.kernel[1],
            shape.stride[0],
            shape.stride[1],
            shape.padding[0],
            shape.padding[1],
            parts,
        ];
        let kernel = if shape.is_depthwise() {
            &DEPTHWISE_GRAD_WEIGHT
        } else if inputs.is_multiple_of(4) && outputs.is_multiple_of(4) {
            &CONV2D_GRAD_WEIGHT_VEC4
        } else {
            &CONV2D_GRAD_WEIGHT
        };
        let output = if parts == 1 {
            f32s(weight_shape(&shape))
        } else {
            f32s([parts * weights])
        };
        let inputs = vec![channels_last(x), channels_last(grad)];
        let grid = Grid::Invocations(weight_invocations(&shape) * parts);
        let dweight = Launch::one(kernel, inputs, output, sizes, grid);
        if parts == 1 {
            return dweight;
        }
        add_parts(dweight, weights, parts, weight_shape(&shape))
    }
}

impl Conv2dBackward for CubeBackend {
    fn convolve_grad_bias(grad: FloatTensor<Self>, shape: ConvShape) -> FloatTensor<Self> {
        let pixels = shape.images * shape.out().iter().product::<usize>();
        let parts = pixels.min(64);
        let sizes = [pixels, shape.outputs, parts];
        let output = f32s([parts * shape.outputs]);
        let inputs = vec![channels_last(grad)];
        let dbias = Launch::per_element(&CONV2D_GRAD_BIAS, inputs, output, sizes);
        add_parts(dbias, shape.outputs, parts, [shape.outputs])
    }
}
