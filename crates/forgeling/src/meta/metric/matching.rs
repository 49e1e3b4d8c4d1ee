//! Matching networks.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::embedded::{Embedded, products, unit};
use super::scale::Scale;
use super::{MetricHead, Trainable};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::Pass;
use crate::ops::matmul;

/// Attention of a query over the examples of the support, added up over each class:
///
/// `p(k | q) = sum_{i of class k} softmax_i(tau q s_i / (|q| |s_i|))`, `logit = log p`
///
/// Vinyals et al., *Matching Networks for One Shot Learning*, 2016 (arXiv 1606.04080), without full-context embeddings:
/// a feature depends on its own image alone. The network holds `[queries, supports]` weights of each task.
///
/// The paper has `tau = 1`. A cosine of 1 at most then gives the right one of 5 classes a probability of `e^2 / (e^2 + 4)
/// < 0.65` at most, and the loss a floor. So `tau` is learned here by default, from 10 on.
#[derive(Module, Debug)]
pub struct Matching {
    scale: Scale,
}

impl Matching {
    /// The head, with a learned `tau` that begins at 10.
    pub fn new(device: &TensorDevice) -> Self {
        let scale = Scale::new(10.0, device);
        Self { scale }
    }

    /// The head with a `tau` that stays as it is.
    ///
    /// # Errors
    /// When `tau` is not a positive number.
    pub fn with_scale(tau: f64, device: &TensorDevice) -> Result<Self> {
        if !(tau.is_finite() && tau > 0.0) {
            return Err(Error::invalid("matching", "tau is out of range")
                .expected("a positive number")
                .got(tau));
        }
        let scale = Scale::fixed(tau, device);
        Ok(Self { scale })
    }
}

impl Trainable for Matching {}

impl MetricHead for Matching {
    fn logits<'a>(&'a self, tasks: &Embedded, _pass: &mut Pass<'a>) -> Result<Tensor<3>> {
        /// Beside a probability that f32 rounds to 0.
        const LEAST: f64 = 1e-30;
        tasks.sizes()?;
        let cosine = products(unit(tasks.query.clone()), unit(tasks.support.clone()))?;
        let attention = softmax(self.scale.times(cosine), 2);
        let of_class = matmul(attention, tasks.onehot.clone())?;
        Ok((of_class + LEAST).log())
    }
}
