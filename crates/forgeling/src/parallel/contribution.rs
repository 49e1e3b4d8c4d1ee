//! What is computed on each device.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::device::Device;
use crate::error::Result;
use crate::nn::BatchStatistics;
use crate::train::parts::{Changes, Taken};

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

/// What replicas do in a step: the gradients of their shares and, where something is done with what all shares came to, that.
///
/// A closure from network, share and device to a [`Contribution`] is such work.
pub trait Work<M, B, O> {
    /// The gradients of one share, which has an example at least. `model` is on `device`, with automatic differentiation.
    ///
    /// # Errors
    /// Those for which [`Error::is_device`](crate::Error::is_device) holds, and panics, are the device's fault: it trains no
    /// more. Others end the step.
    fn contribute(&self, model: &M, share: B, device: &Device) -> Result<Contribution>;

    /// Which of the functions below do something. Default none.
    fn changes(&self) -> Changes {
        Changes::default()
    }

    /// Changes the averaged gradients before the optimizer's step, on every replica alike. Default nothing.
    ///
    /// # Errors
    /// The step is not taken then.
    fn rule(&self, _model: &M, _gradients: &mut GradientsParams) -> Result<()> {
        Ok(())
    }

    /// Changes the model, and what the optimizer keeps of it, after a step, on every replica alike. Default nothing.
    ///
    /// # Errors
    /// The step is not taken then.
    fn after(&self, _taken: &Taken<'_, M>, _model: &mut M, _optimizer: &mut O) -> Result<()> {
        Ok(())
    }
}

impl<M, B, O, F> Work<M, B, O> for F
where
    F: Fn(&M, B, &Device) -> Result<Contribution>,
{
    fn contribute(&self, model: &M, share: B, device: &Device) -> Result<Contribution> {
        self(model, share, device)
    }
}
