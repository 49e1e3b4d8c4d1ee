//! What strategies do with examples of before.

use std::borrow::Cow;

use burn::tensor::{Tensor, TensorData};

use crate::continual::{ContinualBatch, Head};
use crate::error::{Error, Result};
use crate::nn::{Network, Pass};
use crate::ops::softmax_cross_entropy;
use crate::train::Batch;

/// As many of the examples of before as were asked for, where another part has asked for more. They are in random order.
pub(super) fn first(
    replayed: Option<&ContinualBatch>,
    count: usize,
) -> Option<Cow<'_, ContinualBatch>> {
    let all = replayed.filter(|all| !all.is_empty())?;
    Some(match all.len() <= count {
        true => Cow::Borrowed(all),
        false => Cow::Owned(all.part(0..count)),
    })
}

/// The mean cross entropy on examples of before, over the outputs that count for each.
pub(super) fn cross_entropy<'m>(
    head: &Head,
    model: &'m Network,
    batch: &ContinualBatch,
    pass: &mut Pass<'m>,
) -> Result<Tensor<1>> {
    let logits = head.logits(model, batch, pass)?;
    head.check_labels(batch, true)?;
    softmax_cross_entropy(head.masked(logits, batch), &batch.images.labels)
}

/// A loss of nothing, `[1]`.
pub(super) fn nothing(pass: &Pass<'_>) -> Tensor<1> {
    pass.output(pass.values(TensorData::new(vec![0.0f32], [1])))
}

/// Whether a strategy asks for an example at least.
pub(super) fn check_examples(operation: &'static str, examples: usize) -> Result<()> {
    match examples {
        0 => Err(
            Error::invalid(operation, "no example of before is asked for")
                .expected("1 or more")
                .got(0),
        ),
        _ => Ok(()),
    }
}

/// Whether a factor of a loss is one.
pub(super) fn check_factor(operation: &'static str, name: &str, factor: f64) -> Result<()> {
    match factor >= 0.0 && (factor as f32).is_finite() {
        true => Ok(()),
        false => Err(Error::invalid(operation, format!("{name} is out of range"))
            .expected("0 or more")
            .got(factor)),
    }
}
