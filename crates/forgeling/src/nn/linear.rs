//! A layer of neurons.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::init::{constant, uniform};
use super::quantize::rounded;
use crate::device::TensorDevice;
use crate::error::Result;
use crate::ops::{Activation, linear};
use crate::rng::Rng;

/// A layer of neurons: `y = activation(x weight + bias)`, see [`linear`].
///
/// Shapes: `[rows, in]` to `[rows, out]`. Weight and bias start uniform in `±1/sqrt(in)`, as in burn and PyTorch.
#[derive(Module, Debug)]
pub struct LinearLayer {
    /// `[in, out]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
    /// `[out]`, in a layer that works in 8 bits.
    pub weight_scale: Option<Param<Tensor<1>>>,
}

impl LinearLayer {
    /// A layer with weights drawn from `rng`.
    pub fn new(input: usize, output: usize, rng: &mut Rng, device: &TensorDevice) -> Self {
        let bound = 1.0 / (input as f32).sqrt();
        Self {
            weight: uniform(rng, [input, output], bound, device),
            bias: uniform(rng, [output], bound, device),
            weight_scale: None,
        }
    }

    /// A layer with weights uniform in `±sqrt(6 / (in + out))` (Glorot and Bengio, 2010) and biases of 0, as
    /// Transformers have them.
    pub fn glorot(input: usize, output: usize, rng: &mut Rng, device: &TensorDevice) -> Self {
        let bound = (6.0 / (input + output) as f32).sqrt();
        Self {
            weight: uniform(rng, [input, output], bound, device),
            bias: constant(output, 0.0, device),
            weight_scale: None,
        }
    }

    /// The layer's output.
    ///
    /// # Errors
    /// When the input does not fit the weights, or is empty.
    pub fn forward(&self, x: Tensor<2>, activation: Activation) -> Result<Tensor<2>> {
        let weight = rounded(&self.weight, self.weight_scale.as_ref(), 1)?;
        linear(x, weight, Some(self.bias.val()), activation)
    }
}
