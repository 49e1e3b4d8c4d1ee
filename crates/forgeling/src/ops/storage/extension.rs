//! Packing as an extension of the back ends.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::backend::{Backend, Flex, TensorMetadata};
use burn::tensor::Shape;
use forgeling_shaders::half::BF16;
use forgeling_shaders::{PACK_HALF, UNPACK_HALF};

use crate::ops::cpu::half as cpu;
use crate::ops::cpu_tensors::{tensor, with_values};
use crate::ops::launch::{Grid, Launch, f32s};

/// A format of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Half {
    F16,
    Bf16,
}

impl Half {
    /// Its number in the kernels.
    pub const fn code(self) -> usize {
        match self {
            Self::F16 => 0,
            Self::Bf16 => BF16,
        }
    }
}

/// Which order of a tensor's dimensions is likely that of its memory, and is that of its packed numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// The tensor's own.
    Plain,
    /// That of images: channels last on GPUs.
    Images,
    /// That of attention's heads: tokens before heads.
    Heads,
}

/// Two numbers to each "f32" of a tensor of one dimension, which is nothing but 32 bits: back ends have no other dtype
/// that all of them can allocate and pass on. Packing happens inside other operations' steps; nobody differentiates
/// through it.
pub(crate) trait StorageOps: Backend {
    fn pack_half(x: FloatTensor<Self>, half: Half, order: Order) -> FloatTensor<Self>;

    /// The packed tensor of `shape`.
    fn unpack_half(
        bits: FloatTensor<Self>,
        shape: Shape,
        half: Half,
        order: Order,
    ) -> FloatTensor<Self>;
}

/// Words of so many numbers.
pub(crate) const fn words(numbers: usize) -> usize {
    numbers.div_ceil(2)
}

/// Dimensions of a tensor of four in the order of memory, and in their own order again.
const IMAGES: [[usize; 4]; 2] = [[0, 2, 3, 1], [0, 3, 1, 2]];
const HEADS: [[usize; 4]; 2] = [[0, 2, 1, 3], [0, 2, 1, 3]];

fn permuted(shape: &Shape, axes: [usize; 4]) -> Shape {
    Shape::new(axes.map(|axis| shape[axis]))
}

/// Packs contiguous numbers.
pub(crate) fn pack(x: CubeTensor, half: Half) -> CubeTensor {
    let length = x.shape().num_elements();
    let grid = Grid::Invocations(length.div_ceil(4));
    let (output, sizes) = (f32s([words(length)]), [length, half.code()]);
    Launch::one(&PACK_HALF, vec![x], output, sizes, grid)
}

/// Unpacks to contiguous numbers.
pub(crate) fn unpack(bits: CubeTensor, shape: impl Into<Shape>, half: Half) -> CubeTensor {
    let shape = shape.into();
    let length = shape.num_elements();
    let grid = Grid::Invocations(length.div_ceil(4));
    let (output, sizes) = (f32s(shape), [length, half.code()]);
    Launch::one(&UNPACK_HALF, vec![bits], output, sizes, grid)
}

impl StorageOps for CubeBackend {
    fn pack_half(x: FloatTensor<Self>, half: Half, order: Order) -> FloatTensor<Self> {
        let x = match order {
            Order::Plain => x,
            Order::Images => CubeBackend::float_permute(x, &IMAGES[0]),
            Order::Heads => CubeBackend::float_permute(x, &HEADS[0]),
        };
        pack(x, half)
    }

    fn unpack_half(
        bits: FloatTensor<Self>,
        shape: Shape,
        half: Half,
        order: Order,
    ) -> FloatTensor<Self> {
        let axes = match order {
            Order::Plain => return unpack(bits, shape, half),
            Order::Images => IMAGES,
            Order::Heads => HEADS,
        };
        let x = unpack(bits, permuted(&shape, axes[0]), half);
        CubeBackend::float_permute(x, &axes[1])
    }
}

impl StorageOps for Flex {
    fn pack_half(x: FloatTensor<Self>, half: Half, order: Order) -> FloatTensor<Self> {
        // Images lie as they are numbered here.
        let x = if order == Order::Heads {
            x.permute(&HEADS[0])
        } else {
            x
        };
        let bits = with_values([&x], |[x]| cpu::pack(x, half.code()));
        let words = bits.len();
        tensor(bits, [words])
    }

    fn unpack_half(
        bits: FloatTensor<Self>,
        shape: Shape,
        half: Half,
        order: Order,
    ) -> FloatTensor<Self> {
        let length = shape.num_elements();
        let values = with_values([&bits], |[bits]| cpu::unpack(bits, length, half.code()));
        if order == Order::Heads {
            tensor(values, permuted(&shape, HEADS[0])).permute(&HEADS[1])
        } else {
            tensor(values, shape)
        }
    }
}
