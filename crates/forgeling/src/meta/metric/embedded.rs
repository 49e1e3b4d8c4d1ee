//! Features of tasks, and what every head makes of them.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::ops::matmul;

/// The features of a stack's tasks, all of one float dtype and on one device.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Features of the examples to learn from, `[tasks, supports, features]`.
    pub support: Tensor<3>,
    /// 1 for the class of each of these and 0 for the others, `[tasks, supports, ways]`.
    pub onehot: Tensor<3>,
    /// Features of the queries, `[tasks, queries, features]`.
    pub query: Tensor<3>,
    /// What the features were flattened from: `[channels, height, width]`.
    pub map: [usize; 3],
}

impl Embedded {
    /// `[tasks, supports, ways, queries, features]`.
    ///
    /// # Errors
    /// When the parts do not fit each other, or a size is zero.
    pub(super) fn sizes(&self) -> Result<[usize; 5]> {
        let [tasks, supports, features] = self.support.dims();
        let (onehot, query) = (self.onehot.dims(), self.query.dims());
        let (ways, queries) = (onehot[2], query[1]);
        let fitting = onehot == [tasks, supports, ways]
            && query == [tasks, queries, features]
            && self.map.iter().product::<usize>() == features;
        let sizes = [tasks, supports, ways, queries, features];
        if !fitting || sizes.contains(&0) {
            return Err(
                Error::invalid("compare_features", "the features do not fit each other")
                    .expected("support [T, S, F], onehot [T, S, W], query [T, Q, F], map of F, each at least 1")
                    .got(format!(
                        "{:?}, {onehot:?}, {query:?}, {:?}",
                        self.support.dims(),
                        self.map
                    )),
            );
        }
        Ok(sizes)
    }

    /// How many examples each class has, `[tasks, ways, 1]`.
    pub(super) fn counts(&self) -> Tensor<3> {
        self.onehot.clone().sum_dim(1).swap_dims(1, 2)
    }

    /// Sums of rows `[tasks, supports, n]` over each class's examples, `[tasks, ways, n]`.
    pub(super) fn sums(&self, rows: Tensor<3>) -> Result<Tensor<3>> {
        matmul(self.onehot.clone().swap_dims(1, 2), rows)
    }

    /// Means of rows `[tasks, supports, n]` over each class's examples, `[tasks, ways, n]`.
    pub(super) fn means(&self, rows: Tensor<3>) -> Result<Tensor<3>> {
        Ok(self.sums(rows)? / self.counts())
    }
}

/// Rows of length 1: `x / sqrt(|x|^2 + 1e-8)`, so that a row of zeros stays one, and its gradient finite.
pub(super) fn unit(rows: Tensor<3>) -> Tensor<3> {
    const LEAST: f64 = 1e-8;
    let square = rows.clone().mul(rows.clone()).sum_dim(2) + LEAST;
    rows / square.sqrt()
}

/// Products of every row of `a` with every row of `b`: `[tasks, rows of a, rows of b]`.
pub(super) fn products(a: Tensor<3>, b: Tensor<3>) -> Result<Tensor<3>> {
    matmul(a, b.swap_dims(1, 2))
}
