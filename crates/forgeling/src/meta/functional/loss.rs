//! What inner loops minimise.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

/// A loss of each task, with its gradient written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// `-mean_r sum_o y[r, o] log softmax(z)[r, o]`, with `y` 1 for the right class and 0 for the others.
    CrossEntropy,
    /// `mean_{r, o} (z[r, o] - y[r, o])^2`
    MeanSquaredError,
}

impl Loss {
    /// The mean loss of each task, `[tasks]`, of outputs and targets `[tasks, rows, outputs]`.
    pub fn value(self, outputs: Tensor<3>, targets: Tensor<3>) -> Tensor<1> {
        let [tasks, rows, width] = outputs.dims();
        let (sum, count) = match self {
            Self::CrossEntropy => (log_softmax(outputs, 2) * targets * -1.0, rows),
            Self::MeanSquaredError => {
                let difference = outputs - targets;
                (difference.clone() * difference, rows * width)
            }
        };
        sum.sum_dim(2).sum_dim(1).reshape([tasks]) / count as f64
    }

    /// The gradient of each task's loss with respect to its outputs.
    pub fn gradient(self, outputs: Tensor<3>, targets: Tensor<3>) -> Tensor<3> {
        let [_, rows, width] = outputs.dims();
        match self {
            Self::CrossEntropy => (log_softmax(outputs, 2).exp() - targets) / rows as f64,
            Self::MeanSquaredError => (outputs - targets) * (2.0 / (rows * width) as f64),
        }
    }
}
