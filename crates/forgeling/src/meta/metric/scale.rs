//! A factor that stays positive.

use crate::device::TensorDevice;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// A positive factor, kept as its logarithm.
#[derive(Module, Debug)]
pub(super) struct Scale {
    /// `[1]`
    log: Param<Tensor<1>>,
}

impl Scale {
    /// A factor that is trained, and begins here.
    pub fn new(value: f64, device: &TensorDevice) -> Self {
        let log = Param::from_tensor(Tensor::full([1], value.ln(), device));
        Self { log }
    }

    /// A factor that stays as it is.
    pub fn fixed(value: f64, device: &TensorDevice) -> Self {
        let log = Self::new(value, device).log.set_require_grad(false);
        Self { log }
    }

    /// `rows` times the factor, in their dtype.
    pub fn times(&self, rows: Tensor<3>) -> Tensor<3> {
        let factor = self.log.val().cast(rows.dtype()).exp();
        rows * factor.unsqueeze()
    }
}
