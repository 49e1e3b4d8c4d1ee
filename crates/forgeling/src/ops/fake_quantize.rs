//! Values rounded to what few bits can hold, as training sees it.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::wgpu::CubeBackend;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use forgeling_shaders::{FAKE_QUANTIZE, FAKE_QUANTIZE_BACKWARD, FAKE_QUANTIZE_GRAD_SCALE};
use serde::{Deserialize, Serialize};

use super::check::{fits, not_empty};
use super::cpu::fake_quantize::{self as cpu, Steps};
use super::cpu_tensors::{tensor, with_values};
use super::implementation::composite;
use super::launch::{Launch, f32s, has_kernels};
use super::plan::admit_op;
use super::storage::{Order, StorageOps, Stored};
use super::{reference, tape};
use crate::error::{Error, Result};

const OPERATION: &str = "fake_quantize";

/// The integers that values may become, with 0 among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Levels {
    /// The lowest.
    pub low: i32,
    /// The highest.
    pub high: i32,
}

impl Levels {
    /// Of weights in 8 bits: -127 to 127, so that there is a negative of each.
    pub const WEIGHTS: Self = Self {
        low: -127,
        high: 127,
    };

    /// The integer that a value becomes with this scale, as [`fake_quantize`] finds it; 0 of NaN.
    pub fn nearest(&self, value: f32, scale: f32) -> i32 {
        let place = (value * (1.0 / scale)).round_ties_even();
        (place as i32).clamp(self.low, self.high)
    }

    /// Of activations in unsigned 8 bits, of which this one stands for 0: `-zero_point` to `255 - zero_point`.
    pub const fn activations(zero_point: u8) -> Self {
        Self {
            low: -(zero_point as i32),
            high: 255 - zero_point as i32,
        }
    }
}

/// Weights as the bytes that [`fake_quantize`] makes them multiples of, with a scale for each run of so many values, from the
/// first again after the last.
pub(crate) fn weight_bytes(weights: &[f32], scales: &[f32], run: usize) -> Vec<i8> {
    let runs = weights.chunks(run).zip(scales.iter().cycle());
    let byte = |weight: &f32, scale: f32| Levels::WEIGHTS.nearest(*weight, scale) as i8;
    runs.flat_map(|(weights, scale)| weights.iter().map(move |weight| byte(weight, *scale)))
        .collect()
}

/// Rounds values to the multiples of a scale that few bits can hold:
///
/// `y = scale[c] q`, `q = round(x (1 / scale[c]))` within `low` and `high`
///
/// where a value halfway between two integers goes to the even one. `axis` says along which axis the channels `c` lie; `None`
/// gives one scale to all values.
///
/// Shapes: `x` of any, `scale [channels]` in f32, result as `x` and of its dtype. Differentiable in both as if it had not been
/// rounded ('straight through', Bengio et al., 2013, arXiv 1308.3432): the gradient of `x` is that of `y` where nothing
/// was cut off, else 0; that of `scale` is the sum of `dy (q - x / scale)`, of values that were cut off `dy q` (Esser et
/// al., *Learned Step Size Quantization*, 2020, arXiv 1902.08153, without their factor). NaN stays NaN on the CPU.
///
/// # Errors
/// When `x` is empty, there is no such axis, there is not one scale in f32 for each channel, or 0 is not among the levels.
pub fn fake_quantize<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<1>,
    axis: Option<usize>,
    levels: Levels,
) -> Result<Tensor<D>> {
    let dims = x.dims();
    not_empty(OPERATION, &dims, format_args!("x {dims:?}"))?;
    if axis.is_some_and(|axis| axis >= D) {
        return Err(Error::invalid(OPERATION, "no such axis")
            .expected(format!("an axis below {D}"))
            .got(axis.unwrap_or_default()));
    }
    if levels.low > 0 || levels.high < 0 {
        return Err(Error::invalid(OPERATION, "0 is not among the levels")
            .expected("low <= 0 <= high")
            .got(format!("{} to {}", levels.low, levels.high)));
    }
    let (channels, inner) = match axis {
        Some(axis) => (dims[axis], dims[axis + 1..].iter().product()),
        None => (1, dims.iter().product()),
    };
    let message = "there is not one scale for each channel";
    fits(OPERATION, message, &scale, [channels], DType::F32)?;
    let steps = Steps {
        channels,
        inner,
        low: levels.low,
        high: levels.high,
    };
    let countable = i32::try_from(x.shape().num_elements()).is_ok();
    if !countable || !has_kernels(&x.device(), x.dtype()) {
        return composite(OPERATION, x.dtype(), || {
            reference::fake_quantize(x, scale, axis, levels)
        });
    }
    admit_op(OPERATION, &x.device(), |sim| {
        sim.fake_quantized(sim.given(&x), channels);
        Ok(())
    })?;
    let y = <Dispatch as FakeQuantizeOps>::rounded(x.into_dispatch(), scale.into_dispatch(), steps);
    Ok(Tensor::from_dispatch(y))
}

#[backend_extension(Autodiff, Cube, Flex)]
pub(crate) trait FakeQuantizeOps: Backend {
    fn rounded(x: FloatTensor<Self>, scale: FloatTensor<Self>, steps: Steps) -> FloatTensor<Self>;
}

pub(crate) trait FakeQuantizeBackward: FakeQuantizeOps + StorageOps {
    fn rounded_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self>;

    fn rounded_grad_scale(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self>;
}

fn sizes(length: usize, steps: Steps) -> [usize; 5] {
    let bits = |level: i32| level.cast_unsigned() as usize;
    [
        length,
        steps.channels,
        steps.inner,
        bits(steps.low),
        bits(steps.high),
    ]
}

impl FakeQuantizeOps for CubeBackend {
    fn rounded(x: FloatTensor<Self>, scale: FloatTensor<Self>, steps: Steps) -> FloatTensor<Self> {
        let output = (x.shape(), x.dtype());
        let sizes = sizes(output.0.num_elements(), steps);
        Launch::per_element(&FAKE_QUANTIZE, vec![x, scale], output, sizes)
    }
}

impl FakeQuantizeBackward for CubeBackend {
    fn rounded_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self> {
        let output = (x.shape(), x.dtype());
        let sizes = sizes(output.0.num_elements(), steps);
        let inputs = vec![x, scale, grad];
        Launch::per_element(&FAKE_QUANTIZE_BACKWARD, inputs, output, sizes)
    }

    fn rounded_grad_scale(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self> {
        let length = x.shape().num_elements();
        let Steps {
            channels, inner, ..
        } = steps;
        let shape = Shape::new([length / (channels * inner), channels, inner]);
        let inputs = vec![x, scale, grad];
        let sizes = sizes(length, steps);
        let added = Launch::per_element(&FAKE_QUANTIZE_GRAD_SCALE, inputs, f32s(shape), sizes);
        let sums = Self::float_sum_dim(Self::float_sum_dim(added, 2), 0);
        Self::float_reshape(sums, Shape::new([channels]))
    }
}

impl FakeQuantizeOps for Flex {
    fn rounded(x: FloatTensor<Self>, scale: FloatTensor<Self>, steps: Steps) -> FloatTensor<Self> {
        let y = with_values([&x, &scale], |[x, scale]| cpu::forward(x, scale, steps));
        tensor(y, x.shape())
    }
}

impl FakeQuantizeBackward for Flex {
    fn rounded_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self> {
        let dx = with_values([&x, &scale, &grad], |[x, scale, grad]| {
            cpu::backward(x, scale, grad, steps)
        });
        tensor(dx, x.shape())
    }

    fn rounded_grad_scale(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        steps: Steps,
    ) -> FloatTensor<Self> {
        let sums = with_values([&x, &scale, &grad], |[x, scale, grad]| {
            cpu::grad_scale(x, scale, grad, steps)
        });
        tensor(sums, scale.shape())
    }
}

impl<B: FakeQuantizeBackward, C: CheckpointStrategy> FakeQuantizeOps for Autodiff<B, C> {
    fn rounded(x: FloatTensor<Self>, scale: FloatTensor<Self>, steps: Steps) -> FloatTensor<Self> {
        let ([x, scale], parents) = tape::open([x, scale]);
        let output = B::rounded(x.clone(), scale.clone(), steps);
        let x_id = parents[0].id();
        tape::record::<B, _, 2>(
            parents,
            output,
            |_| (Stored::of_node::<B>(x, x_id, Order::Plain), scale, steps),
            |(x, scale, steps), grad, parents| {
                let x = x.restore::<B>();
                parents.give_with(1, || {
                    B::rounded_grad_scale(x.clone(), scale.clone(), grad.clone(), steps)
                });
                parents.give_with(0, || B::rounded_backward(x, scale, grad, steps));
            },
        )
    }
}
