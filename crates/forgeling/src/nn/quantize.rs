//! Values rounded to 8 bits.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::init::buffer;
use crate::device::TensorDevice;
use crate::error::Result;
use crate::ops::{Levels, fake_quantize};

/// What a layer that rounds values holds.
#[derive(Module, Debug)]
pub struct QuantizeValues {
    /// `[1]`; not trained unless asked for.
    pub scale: Param<Tensor<1>>,
}

impl QuantizeValues {
    /// Steps of 1, until a scale is found for the values that come.
    pub fn new(device: &TensorDevice) -> Self {
        Self {
            scale: buffer(1, 1.0, device),
        }
    }

    /// Values of any shape, rounded.
    ///
    /// # Errors
    /// When there are none.
    pub fn rounded<const D: usize>(&self, x: Tensor<D>, levels: Levels) -> Result<Tensor<D>> {
        fake_quantize(x, self.scale.val(), None, levels)
    }
}

/// A weight as a layer uses it: rounded where there is a scale for each output, which lie along an axis.
pub(super) fn rounded<const D: usize>(
    weight: &Param<Tensor<D>>,
    scale: Option<&Param<Tensor<1>>>,
    axis: usize,
) -> Result<Tensor<D>> {
    match scale {
        Some(scale) => fake_quantize(weight.val(), scale.val(), Some(axis), Levels::WEIGHTS),
        None => Ok(weight.val()),
    }
}
