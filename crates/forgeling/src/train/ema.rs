//! A moving average of weights.

use std::collections::{BTreeSet, HashMap};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::moved::in_place_of;
use super::optimizer::{below_one, check};
use super::weights::{self, NamedTensor};
use crate::error::{Error, Result};

const OPERATION: &str = "ema";

/// The numbers of an [`Ema`] that stay the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaConfig {
    /// How much of the average is kept at each update. Default 0.999.
    pub decay: f64,
    /// Whether less is kept at first, so that the initial weights are forgotten soon. Default false.
    pub warm_up: bool,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self {
            decay: 0.999,
            warm_up: false,
        }
    }
}

impl EmaConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When the decay is not at least 0 and below 1, in f32 too.
    pub fn validate(&self) -> Result<()> {
        let right = below_one(self.decay);
        check(OPERATION, &[("decay", self.decay, right, "0 to below 1")])
    }

    /// What is kept at the update that comes after so many others.
    pub fn decay(&self, updates: u64) -> f64 {
        let t = updates as f64;
        if self.warm_up {
            self.decay.min((1.0 + t) / (10.0 + t))
        } else {
            self.decay
        }
    }
}

/// What of an [`Ema`] changes, for checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct EmaRecord {
    /// Updates so far.
    pub updates: u64,
    /// The average, by name.
    pub tensors: Vec<NamedTensor>,
}

/// An exponential moving average of a module's trained parameters, which often classifies better than the last ones:
///
/// `average = decay * average + (1 - decay) * weights`
///
/// after each optimizer step, beginning with the first weights; with [`warm_up`](EmaConfig::warm_up) the decay is
/// `min(decay, (1 + t) / (10 + t))`, where `t` are the updates before. Polyak and Juditsky, *Acceleration of Stochastic
/// Approximation by Averaging*, 1992; the warm-up is that of TensorFlow's `ExponentialMovingAverage`.
///
/// What is not trained, as the running statistics of batch norm, is copied: it is an average already. Everything stays
/// on its device: three operations for each parameter and update, and memory for one more model.
///
/// ```
/// use burn::tensor::Device;
/// use forgeling::nn::Network;
/// use forgeling::nn::zoo::MlpConfig;
/// use forgeling::train::{Ema, EmaConfig};
///
/// let model = Network::on(&MlpConfig::default().graph()?, 0, &Device::flex().autodiff());
/// let mut ema = Ema::new(EmaConfig::default(), &model)?;
/// // After each step:
/// ema.update(&model)?;
/// let average: &Network = ema.module();
/// # assert_eq!(average.graph().input().len(), 784);
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ema<M> {
    config: EmaConfig,
    updates: u64,
    average: M,
    trained: BTreeSet<String>,
}

impl<M: Module> Ema<M> {
    /// An average that is the module itself.
    ///
    /// # Errors
    /// When the decay is not valid, or nothing of the module is trained, as of one that is not on an autodiff device.
    pub fn new(config: EmaConfig, module: &M) -> Result<Self> {
        config.validate()?;
        let mut values = Values::default();
        module.visit(&mut values);
        if values.trained.is_empty() {
            return Err(
                Error::invalid(OPERATION, "the module has no trained parameter")
                    .expected("a module on an autodiff device"),
            );
        }
        Ok(Self {
            config,
            updates: 0,
            average: module.clone(),
            trained: values.trained,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &EmaConfig {
        &self.config
    }

    /// The average: a module with ids, devices and tracking of the one that it began with.
    pub fn module(&self) -> &M {
        &self.average
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Moves the average towards `module`.
    ///
    /// # Errors
    /// When the module has other parameters than the one that the average began with; nothing is changed then.
    pub fn update(&mut self, module: &M) -> Result<()> {
        let mut values = Values::default();
        module.visit(&mut values);
        let mut blend = Blend {
            path: Vec::new(),
            values: values.found,
            trained: &self.trained,
            decay: self.config.decay(self.updates),
            fits: true,
        };
        let average = self.average.clone().map(&mut blend);
        if !(blend.fits && blend.values.is_empty()) {
            return Err(Error::invalid(
                OPERATION,
                "the module is not like the one that the average began with",
            ));
        }
        self.average = average;
        self.updates += 1;
        Ok(())
    }

    /// What changes, for a checkpoint, read in one trip.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn state(&self) -> Result<EmaRecord> {
        Ok(EmaRecord {
            updates: self.updates,
            tensors: weights::collect(&self.average).await?,
        })
    }

    /// Goes on from a record, which may come from another device.
    ///
    /// # Errors
    /// As [`weights::load`]; nothing is changed then.
    pub fn load_state(&mut self, record: EmaRecord) -> Result<()> {
        self.average = weights::load(self.average.clone(), record.tensors)?;
        self.updates = record.updates;
        Ok(())
    }
}

/// The values of a module, flattened and not tracked, and the names of those that are trained.
#[derive(Default)]
struct Values {
    path: Vec<String>,
    found: HashMap<String, (Vec<usize>, Tensor<1>)>,
    trained: BTreeSet<String>,
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let value = param.val();
        if value.is_require_grad() {
            self.trained.insert(name.clone());
        }
        let shape = value.dims().to_vec();
        let length = shape.iter().product::<usize>();
        let value = value.without_autodiff().reshape([length]);
        self.found.insert(name, (shape, value));
    }
}

/// Moves an average.
struct Blend<'a> {
    path: Vec<String>,
    values: HashMap<String, (Vec<usize>, Tensor<1>)>,
    trained: &'a BTreeSet<String>,
    decay: f64,
    fits: bool,
}

impl ModuleMapper for Blend<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let (shape, value) = match self.values.remove(&name) {
            Some((shape, value)) if shape == param.val().dims() => (shape, value),
            _ => {
                self.fits = false;
                return param;
            }
        };
        let trained = self.trained.contains(&name);
        param.map(|old| {
            let mut new = value;
            if trained {
                let length = shape.iter().product::<usize>();
                let average = old.clone().without_autodiff().reshape([length]);
                new = average * self.decay + new * (1.0 - self.decay);
            }
            in_place_of(&old, new.reshape(old.dims()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decay_is_checked_and_warms_up() {
        for decay in [-0.1, 1.0, 1.0 - 1e-9, f64::NAN] {
            let config = EmaConfig {
                decay,
                ..Default::default()
            };
            let error = config.validate().unwrap_err();
            assert!(error.is_bad_input() && error.to_string().contains("decay"));
        }
        let warm = EmaConfig {
            decay: 0.5,
            warm_up: true,
        };
        let decays = [0, 2, 8, 9, u64::MAX].map(|updates| warm.decay(updates));
        assert_eq!(decays, [0.1, 0.25, 0.5, 0.5, 0.5]);
    }
}
