//! The products on GPUs.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::tensor::{DType, Shape};
use forgeling_shaders::flags::{HAS_BIAS, KEEP};
use forgeling_shaders::product::{SCALAR_COLUMNS, TILE_ROWS};
use forgeling_shaders::quads::TILE_COLUMNS;
use forgeling_shaders::{
    ACTIVATION_GRAD, MATMUL, MATMUL_GRAD_RIGHT, MATMUL_GRAD_RIGHT_VEC4, MATMUL_REDUCE,
    MATMUL_TRANSPOSED_VEC4, MATMUL_VEC4,
};

use super::extension::{
    End, MatmulBackward, MatmulForward, MatmulOps, RightGradients, left_shape, product_shape,
    right_shape, with_columns,
};
use super::{Activation, NOTHING};
use crate::ops::cpu::gemm::ProductShape;
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{Grid, Launch, PART, empty, f32s, part, reshaped};

/// Terms of a split sum at least: fewer are not worth one more launch, which adds the parts up.
const FEWEST_TERMS: usize = 128;

fn tiles(sizes: ProductShape, quads: bool) -> usize {
    let columns = if quads { TILE_COLUMNS } else { SCALAR_COLUMNS };
    sizes.batch * sizes.rows.div_ceil(TILE_ROWS) * sizes.columns.div_ceil(columns)
}

/// Parts into which the sums of a product are split; those of a result that is not f32 cannot be.
pub(crate) fn splits(
    sizes: ProductShape,
    quads: bool,
    single: bool,
    heuristics: Heuristics,
) -> usize {
    let most = if single {
        sizes.inner / FEWEST_TERMS
    } else {
        1
    };
    (heuristics.product_invocations / tiles(sizes, quads)).clamp(1, most.max(1))
}

/// Launches of a product.
struct Plan {
    sizes: ProductShape,
    /// Parts into which the sum is split.
    splits: usize,
    /// Numbers of one part's result.
    section: usize,
    workgroups: usize,
}

impl Plan {
    /// Of a result of `section` numbers.
    fn new(
        sizes: ProductShape,
        quads: bool,
        section: usize,
        dtype: DType,
        heuristics: Heuristics,
    ) -> Self {
        let splits = splits(sizes, quads, dtype == DType::F32, heuristics);
        let size = MATMUL.workgroup_size as usize;
        Self {
            sizes,
            splits,
            section,
            workgroups: (tiles(sizes, quads) * splits).div_ceil(size),
        }
    }

    fn numbers(&self, more: &[usize]) -> Vec<usize> {
        let ProductShape {
            batch,
            rows,
            columns,
            inner,
        } = self.sizes;
        let mut numbers = vec![batch, rows, columns, inner, self.splits, self.section];
        numbers.extend_from_slice(more);
        numbers
    }

    fn grid(&self) -> Grid {
        Grid::Workgroups(self.workgroups)
    }
}

fn flags(end: End) -> usize {
    HAS_BIAS * usize::from(end.bias) + KEEP * usize::from(end.keeps_sum())
}

/// `activation(a b + bias)`, with `b` transposed or not; and the value before the activation, if it is to be kept.
fn product(
    [a, b, bias]: [CubeTensor; 3],
    transposed: bool,
    end: End,
    shape: Shape,
    sizes: ProductShape,
    heuristics: Heuristics,
) -> [CubeTensor; 2] {
    let dtype = a.dtype;
    let length = shape.num_elements();
    let quads = sizes.inner.is_multiple_of(4) && sizes.columns.is_multiple_of(4);
    let section = length.next_multiple_of(PART);
    let plan = Plan::new(sizes, quads, section, dtype, heuristics);
    let kernel = match (quads, transposed) {
        (true, false) => &MATMUL_VEC4,
        (true, true) => &MATMUL_TRANSPOSED_VEC4,
        (false, _) => &MATMUL,
    };
    let strides = if transposed {
        [1, sizes.inner]
    } else {
        [sizes.columns, 1]
    };
    let code = end.activation.code();
    let kept = |kept: bool| {
        let nothing = Shape::new([NOTHING]);
        (if kept { shape.clone() } else { nothing }, dtype)
    };
    if plan.splits == 1 {
        return Launch {
            kernel,
            inputs: vec![a, b, bias],
            outputs: [(shape.clone(), dtype), kept(end.keeps_sum())],
            sizes: plan.numbers(&[code, flags(end), strides[0], strides[1]]),
            grid: plan.grid(),
        }
        .run();
    }
    let none = empty(&bias, NOTHING);
    let [parts, _] = Launch {
        kernel,
        inputs: vec![a, b, none],
        outputs: [f32s([plan.splits * plan.section]), kept(false)],
        sizes: plan.numbers(&[0, 0, strides[0], strides[1]]),
        grid: plan.grid(),
    }
    .run();
    reduce(
        &plan,
        parts,
        bias,
        end,
        [(shape.clone(), dtype), kept(end.keeps_sum())],
    )
}

/// Adds the sections up.
fn reduce(
    plan: &Plan,
    parts: CubeTensor,
    bias: CubeTensor,
    end: End,
    outputs: [(Shape, DType); 2],
) -> [CubeTensor; 2] {
    let length = outputs[0].0.num_elements();
    Launch {
        kernel: &MATMUL_REDUCE,
        inputs: vec![parts, bias],
        outputs,
        sizes: vec![
            length,
            plan.sizes.columns,
            plan.splits,
            plan.section,
            end.activation.code(),
            flags(end),
        ],
        grid: Grid::Invocations(length),
    }
    .run()
}

impl MatmulOps for CubeBackend {
    fn matmul(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        end: End,
        heuristics: Heuristics,
    ) -> MatmulForward<Self> {
        let sizes = product_shape(&a.shape(), &b.shape());
        let right = if b.dtype == a.dtype {
            b
        } else {
            CubeBackend::float_cast(b, a.dtype.into())
        };
        let shape = with_columns(&a.shape(), sizes.columns);
        let operands = [a, right.clone(), bias];
        let [output, kept] = product(operands, false, end, shape, sizes, heuristics);
        MatmulForward {
            kept: if end.keeps_sum() {
                kept
            } else {
                output.clone()
            },
            output,
            right,
        }
    }
}

impl MatmulBackward for CubeBackend {
    fn activation_grad(
        kept: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let output = (grad.shape(), grad.dtype);
        let sizes = [output.0.num_elements(), activation.code()];
        Launch::per_element(&ACTIVATION_GRAD, vec![kept, grad], output, sizes)
    }

    fn matmul_grad_left(
        grad: FloatTensor<Self>,
        b: FloatTensor<Self>,
        heuristics: Heuristics,
    ) -> FloatTensor<Self> {
        let shape = left_shape(&grad.shape(), &b.shape());
        let sizes = product_shape(&shape, &b.shape()).of_left();
        let nothing = empty(&grad, NOTHING);
        let operands = [grad, b, nothing];
        let [out, _] = product(operands, true, End::default(), shape, sizes, heuristics);
        out
    }

    fn matmul_grad_right(
        a: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        bias: bool,
        heuristics: Heuristics,
    ) -> RightGradients<Self> {
        let shape = right_shape(&a.shape(), &grad.shape());
        let sizes = product_shape(&a.shape(), &shape).of_right();
        let (rows, columns) = (sizes.rows, sizes.columns);
        // The sums of the bias lie behind, as a part that may be bound by itself.
        let behind = shape.num_elements().next_multiple_of(PART);
        let section = behind + columns.next_multiple_of(PART);
        let quads = rows.is_multiple_of(4) && columns.is_multiple_of(4);
        let plan = Plan::new(sizes, quads, section, DType::F32, heuristics);
        let kernel = if quads {
            &MATMUL_GRAD_RIGHT_VEC4
        } else {
            &MATMUL_GRAD_RIGHT
        };
        let nothing = empty(&a, NOTHING);
        let output = f32s([plan.splits * section]);
        let numbers = plan.numbers(&[if bias { behind } else { 0 }]);
        let mut out = Launch::one(kernel, vec![a, grad], output, numbers, plan.grid());
        if plan.splits > 1 {
            let outputs = [f32s([section]), f32s([NOTHING])];
            [out, _] = reduce(&plan, out, nothing, End::default(), outputs);
        }
        RightGradients {
            bias: part(&out, behind, columns),
            right: reshaped(part(&out, 0, shape.num_elements()), shape),
        }
    }
}
