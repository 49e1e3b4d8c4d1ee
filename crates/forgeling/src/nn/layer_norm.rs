//! Layer norm as a module.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::init::constant;
use crate::device::TensorDevice;
use crate::error::Result;
use crate::ops::layer_norm;

/// Each row normalised, scaled by gamma and shifted by beta: [`layer_norm`].
///
/// Shapes: `[rows, width]` to the same. Gamma starts at 1 and beta at 0.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale of each column, `[width]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift of each column, `[width]`.
    pub beta: Param<Tensor<1>>,
}

impl LayerNorm {
    /// A norm of rows of `width` numbers.
    pub fn new(width: usize, device: &TensorDevice) -> Self {
        Self {
            gamma: constant(width, 1.0, device),
            beta: constant(width, 0.0, device),
        }
    }

    /// The normalised rows, with what is added to variances.
    ///
    /// # Errors
    /// When the rows have another width, or there are none.
    pub fn forward(&self, rows: Tensor<2>, epsilon: f64) -> Result<Tensor<2>> {
        layer_norm(rows, self.gamma.val(), self.beta.val(), epsilon)
    }
}
