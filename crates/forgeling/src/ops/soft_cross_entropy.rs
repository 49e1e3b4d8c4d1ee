//! Cross entropy of a softmax with targets that are shared by classes.

use burn::tensor::{Tensor, TensorData};

use super::check::not_empty;
use super::implementation::composite;
use super::reference::{self, wide};
use crate::error::{Error, Result};

/// Mean cross entropy in nats, `-1/R sum_r sum_k targets[r][k] log softmax(logits[r])[k]`.
///
/// Shapes: `logits [rows, classes]`, `targets` likewise, row after row, each of which should add up to 1; result `[1]`, in
/// f32 if the logits are of half precision. Differentiable with respect to the logits. It has no kernel of its own: where
/// every row has one class, [`softmax_cross_entropy`](super::softmax_cross_entropy) is faster.
///
/// # Errors
/// When there is no row or class, there are not as many targets as logits, or one is not finite.
pub fn soft_cross_entropy(logits: Tensor<2>, targets: Vec<f32>) -> Result<Tensor<1>> {
    const OPERATION: &str = "soft_cross_entropy";
    let [rows, classes] = logits.dims();
    let got = format_args!("logits {:?}", logits.dims());
    not_empty(OPERATION, &[rows, classes], got)?;
    if targets.len() != rows * classes {
        return Err(Error::invalid(OPERATION, "not one target for each logit")
            .expected(format!("{rows} rows of {classes}"))
            .got(format!("{} targets", targets.len())));
    }
    if let Some(target) = targets.iter().find(|target| !target.is_finite()) {
        return Err(Error::bad_data(OPERATION, "a target is not finite").got(target));
    }
    let logits = wide(logits);
    composite(OPERATION, logits.dtype(), || {
        reference::soft_cross_entropy(logits, TensorData::new(targets, [rows, classes]))
    })
}
