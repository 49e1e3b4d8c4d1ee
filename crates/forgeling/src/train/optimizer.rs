//! What all optimizers share: which parameters move, and to whom their state belongs.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};

use super::record::{OptimizerRecord, Place, names};
use crate::error::{Error, Result};
use crate::ops::{OptimizerState, Rule, Scaling, Snapshot, step};

/// What moves the parameters of a module by their gradients.
///
/// A clone has the same state, on the same device.
pub trait Optimizer: Clone + Send {
    /// Moves every parameter of `module` that has a gradient; `rate` is the learning rate.
    fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M;

    /// Divides the gradients of the steps that follow by `scale`.
    ///
    /// # Errors
    /// When `scale` or its reciprocal is not a positive number that f32 can hold.
    fn set_loss_scale(&mut self, scale: f64) -> Result<()>;

    /// Whether the last step was skipped (0 or 1), and how many were; `[2]`. `None` before the first step.
    fn skipped(&self) -> Option<Tensor<1>>;
}

/// Implements [`Optimizer`] by the functions of the same names that the type has itself.
macro_rules! optimizer {
    ($type:ty) => {
        impl super::Optimizer for $type {
            fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
                <$type>::step(self, rate, module, gradients)
            }

            fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
                <$type>::set_loss_scale(self, scale)
            }

            fn skipped(&self) -> Option<Tensor<1>> {
                <$type>::skipped(self)
            }
        }
    };
}
pub(super) use optimizer;

/// A number of a configuration: its name and value, whether it is right, and what would be.
pub(super) type Check = (&'static str, f64, bool, &'static str);

/// Whether f32 holds a number that is not below 0.
pub(super) fn not_negative(value: f64) -> bool {
    value >= 0.0 && (value as f32).is_finite()
}

/// Whether f32 holds a number above 0.
pub(super) fn positive(value: f64) -> bool {
    value as f32 > 0.0 && (value as f32).is_finite()
}

/// Whether a number is at least 0 and below 1, in f32 too, in which the steps are computed.
pub(super) fn below_one(value: f64) -> bool {
    value >= 0.0 && (value as f32) < 1.0
}

/// The check of a norm that gradients are clipped to.
pub(super) fn clip_check(clip_norm: Option<f64>) -> Check {
    let clip = clip_norm.unwrap_or(1.0);
    ("clip_norm", clip, positive(clip), "a positive number")
}

/// An error that names the first number that is not right.
pub(super) fn check(operation: &'static str, checks: &[Check]) -> Result<()> {
    match checks.iter().find(|(_, _, right, _)| !right) {
        Some((name, value, _, expected)) => {
            Err(Error::invalid(operation, format!("{name} is out of range"))
                .expected(*expected)
                .got(value))
        }
        None => Ok(()),
    }
}

/// The part of an optimizer that changes.
#[derive(Debug, Clone)]
pub(super) struct Stepper {
    loss_scale: f64,
    memory: Memory,
}

/// What earlier steps left.
#[derive(Debug, Clone)]
enum Memory {
    Empty,
    /// What a record held, before the first step: dtypes and devices are those of whatever comes.
    Loaded(Vec<Place>, Snapshot),
    Stepped(Vec<Key>, OptimizerState),
}

impl Stepper {
    /// Before the first step.
    pub fn new() -> Self {
        Self {
            loss_scale: 1.0,
            memory: Memory::Empty,
        }
    }

    /// Divides the gradients of the steps that follow.
    pub fn set_loss_scale(&mut self, operation: &'static str, scale: f64) -> Result<()> {
        check_loss_scale(operation, scale)?;
        self.loss_scale = scale;
        Ok(())
    }

    /// What changes, by the names of parameters. `moments` are those of the rule.
    pub async fn state<M: Module>(
        &self,
        operation: &'static str,
        moments: &[&str],
        module: &M,
    ) -> Result<OptimizerRecord> {
        let (ids, snapshot): (Vec<(ParamId, Vec<usize>)>, _) = match &self.memory {
            Memory::Empty => (Vec::new(), Snapshot::default()),
            Memory::Loaded(places, snapshot) => {
                let ids = places.iter().map(|place| (place.id, place.shape.clone()));
                (ids.collect(), snapshot.clone())
            }
            Memory::Stepped(keys, state) => {
                let ids = keys.iter().map(|key| (key.id, key.shape.clone()));
                (ids.collect(), state.read().await?)
            }
        };
        let names = names(operation, module, &ids)?;
        Ok(OptimizerRecord::new(
            names,
            moments,
            snapshot,
            self.loss_scale,
        ))
    }

    /// Goes on from a record; an error changes nothing.
    pub fn load_state<M: Module>(
        &mut self,
        operation: &'static str,
        moments: &[&str],
        module: &M,
        record: OptimizerRecord,
    ) -> Result<()> {
        let loss_scale = record.summary.loss_scale;
        check_loss_scale(operation, loss_scale)?;
        let (places, snapshot) = record.fit(operation, moments, module)?;
        self.loss_scale = loss_scale;
        self.memory = if places.is_empty() {
            Memory::Empty
        } else {
            Memory::Loaded(places, snapshot)
        };
        Ok(())
    }

    /// Moves every parameter of `module` that has a gradient.
    pub fn step<R: Rule, M: Module>(
        &mut self,
        rule: &R,
        clip_norm: Option<f64>,
        module: M,
        gradients: GradientsParams,
    ) -> M {
        let mut found = Found {
            gradients,
            keys: Vec::new(),
            parameters: Vec::new(),
            trained: Vec::new(),
        };
        module.visit(&mut found);
        if found.keys.is_empty() {
            return module;
        }
        let state = match std::mem::replace(&mut self.memory, Memory::Empty) {
            Memory::Stepped(keys, state) if keys == found.keys => Some(state),
            Memory::Loaded(places, snapshot) if are_at(&found.keys, &places) => Some(
                OptimizerState::restore(snapshot, &found.parameters, &found.trained),
            ),
            _ => None,
        };
        let scaling = Scaling {
            clip_norm,
            loss_scale: self.loss_scale,
        };
        let (updated, state) = step(rule, scaling, state, found.parameters, found.trained);
        let ids = found.keys.iter().map(|key| key.id);
        let mut replace = Replace(ids.zip(updated).collect());
        self.memory = Memory::Stepped(found.keys, state);
        module.map(&mut replace)
    }

    /// Whether the last step was skipped, and how many were: `[2]`.
    pub fn skipped(&self) -> Option<Tensor<1>> {
        match &self.memory {
            Memory::Stepped(_, state) => Some(state.skipped()),
            _ => None,
        }
    }
}

fn check_loss_scale(operation: &'static str, scale: f64) -> Result<()> {
    let holds = |value: f64| (value as f32).is_normal() && value > 0.0;
    if holds(scale) && holds(1.0 / scale) {
        return Ok(());
    }
    Err(Error::invalid(operation, "the loss scale is out of range")
        .expected("a positive number")
        .got(scale))
}

/// What the state of one parameter belongs to.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    id: ParamId,
    shape: Vec<usize>,
    dtypes: [DType; 2],
    device: Device,
}

fn are_at(keys: &[Key], places: &[Place]) -> bool {
    let at = |(key, place): (&Key, &Place)| key.id == place.id && key.shape == place.shape;
    keys.len() == places.len() && keys.iter().zip(places).all(at)
}

/// Collects the parameters that have a gradient, flattened and not tracked.
struct Found {
    gradients: GradientsParams,
    keys: Vec<Key>,
    parameters: Vec<Tensor<1>>,
    trained: Vec<Tensor<1>>,
}

impl ModuleVisitor for Found {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
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
            dtypes: [parameter.dtype(), gradient.dtype()],
            device,
        });
        self.parameters.push(parameter.reshape([length]));
        self.trained.push(gradient.reshape([length]));
    }
}

struct Replace(HashMap<ParamId, Tensor<1>>);

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
