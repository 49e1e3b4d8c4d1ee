//! Elastic weight consolidation.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::by_parameter::ByParameter;
use super::fisher::{FisherKind, fisher_diagonal};
use super::penalty::Penalty;
use super::{check_boundaries, check_config, check_number};
use crate::continual::{ContinualBatch, Head, Scenario};
use crate::device::TensorDevice;
use crate::error::Result;
use crate::nn::{Network, Pass};
use crate::train::parts::{LossTerm, Method, Needs, Part, RunState, Sections, StepContext};

const OPERATION: &str = "ewc";

/// The numbers of [`Ewc`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EwcConfig {
    /// `λ`, how strongly parameters are held.
    pub lambda: f64,
    /// How their importance is computed. Default exact.
    #[serde(default)]
    pub fisher: FisherKind,
    /// `γ`, how much of the importance is kept from context to context, for online EWC with a single penalty; `None`
    /// (default) for a penalty of each context.
    #[serde(default)]
    pub online: Option<f64>,
    /// From what that is drawn follows, for [`FisherKind`]s that draw. Default 0.
    #[serde(default)]
    pub seed: u64,
}

impl EwcConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When `lambda` is negative or no number, `online` is not between 0 and 1, or the Fisher information is of no example.
    pub fn validate(&self) -> Result<()> {
        let positive = self.lambda >= 0.0;
        check_number(OPERATION, "lambda", self.lambda, positive, "0 or more")?;
        if let Some(gamma) = self.online {
            let right = (0.0..=1.0).contains(&gamma);
            check_number(OPERATION, "online", gamma, right, "0 to 1")?;
        }
        self.fisher.validate()
    }
}

/// Elastic weight consolidation: a parameter is held the more firmly, the more Fisher's information `F` says that earlier
/// contexts depend on it. To the loss in context `k` is added
///
/// `λ/2 Σ_{j<k} Σ_i F_ji (θ_i − θ*_ji)²`
///
/// where `θ*_j` are the weights and `F_j` is the [diagonal](fisher_diagonal) at the end of context `j`. Kirkpatrick et al.,
/// *Overcoming catastrophic forgetting in neural networks*, PNAS 2017 (arXiv 1612.00796); that all contexts have a penalty of
/// their own is said in Huszár's note and its reply (PNAS 2018).
///
/// With [`online`](EwcConfig::online) there is one penalty about the last weights: `λ/2 Σ_i γ F̃_i (θ_i − θ*_i)²`, where
/// `F̃ = γ F̃ + F_j` after each context. Schwarz et al., *Progress & compress*, ICML 2018 (arXiv 1805.06370).
///
/// **Keeps** two numbers for each parameter, however many contexts there were: the penalties of all contexts are one about
/// the mean of their weights, and a constant, without anything being lost. Others keep two for each context. **Costs** a few
/// operations on each parameter at each step, and a look at all examples when a context ends.
///
/// Published code differs: van de Ven's repository has these formulas, by default the first with `γ` = 1 in the second;
/// Avalanche leaves the ½ out, and `γ` of the penalty; Mammoth's `ewc_on` leaves the ½ out, too, so that its `λ` is half of
/// this one, and is online EWC with `γ` = 1 in all its settings. What they take for `F`: [`FisherKind`].
#[derive(Debug, Clone)]
pub struct Ewc {
    config: EwcConfig,
    scenario: Scenario,
    head: Head,
    penalty: Penalty,
}

impl Ewc {
    /// For a run on this scenario, before its first context.
    ///
    /// # Errors
    /// When a number is out of range, or the setting has no boundaries.
    pub fn new(config: EwcConfig, scenario: Scenario, head: Head) -> Result<Self> {
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
    pub fn config(&self) -> &EwcConfig {
        &self.config
    }

    /// How important each parameter is to the contexts so far, `Σ_j F_j` or `F̃`; empty before the first has ended.
    pub fn importance(&self) -> &ByParameter {
        &self.penalty.importance
    }
}

impl RunState for Ewc {
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

impl Part<Network> for Ewc {
    fn name(&self) -> &str {
        "ewc"
    }

    fn needs(&self) -> Needs {
        Needs::BOUNDARIES
    }

    fn end_task(&mut self, task: usize, model: &Network) -> Result<()> {
        let EwcConfig { fisher, seed, .. } = self.config;
        let fisher = fisher_diagonal(model, &self.head, &self.scenario, task, fisher, seed)?;
        let values = ByParameter::trained(model);
        match self.config.online {
            None => self.penalty.add(&fisher, &values),
            Some(gamma) => {
                let before = std::mem::take(&mut self.penalty.importance);
                let importance = before.map(|_, old| old * gamma).plus(fisher);
                self.penalty.set(importance, values);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.penalty.bytes()
    }
}

impl LossTerm<Network, ContinualBatch> for Ewc {
    fn loss<'m>(
        &self,
        _step: &StepContext<'_, ContinualBatch>,
        model: &'m Network,
        _batch: &ContinualBatch,
        _pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let gamma = self.config.online.unwrap_or(1.0);
        self.penalty.loss(model, self.config.lambda / 2.0 * gamma)
    }
}

impl Method<Network, ContinualBatch> for Ewc {
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
