//! Layers that multiply bytes, on the CPU, where nothing is differentiated.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, Tensor};

use super::conv2d::{Conv2dOptions, ConvShape, sizes};
use super::cpu::int8::{self as cpu, Grid, MOST_TERMS, Packed, Scaled};
use super::cpu_tensors::{tensor, with_values};
use super::fake_quantize::weight_bytes;
use super::implementation::{Implementation, implementation};
use super::launch::is_cpu;

/// What a layer in 8 bits needs, packed for the instructions of this machine.
#[derive(Debug)]
pub(crate) struct Int8Layer {
    packed: Vec<Packed>,
    grid: Grid,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    /// Of a convolution.
    conv: Option<ConvShape>,
}

/// Values of a layer that works in 8 bits, and of what it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Int8Values<'a> {
    pub weight: &'a [f32],
    pub weight_scale: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub input_scale: f32,
    pub zero_point: u8,
}

impl Int8Values<'_> {
    fn layer(&self, conv: Option<ConvShape>, packed: impl Fn(&[i8]) -> Vec<Packed>) -> Int8Layer {
        let outputs = self.weight_scale.len();
        let inner = match conv {
            Some(_) => self.weight.len() / outputs,
            None => 1,
        };
        let rounded = weight_bytes(self.weight, self.weight_scale, inner);
        let multiplier: Vec<f32> = self
            .weight_scale
            .iter()
            .map(|scale| self.input_scale * scale)
            .collect();
        let bias = multiplier.iter().enumerate().map(|(output, step)| {
            let bias = self.bias.map_or(0.0, |bias| bias[output]);
            (f64::from(bias) / f64::from(*step)).round_ties_even() as i32
        });
        Int8Layer {
            packed: packed(&rounded),
            grid: Grid {
                scale: self.input_scale,
                zero_point: self.zero_point,
            },
            bias: bias.collect(),
            multiplier,
            conv,
        }
    }

    /// A layer of neurons, if multiplying bytes is faster here.
    pub fn linear(&self, inputs: usize) -> Option<Int8Layer> {
        let outputs = self.weight_scale.len();
        let pays = pays(inputs, outputs);
        pays.then(|| {
            self.layer(None, |weights| {
                vec![cpu::linear::pack(weights, inputs, outputs)]
            })
        })
    }

    /// A convolution of one image of such sizes, if multiplying bytes is faster here.
    pub fn conv2d(
        &self,
        x: [usize; 3],
        weight: [usize; 4],
        options: Conv2dOptions,
    ) -> Option<Int8Layer> {
        let shape = sizes([1, x[0], x[1], x[2]], weight, options);
        let [inputs, outputs] = shape.group();
        let pays = pays(inputs.next_multiple_of(4) * shape.taps(), outputs) && inputs >= 4;
        pays.then(|| self.layer(Some(shape), |weights| cpu::conv2d::pack(weights, &shape)))
    }
}

/// Whether sums of so many products for so many outputs are faster of bytes than in f32: as measured on one machine of each
/// kind, and not on this one, since the two differ in the last bits and results are to be the same from run to run.
fn pays(terms: usize, outputs: usize) -> bool {
    let least = match cpu::fastest() {
        kernel if kernel.is_fast() => 48,
        kernel if kernel.is_widening() => 256,
        _ => return false,
    };
    (least..=MOST_TERMS).contains(&terms) && outputs >= 16
}

/// Whether layers may multiply bytes for this input.
pub(crate) fn takes_bytes<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    implementation() == Implementation::Own
        && x.dtype() == DType::F32
        && is_cpu(&device)
        && !device.is_autodiff()
}

impl Int8Layer {
    /// Rows `[rows, inputs]` to rows `[rows, outputs]`, rounded on their way in.
    pub fn linear(self: &Arc<Self>, x: Tensor<2>) -> Tensor<2> {
        let y = <Dispatch as Int8Ops>::products(x.into_dispatch(), self.clone());
        Tensor::from_dispatch(y)
    }

    /// Maps to maps, rounded on their way in.
    pub fn conv2d(self: &Arc<Self>, x: Tensor<4>) -> Tensor<4> {
        let y = <Dispatch as Int8Ops>::products(x.into_dispatch(), self.clone());
        Tensor::from_dispatch(y)
    }
}

// Others never come here.
#[backend_extension(Flex)]
pub(crate) trait Int8Ops: Backend {
    fn products(x: FloatTensor<Self>, layer: Arc<Int8Layer>) -> FloatTensor<Self>;
}

impl Int8Ops for Flex {
    fn products(x: FloatTensor<Self>, layer: Arc<Int8Layer>) -> FloatTensor<Self> {
        let kernel = cpu::fastest();
        let Int8Layer {
            packed,
            grid,
            bias,
            multiplier,
            conv,
        } = &*layer;
        let scaled = Scaled { bias, multiplier };
        let dims = x.shape();
        match *conv {
            None => {
                let y = with_values([&x], |[x]| {
                    cpu::linear::linear(x, dims[1], *grid, &packed[0], scaled, kernel)
                });
                tensor(y, [dims[0], multiplier.len()])
            }
            Some(of_one) => {
                let shape = ConvShape {
                    images: dims[0],
                    ..of_one
                };
                let y = with_values([&x], |[x]| {
                    cpu::conv2d::conv2d(x, &shape, *grid, packed, scaled, kernel)
                });
                let [rows, columns] = shape.out();
                tensor(y, Shape::new([dims[0], shape.outputs, rows, columns]))
            }
        }
    }
}
