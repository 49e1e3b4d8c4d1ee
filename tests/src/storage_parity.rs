//! Activations stored in 16 bits: the same forward pass, gradients close to those of full storage, and less memory. One
//! test for every device, natively and in a browser.

use std::future::{Future, poll_fn};
use std::pin::pin;

use burn::tensor::{DType, Device as Tensors, Tensor, TensorData, bf16, f16};
use forgeling::Readback;
use forgeling::ops::{
    Activation, AfterNorm, AttentionOptions, Conv2dOptions, Storage, conv_block, linear, reference,
    store_as,
};

use super::blocks_parity::{attend, norm};
use super::conv_parity::{Convolution, batch_normed, convolution};
use super::linear_parity::{layer, products};
use super::ops_parity::{Body, Results, block, running_block, tensor};
use super::values::{assert_close, waves};

/// Both formats with their tolerances.
pub const FORMATS: [(Storage, f32); 2] = [(Storage::F16, 1e-2), (Storage::Bf16, 5e-2)];

/// `future`, every part of which runs under `storage`.
pub async fn under<F: Future>(storage: Storage, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| store_as(storage, || future.as_mut().poll(context))).await
}

/// An operation with sizes that are worth packing.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// A convolution.
    Convolution(Convolution),
    /// A batch norm.
    BatchNorm([usize; 4], bool, AfterNorm),
    /// A convolution block.
    Block([usize; 5]),
    /// A convolution block with running statistics.
    RunningBlock([usize; 5]),
    /// A linear layer.
    Linear([usize; 3], Activation),
    /// Products of matrices.
    Products([usize; 4]),
    /// A layer norm.
    LayerNorm([usize; 2]),
    /// Attention.
    Attention([usize; 5]),
}

const STRIDED: Conv2dOptions = Conv2dOptions {
    stride: [2, 1],
    padding: [1, 1],
    groups: 1,
};

/// Operations with odd and distinct sizes, packed lengths that are odd, and blocks of one and of several groups of
/// images.
pub const OPERATIONS: [Operation; 16] = [
    Operation::Convolution(Convolution {
        x: [3, 7, 19, 17],
        weight: [5, 3, 3],
        options: STRIDED,
        bias: true,
    }),
    Operation::BatchNorm([5, 7, 13, 11], false, AfterNorm::Relu),
    Operation::BatchNorm([3, 8, 16, 15], true, AfterNorm::Relu),
    Operation::BatchNorm([4, 6, 14, 15], true, AfterNorm::Nothing),
    Operation::Block([3, 6, 10, 19, 14]),
    Operation::Block([5, 3, 7, 28, 28]),
    Operation::Block([9, 32, 17, 7, 7]),
    Operation::Block([150, 3, 21, 28, 28]),
    Operation::RunningBlock([3, 6, 10, 19, 14]),
    Operation::RunningBlock([150, 3, 20, 28, 28]),
    Operation::Linear([65, 67, 129], Activation::Relu),
    Operation::Linear([67, 63, 65], Activation::Gelu),
    Operation::Linear([130, 32, 60], Activation::None),
    Operation::Products([3, 33, 47, 31]),
    Operation::LayerNorm([131, 65]),
    Operation::Attention([2, 3, 37, 41, 24]),
];

impl Operation {
    async fn run(self, device: &Tensors) -> Results {
        let (own, single) = (Body::Own, DType::F32);
        match self {
            Self::Convolution(sizes) => convolution(own, sizes, single, device).await,
            Self::BatchNorm(shape, residual, after) => {
                batch_normed(own, (shape, residual, after), single, device).await
            }
            Self::Block(sizes) => block(own, sizes, single, device).await,
            Self::RunningBlock(sizes) => running_block(own, sizes, single, device).await,
            Self::Linear(sizes, end) => layer(own, sizes, (end, true), single, device).await,
            Self::Products(sizes) => products(own, sizes, single, device).await,
            Self::LayerNorm(sizes) => norm(own, sizes, single, device).await,
            Self::Attention(sizes) => {
                let options = AttentionOptions::default();
                attend(own, sizes, options, single, device).await
            }
        }
    }

    /// Checks that storage changes gradients only, and those a little, but some.
    ///
    /// # Panics
    /// When it does not.
    pub async fn check(self, device: &Tensors, name: &str) {
        let full = under(Storage::Full, self.run(device)).await;
        for (storage, tolerance) in FORMATS {
            let got = under(storage, self.run(device)).await;
            let mut differs = false;
            for ((what, got), (_, full)) in got.iter().zip(&full) {
                let what = format!("{what} of {self:?} as {storage:?} on {name}");
                if what.starts_with("grad") {
                    assert_close(&what, got, full, tolerance);
                    differs |= got != full;
                } else {
                    assert_eq!(got, full, "{what}");
                }
            }
            assert!(differs, "{self:?} as {storage:?} on {name} stores nothing");
        }
    }
}

/// `x` as it comes back from being stored: the weight's gradient of a linear layer whose output has the identity for its
/// gradient. Rows and inputs are odd, so that the last word is half empty.
///
/// # Panics
/// When anything fails.
pub async fn come_back(x: &[f32], storage: Storage, device: &Tensors) -> Vec<f32> {
    let (rows, inputs) = (ROUND_TRIP[0], ROUND_TRIP[1]);
    let x = Tensor::<2>::from_data(TensorData::new(x.to_vec(), ROUND_TRIP), device);
    let weight = Tensor::<2>::zeros([inputs, rows], device).require_grad();
    let y = store_as(storage, || {
        linear(x, weight.clone(), None, Activation::None).unwrap()
    });
    let identity = Tensor::<2>::eye(rows, device);
    let gradients = (y * identity).sum().backward();
    let back = weight.grad(&gradients).unwrap().transpose();
    let [values] = Readback::new().with(back).run().await.unwrap();
    values
}

/// Rows and columns of what [`come_back`] takes.
pub const ROUND_TRIP: [usize; 2] = [65, 67];

/// Numbers of every size that a format tells apart, and beyond its smallest; among them some that are halfway between two.
pub fn numbers() -> Vec<f32> {
    let count = ROUND_TRIP[0] * ROUND_TRIP[1];
    let values = waves(count, 1.0).into_iter().enumerate();
    let number = |(i, value): (usize, f32)| {
        let bits = (value * 2f32.powi(i as i32 % 50 - 34)).to_bits();
        f32::from_bits(match i % 3 {
            0 => bits,
            // Of f16, and of bf16.
            1 => bits & !0x1fff | 0x1000,
            _ => bits & !0xffff | 0x8000,
        })
    };
    values.map(number).collect()
}

/// What [`come_back`] is to give: the nearest number of the format, but not 0 for what is not 0.
pub fn rounded(x: &[f32], storage: Storage) -> Vec<f32> {
    let round = |value: f32| match storage {
        Storage::F16 => {
            let smallest = f16::MIN_POSITIVE_SUBNORMAL.to_f32();
            let size = f16::from_f32(value.abs()).to_f32().max(smallest);
            size.copysign(value)
        }
        Storage::Bf16 => bf16::from_f32(value).to_f32(),
        Storage::Full => value,
    };
    x.iter().map(|&value| round(value)).collect()
}

/// The input's gradient of a block whose convolution has nearly a tie in every window, in steps that f16 does not tell apart and
/// bf16 even less: each next pixel wins by a little, and of equal ones the first. By the composite reference where there is
/// no `storage`.
///
/// # Panics
/// When anything fails.
pub async fn ties(storage: Option<Storage>, device: &Tensors) -> Vec<f32> {
    const SHAPE: [usize; 4] = [5, 1, 29, 27];
    let values = waves(SHAPE.iter().product(), 1.0).into_iter().enumerate();
    let values: Vec<f32> = values
        .map(|(i, value)| 1.0 + (value * 3.0).round() / 4.0 + (i % 7) as f32 * 1e-5)
        .collect();
    let x = Tensor::<4>::from_data(TensorData::new(values, SHAPE), device).require_grad();
    // The image itself, and its negative.
    let mut centre = vec![0.0; 2 * 9];
    (centre[4], centre[13]) = (1.0, -1.0);
    let weight = Tensor::<4>::from_data(TensorData::new(centre, [2, 1, 3, 3]), device);
    let [gamma, beta] =
        [[1.5, -0.5], [0.25, -0.5]].map(|values| Tensor::<1>::from_floats(values, device));
    let output = match storage {
        Some(storage) => store_as(storage, || conv_block(x.clone(), weight, gamma, beta)).unwrap(),
        None => reference::conv_block(x.clone(), weight, gamma, beta),
    };
    let direction = tensor(output.output.dims(), 2.0, device);
    let gradients = (output.output * direction).sum().backward();
    let gradient = x.grad(&gradients).unwrap();
    let [values] = Readback::new().with(gradient).run().await.unwrap();
    values
}
