//! What is computed on each device.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::device::Device;
use crate::error::Result;
use crate::nn::BatchStatistics;

/// What a share of a batch brings.
pub struct Contribution {
    /// Gradients of the share's mean loss, or of a multiple of it that is the same for all shares (see
    /// [`Optimizer::set_loss_scale`](crate::train::Optimizer::set_loss_scale)). A parameter without one counts as one with
    /// zeros where another share has one.
    pub gradients: GradientsParams,
    /// Mean loss over the share, `[1]`.
    pub loss: Tensor<1>,
    /// Other means over the share, `[1]` each; the same ones for all shares.
    pub metrics: Vec<Tensor<1>>,
    /// How much the share's means weigh: its examples, 1 or more.
    pub examples: usize,
    /// What the share's norms found, which goes into their running statistics after the optimizer's step.
    pub statistics: Vec<BatchStatistics>,
}

/// What gradients are computed of: a function of a network and a share of a batch.
///
/// A closure from network, share and device to a [`Contribution`] is such work.
pub trait Work<M, B>: Send + Sync + 'static {
    /// The gradients of one share, which has an example at least. `model` is on `device`, with automatic differentiation.
    ///
    /// # Errors
    /// Those for which [`Error::is_device`](crate::Error::is_device) holds, and panics, are the device's fault: it trains no more. Others end the
    /// step.
    fn contribute(&self, model: &M, share: B, device: &Device) -> Result<Contribution>;
}

impl<M, B, F> Work<M, B> for F
where
    F: Fn(&M, B, &Device) -> Result<Contribution> + Send + Sync + 'static,
{
    fn contribute(&self, model: &M, share: B, device: &Device) -> Result<Contribution> {
        self(model, share, device)
    }
}
