//! Memory aware synapses.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::by_parameter::ByParameter;
use super::importance::{Look, Of};
use super::penalty::Penalty;
use super::{check_boundaries, check_config, check_number};
use crate::continual::{ContinualBatch, Head, Scenario};
use crate::data::Rng;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::{Network, Pass};
use crate::train::parts::{LossTerm, Method, Needs, Part, RunState, Sections, StepContext};

const OPERATION: &str = "mas";
const MAS_STREAM: u64 = 9;

/// Of whose gradients [`Mas`] takes magnitudes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MasKind {
    /// Each example's, as the paper says. The default.
    #[default]
    Single,
    /// The mean gradient of each mini-batch, in which gradients of different signs cancel each other, as in the authors'
    /// code and Avalanche. Examples are shuffled, and the last batch, which may be smaller, counts as much as the others.
    Batched {
        /// Examples of a mini-batch.
        batch_size: usize,
    },
}

/// The numbers of [`Mas`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasConfig {
    /// `λ`, how strongly parameters are held.
    pub lambda: f64,
    /// Of whose gradients magnitudes are taken. Default single examples'.
    #[serde(default)]
    pub kind: MasKind,
    /// From what the order of the examples follows, for mini-batches. Default 0.
    #[serde(default)]
    pub seed: u64,
}

impl MasConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When `lambda` is negative or no number, or a mini-batch has no example.
    pub fn validate(&self) -> Result<()> {
        let positive = self.lambda >= 0.0;
        check_number(OPERATION, "lambda", self.lambda, positive, "0 or more")?;
        match self.kind {
            MasKind::Batched { batch_size: 0 } => {
                Err(Error::invalid(OPERATION, "a mini-batch has no example")
                    .expected("1 or more")
                    .got(0))
            }
            _ => Ok(()),
        }
    }
}

/// Memory aware synapses: a parameter is held the more firmly, the more the network's outputs change with it. To the loss is
/// added
///
/// `λ Σ_i Ω_i (θ_i − θ*_i)²`, where `Ω_i = Σ_j mean_x |∂ ‖f(x)‖² / ∂θ_i|`
///
/// over the contexts `j` that have ended, each with its examples `x`; `f` are the logits that count for them, and `θ*` the
/// weights at the end of the last context. Labels play no part. Aljundi et al., *Memory aware synapses: learning what (not) to
/// forget*, ECCV 2018 (arXiv 1711.09601).
///
/// **Keeps** two numbers for each parameter. **Costs** a few operations on each parameter at each step, and a look at all
/// examples when a context ends, by whole batches where the network consists of layers of neurons and activations, as
/// [`fisher_diagonal`](super::fisher_diagonal).
///
/// Published code differs: the authors' code and Avalanche take [`MasKind::Batched`]; the authors' divides by examples what
/// Avalanche divides by batches after taking the mean in each, which is the same for full batches. In the place of the sum
/// over contexts, Avalanche has a moving average, half of the old and half of the new.
#[derive(Debug, Clone)]
pub struct Mas {
    config: MasConfig,
    scenario: Scenario,
    head: Head,
    penalty: Penalty,
}

impl Mas {
    /// For a run on this scenario, before its first context.
    ///
    /// # Errors
    /// When a number is out of range, or the setting has no boundaries.
    pub fn new(config: MasConfig, scenario: Scenario, head: Head) -> Result<Self> {
        config.validate()?;
        check_boundaries(OPERATION, &scenario)?;
        Ok(Self {
            config,
            scenario,
            head,
            penalty: Penalty::default(),
        })
    }

    /// As configured.
    pub fn config(&self) -> &MasConfig {
        &self.config
    }

    /// `Ω`, how important each parameter is to the contexts so far; empty before the first has ended.
    pub fn importance(&self) -> &ByParameter {
        &self.penalty.importance
    }
}

/// `mean_x |∂ ‖f(x)‖² / ∂θ|`
pub(super) fn sensitivity(look: &Look<'_>, kind: MasKind, mut rng: Rng) -> Result<ByParameter> {
    let mut numbers: Vec<usize> = (0..look.count()).collect();
    let mut slopes = |logits: Tensor<2>, _: &ContinualBatch| Ok(vec![logits * 2.0]);
    match kind {
        MasKind::Single => look.single(&numbers, &mut slopes),
        MasKind::Batched { batch_size } => {
            rng.shuffle(&mut numbers);
            look.batched(&numbers, batch_size, &mut slopes)
        }
    }
}

impl RunState for Mas {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("config", &self.config)?;
        self.penalty.save(to)
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        check_config(OPERATION, &self.config, from)?;
        self.penalty = Penalty::load(from, device)?;
        Ok(())
    }
}

impl Part<Network> for Mas {
    fn name(&self) -> &str {
        "mas"
    }

    fn needs(&self) -> Needs {
        Needs::BOUNDARIES
    }

    fn end_task(&mut self, task: usize, model: &Network) -> Result<()> {
        let look = Look::new(model, &self.head, &self.scenario, task, Of::Magnitudes)?;
        let rng = Rng::new(self.config.seed).fork(MAS_STREAM);
        let more = sensitivity(&look, self.config.kind, rng.fork(task as u64))?;
        let before = std::mem::take(&mut self.penalty.importance);
        let values = ByParameter::trained(model);
        self.penalty.set(before.plus(more), values);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.penalty.bytes()
    }
}

impl LossTerm<Network, ContinualBatch> for Mas {
    fn loss<'m>(
        &self,
        _step: &StepContext<'_, ContinualBatch>,
        model: &'m Network,
        _batch: &ContinualBatch,
        _pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        self.penalty.loss(model, self.config.lambda)
    }
}

impl Method<Network, ContinualBatch> for Mas {
    fn term(&self) -> Option<&dyn LossTerm<Network, ContinualBatch>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Network, ContinualBatch> + Send>> {
        Some(Box::new(Self {
            penalty: Penalty::default(),
            ..self.clone()
        }))
    }
}
