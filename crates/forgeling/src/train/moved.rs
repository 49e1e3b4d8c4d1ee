//! A module's parameters as an optimizer meets them: found with their gradients, and replaced.

use std::collections::HashMap;

use burn::module::{ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use crate::device::TensorDevice;

/// What the state of one parameter belongs to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub id: ParamId,
    /// Empty where it is forgotten.
    pub shape: Vec<usize>,
    /// Dtypes of parameter and gradient, and the device; `None` where it comes from a record.
    pub kind: Option<([DType; 2], TensorDevice)>,
}

impl Key {
    /// Whether what is kept belongs to a parameter of a step.
    pub fn fits(&self, found: &Self) -> bool {
        let alike = self.id == found.id && self.shape == found.shape;
        alike && (self.kind.is_none() || self.kind == found.kind)
    }

    pub fn forget(&mut self) {
        self.shape.clear();
    }

    pub fn is_forgotten(&self) -> bool {
        self.shape.is_empty()
    }
}

/// Collects the parameters that have a gradient, flattened and not tracked.
pub(super) struct Found {
    pub gradients: GradientsParams,
    /// All parameters, those without a gradient too.
    pub all: Vec<ParamId>,
    pub keys: Vec<Key>,
    pub parameters: Vec<Tensor<1>>,
    pub trained: Vec<Tensor<1>>,
}

impl ModuleVisitor for Found {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.all.push(param.id);
        // A parameter found in two places has given its gradient away at the first.
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return;
        };
        let parameter = param.val().without_autodiff();
        let device = parameter.device();
        let mut gradient = gradient.without_autodiff();
        if gradient.device() != device {
            gradient = gradient.to_device(&device);
        }
        let shape = parameter.dims().to_vec();
        let length: usize = shape.iter().product();
        if length == 0 {
            return;
        }
        self.keys.push(Key {
            id: param.id,
            shape,
            kind: Some(([parameter.dtype(), gradient.dtype()], device)),
        });
        self.parameters.push(parameter.reshape([length]));
        self.trained.push(gradient.reshape([length]));
    }
}

/// Puts new values in the places of old ones.
pub(crate) struct Replace(pub HashMap<ParamId, Tensor<1>>);

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(new) = self.0.get(&param.id).cloned() else {
            return param;
        };
        param.map(|old| in_place_of(&old, new.reshape(old.dims())))
    }
}

/// A parameter's new value, which is not tracked, made to be tracked as the old one was.
pub(crate) fn in_place_of<const D: usize>(old: &Tensor<D>, new: Tensor<D>) -> Tensor<D> {
    if !old.device().is_autodiff() {
        return new;
    }
    let mut new = Tensor::from_inner(new);
    // Two strategies do not meet in one graph.
    if let Some(strategy) = old.gradient_checkpointing_strategy() {
        new = new.with_gradient_checkpointing_strategy(strategy);
    }
    new.set_require_grad(old.is_require_grad())
}
