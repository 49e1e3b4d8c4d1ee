//! Who tells classes apart.

use burn::tensor::Tensor;

use super::Part;
use crate::error::Result;
use crate::nn::Pass;

/// Tells classes apart where the model is validated, in the place of its outputs, such as by the nearest mean of features.
pub trait Predictor<M, B>: Part<M> {
    /// Scores `[rows, classes]`, of which the largest of a row counts, for the examples of `batch`; as many rows as the
    /// objective has labels.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    fn predict<'m>(&self, model: &'m M, batch: &B, pass: &mut Pass<'m>) -> Result<Tensor<2>>;
}
