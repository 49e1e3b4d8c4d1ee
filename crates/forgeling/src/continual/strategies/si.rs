//! Synaptic intelligence.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::by_parameter::ByParameter;
use super::penalty::Penalty;
use super::{check_boundaries, check_config, check_number};
use crate::continual::{ContinualBatch, Scenario};
use crate::device::TensorDevice;
use crate::error::Result;
use crate::nn::{Network, Pass};
use crate::train::AnyOptimizer;
use crate::train::parts::{
    AfterStep, LossTerm, Method, Needs, Part, RunState, Sections, StepContext, Taken,
};

const OPERATION: &str = "si";

/// Whose gradient [`Si`] follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathIntegral {
    /// That of everything that is minimised, SI's own penalty included, as in van de Ven's repository and Avalanche. The
    /// default.
    #[default]
    WithPenalty,
    /// That without SI's penalty, as in the paper, Zenke's code and Mammoth.
    WithoutPenalty,
}

/// The numbers of [`Si`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiConfig {
    /// `c`, how strongly parameters are held.
    pub c: f64,
    /// `ξ`, which bounds the importance of parameters that hardly moved. Default 0.1.
    #[serde(default = "default_xi")]
    pub xi: f64,
    /// Whose gradient is followed. Default with the penalty.
    #[serde(default)]
    pub path: PathIntegral,
}

fn default_xi() -> f64 {
    0.1
}

impl SiConfig {
    /// With the defaults.
    pub fn new(c: f64) -> Self {
        Self {
            c,
            xi: default_xi(),
            path: PathIntegral::default(),
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When `c` is negative or no number, or `xi` is not above 0.
    pub fn validate(&self) -> Result<()> {
        check_number(OPERATION, "c", self.c, self.c >= 0.0, "0 or more")?;
        let above = self.xi as f32 > 0.0;
        check_number(OPERATION, "xi", self.xi, above, "above 0")
    }
}

/// Synaptic intelligence: a parameter is held the more firmly, the more it did for the fall of the loss in earlier contexts,
/// and the less it moved for that. To the loss is added
///
/// `c Σ_i Ω_i (θ_i − θ*_i)²`, where `Ω_i = Σ_j ω_ji / (Δ_ji² + ξ)`
///
/// over the contexts `j` that have ended; `θ*` are the weights at the end of the last one, `Δ_j` is how far they came from
/// the beginning of context `j` to its end, and `ω_j = −Σ_t g_t (θ_{t+1} − θ_t)`, over its steps, how much of the loss each
/// of them took away to first order. `g` is the gradient that the optimizer had, before it is clipped; what a gradient rule
/// made of it, if there is one. Zenke, Poole and Ganguli, *Continual learning through synaptic intelligence*, ICML 2017
/// (arXiv 1703.04200).
///
/// **Keeps** three numbers for each parameter. **Costs** some operations on each parameter at each step, for the penalty and
/// for the integral, and memory for a copy of the gradients; nothing when a context ends.
///
/// Published code differs: whether `g` has the penalty's gradient is [`PathIntegral`]. An `Ω` below 0, of a parameter whose
/// steps made the loss larger, stays as it is here, in van de Ven's repository and in Mammoth; Zenke's code replaces it by
/// 0. Mammoth also clips each number of the gradient to ±1 before the step, of which `g` there knows nothing, and has `ξ` 0.9
/// on Split-MNIST and 1 elsewhere; Avalanche has `c/2` in the place of `c`, `ξ` 1e-7, and no `Ω` above 0.001.
#[derive(Debug, Clone)]
pub struct Si {
    config: SiConfig,
    /// Its centre are the weights at the beginning of the context, also of the first.
    penalty: Penalty,
    /// `ω` of the context so far.
    integral: ByParameter,
}

impl Si {
    /// For a run on this scenario, before its first context.
    ///
    /// # Errors
    /// When a number is out of range, or the setting has no boundaries.
    pub fn new(config: SiConfig, scenario: &Scenario) -> Result<Self> {
        check_boundaries(OPERATION, scenario)?;
        Self::of_tasks(config)
    }

    /// For tasks of which a run is told, of whatever scenario.
    pub(in crate::continual) fn of_tasks(config: SiConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self::fresh(config))
    }

    fn fresh(config: SiConfig) -> Self {
        Self {
            config,
            penalty: Penalty::default(),
            integral: ByParameter::default(),
        }
    }

    /// As configured.
    pub fn config(&self) -> &SiConfig {
        &self.config
    }

    /// `Ω`, how important each parameter is to the contexts so far; empty before the first has ended.
    pub fn importance(&self) -> &ByParameter {
        &self.penalty.importance
    }

    /// `ω`, what each parameter has taken from the loss since the beginning of the context.
    pub fn integral(&self) -> &ByParameter {
        &self.integral
    }
}

impl RunState for Si {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("config", &self.config)?;
        self.penalty.save(to)?;
        self.integral.save("integral", to)
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        check_config(OPERATION, &self.config, from)?;
        let penalty = Penalty::load(from, device)?;
        self.integral = ByParameter::load("integral", from, device)?;
        self.penalty = penalty;
        Ok(())
    }
}

impl Part<Network> for Si {
    fn name(&self) -> &str {
        "si"
    }

    fn needs(&self) -> Needs {
        Needs::BOUNDARIES
    }

    fn begin_task(&mut self, _task: usize, model: &Network) -> Result<()> {
        if self.penalty.centre.is_empty() {
            self.penalty.centre = ByParameter::trained(model);
        }
        Ok(())
    }

    fn end_task(&mut self, _task: usize, model: &Network) -> Result<()> {
        let values = ByParameter::trained(model);
        let before = std::mem::take(&mut self.penalty);
        let integral = std::mem::take(&mut self.integral);
        let more = integral.map(|name, integral| {
            let moved = match (values.get(name), before.centre.get(name)) {
                (Some(now), Some(then)) => now.clone() - then.clone(),
                _ => integral.zeros_like(),
            };
            integral / (moved.square() + self.config.xi)
        });
        self.penalty.set(before.importance.plus(more), values);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        // Between contexts there is no integral; in them it is as large as the centre.
        let integral = self.integral.bytes().max(self.penalty.centre.bytes());
        self.penalty.bytes() + integral
    }
}

impl LossTerm<Network, ContinualBatch> for Si {
    fn loss<'m>(
        &self,
        _step: &StepContext<'_, ContinualBatch>,
        model: &'m Network,
        _batch: &ContinualBatch,
        _pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        self.penalty.loss(model, self.config.c)
    }
}

impl AfterStep<Network, ContinualBatch> for Si {
    fn after(
        &mut self,
        _step: &StepContext<'_, ContinualBatch>,
        taken: &Taken<'_, Network>,
        model: &mut Network,
        _optimizer: &mut AnyOptimizer,
    ) -> Result<()> {
        let (before, now) = (
            ByParameter::trained(taken.before),
            ByParameter::trained(model),
        );
        let own = match self.config.path {
            PathIntegral::WithPenalty => ByParameter::default(),
            PathIntegral::WithoutPenalty => self.penalty.gradient(taken.before),
        };
        let gradients = ByParameter::gradients(taken.before, taken.gradients);
        for (name, gradient) in gradients.iter() {
            let (Some(then), Some(now)) = (before.get(name), now.get(name)) else {
                continue;
            };
            let gradient = match own.get(name) {
                Some(own) => gradient.clone() - own.clone() * self.config.c,
                None => gradient.clone(),
            };
            let taken = gradient * (then.clone() - now.clone());
            self.integral.add(name, taken);
        }
        Ok(())
    }
}

impl Method<Network, ContinualBatch> for Si {
    fn term(&self) -> Option<&dyn LossTerm<Network, ContinualBatch>> {
        Some(self)
    }

    fn after_step(&mut self) -> Option<&mut dyn AfterStep<Network, ContinualBatch>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Network, ContinualBatch> + Send>> {
        Some(Box::new(Self::fresh(self.config)))
    }
}
