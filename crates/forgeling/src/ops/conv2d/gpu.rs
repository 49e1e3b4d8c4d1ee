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
    CONV2D_GRAD_WEIGHT_VEC4, CONV2D_PACK, CONV2D_VEC4, Kernel,
};

use super::{Conv2dBackward, Conv2dOps, ConvShape, weight_shape};
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{Grid, Launch, add_parts, channels_first, channels_last, f32s, nothing};

fn pack(weight: CubeTensor, stored: DType, shape: &ConvShape, transposed: bool) -> CubeTensor {
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
    /// Sets of target pixels that are reached by the same taps.
    phases: usize,
}

impl Gather {
    fn run(
        self,
        kernels: [&'static Kernel; 2],
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
        let positions = shape.images * height * width;
        let tiles = if self.phases == 1 {
            positions.div_ceil(TILE)
        } else {
            // The first phase has the most pixels.
            let most = height.div_ceil(shape.stride[0]) * width.div_ceil(shape.stride[1]);
            (shape.images * most).div_ceil(TILE)
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
        let invocations = self.phases * tiles * shape.groups * rows.div_ceil(4);
        channels_first(Launch::one(
            kernels[usize::from(depth.is_multiple_of(4))],
            vec![channels_last(source), packed, bias],
            (target, stored),
            sizes,
            Grid::Invocations(invocations),
        ))
    }
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
            phases: 1,
        };
        gather.run([&CONV2D, &CONV2D_VEC4], x, packed, bias, &shape)
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
            phases: shape.stride[0].min(height) * shape.stride[1].min(width),
        };
        let kernels = [&CONV2D_GRAD_INPUT, &CONV2D_GRAD_INPUT_VEC4];
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
        let rows = shape.images * out_height;
        let blocks = inputs.div_ceil(BLOCK) * outputs.div_ceil(BLOCK);
        let invocations = shape.groups * shape.taps() * blocks;
        let parts = heuristics
            .weight_invocations
            .div_ceil(invocations)
            .min(rows);
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
        let kernel = if inputs.is_multiple_of(4) && outputs.is_multiple_of(4) {
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
        let grid = Grid::Invocations(invocations * parts);
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
