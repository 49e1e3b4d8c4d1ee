//! Where the first value that is not finite comes from.

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::super::objective::{Objective, Trainable};
use crate::device::Readback;
use crate::error::Result;
use crate::nn::{Normalization, Pass};
use crate::train::HardwareManager;

/// Which part of a model is the first to give an output, or in the backward pass a gradient, that is not finite on this
/// batch; where all of these are finite, in which part a batch norm's variance is not. `None` if all are finite.
///
/// # Errors
/// When the batch does not fit the model, and when the device fails.
pub async fn first_anomaly<M: Trainable, O: Objective<M>>(
    manager: &HardwareManager,
    model: &M,
    objective: &O,
    batch: &O::Batch,
) -> Result<Option<String>> {
    let mut pass = Pass::new(Normalization::Batch, &manager.device().autodiff())
        .computing_in(manager.precision().dtype())
        .watching(true);
    let outcome = objective.forward(model, batch, &mut pass)?;
    let mut trip = Readback::new();
    let mut names = Vec::new();
    for (name, sum) in pass.watched() {
        names.push(name.clone());
        trip = trip.with(sum.clone());
    }
    names.push("the loss".into());
    trip = trip.with(outcome.loss.clone());
    let variances = pass.variances().to_vec();
    let mut gradients = Gradients {
        path: Vec::new(),
        given: pass.backward(outcome.loss, model)?,
        sums: Vec::new(),
    };
    model.visit(&mut gradients);
    // The last parameters are the first that the backward pass comes to.
    for (name, sum) in gradients.sums.into_iter().rev() {
        names.push(format!("the gradient of {name}"));
        trip = trip.with(sum);
    }
    for (name, variance) in variances {
        names.push(name);
        trip = trip.with(variance);
    }
    let found = trip.run_all().await?;
    let first = found.iter().position(|values| !all_finite(values));
    Ok(first.map(|index| names.swap_remove(index)))
}

fn all_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

struct Gradients {
    path: Vec<String>,
    given: GradientsParams,
    sums: Vec<(String, Tensor<1>)>,
}

impl ModuleVisitor for Gradients {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.given.remove::<D>(param.id) {
            self.sums.push((self.path.join("."), gradient.sum()));
        }
    }
}
