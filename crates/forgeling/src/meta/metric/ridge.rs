//! R2-D2: ridge regression.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use super::embedded::{Embedded, products};
use super::scale::Scale;
use super::{MetricHead, Trainable};
use crate::device::TensorDevice;
use crate::error::Result;
use crate::nn::Pass;
use crate::ops::{matmul, spd_inverse};

/// Ridge regression from features to classes, solved in closed form in every task:
///
/// `logits = alpha q W + beta`, `W = X^T (X X^T + lambda I)^-1 Y`
///
/// with the support's features `X` and its classes `Y` as ones and zeros. `lambda`, `alpha` and `beta` are learned,
/// `lambda` and `alpha` as their logarithms, from 1, 10 and 0 on. Bertinetto et al., *Meta-learning with Differentiable
/// Closed-form Solvers*, 2019 (arXiv 1805.08136). `W` gives numbers between 0 and 1, for which an `alpha` of 1 is small;
/// `beta` changes no probability, since it is the same for all classes.
///
/// A task has 512 examples to learn from at most, see [`spd_inverse`].
#[derive(Module, Debug)]
pub struct Ridge {
    lambda: Scale,
    alpha: Scale,
    /// `[1]`
    beta: Param<Tensor<1>>,
}

impl Ridge {
    /// The head with its initial values.
    pub fn new(device: &TensorDevice) -> Self {
        Self {
            lambda: Scale::new(1.0, device),
            alpha: Scale::new(10.0, device),
            beta: Param::from_tensor(Tensor::zeros([1], device)),
        }
    }
}

impl Trainable for Ridge {}

impl MetricHead for Ridge {
    fn logits<'a>(&'a self, tasks: &Embedded, _pass: &mut Pass<'a>) -> Result<Tensor<3>> {
        let [_, supports, ..] = tasks.sizes()?;
        let support = tasks.support.clone();
        let gram = products(support.clone(), support.clone())?;
        let mut identity = vec![0f32; supports * supports];
        identity
            .iter_mut()
            .step_by(supports + 1)
            .for_each(|value| *value = 1.0);
        let identity = TensorData::new(identity, [1, supports, supports]);
        let identity = Tensor::from_data(identity, (&gram.device(), gram.dtype()));
        let inverse = spd_inverse(gram + self.lambda.times(identity))?;
        let dual = matmul(inverse, tasks.onehot.clone())?;
        let weights = matmul(support.swap_dims(1, 2), dual)?;
        let beta = self.beta.val().cast(weights.dtype());
        let scores = matmul(tasks.query.clone(), weights)?;
        Ok(self.alpha.times(scores) + beta.unsqueeze())
    }
}
