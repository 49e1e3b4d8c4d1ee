//! Meta-SGD: learned rates.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::super::functional::{Program, Weights};
use super::{Adapted, GradientMethod, InnerConfig, Learning};
use crate::device::TensorDevice;
use crate::error::Result;

/// MAML with a learned rate for every parameter value, which can be negative:
///
/// `phi_(k+1) = phi_k - alpha * grad L_support(phi_k)`, of exact second order.
///
/// The rates begin at [`InnerConfig::rate`]. Li et al., *Meta-SGD*, 2017 (arXiv 1707.09835), who take one step.
#[derive(Module, Debug)]
pub struct MetaSgd {
    /// `[values]` for each parameter of the program.
    pub rates: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    inner: InnerConfig,
}

impl MetaSgd {
    /// The method for a network's program.
    ///
    /// # Errors
    /// As [`InnerConfig::validate`].
    pub fn new(inner: InnerConfig, program: &Program, device: &TensorDevice) -> Result<Self> {
        inner.validate()?;
        let sizes = program.sizes().into_iter();
        let rates = sizes.map(|size| Param::from_tensor(Tensor::full([size], inner.rate, device)));
        Ok(Self {
            rates: rates.collect(),
            inner,
        })
    }
}

impl GradientMethod for MetaSgd {
    fn adapt(&self, tasks: &Learning<'_>, initial: &Weights) -> Result<Adapted> {
        let rates: Vec<Tensor<1>> = self.rates.iter().map(Param::val).collect();
        let rates = Weights::shared(&rates, tasks.len());
        let mut weights = initial.clone();
        let mut losses = Vec::new();
        for _ in 0..tasks.steps(&self.inner) {
            let (loss, gradient) = tasks.gradient(&weights)?;
            losses.push(loss);
            let step = gradient.zip(&rates, |gradient, rate| gradient * rate);
            weights = weights.minus(&step);
        }
        Ok(Adapted { weights, losses })
    }
}
