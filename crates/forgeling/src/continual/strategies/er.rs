//! Experience replay.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::replayed::{check_examples, cross_entropy, first, nothing};
use crate::continual::loss::contexts_of;
use crate::continual::{ContinualBatch, Head};
use crate::device::TensorDevice;
use crate::error::Result;
use crate::nn::{Network, Pass};
use crate::train::Batch;
use crate::train::parts::{LossTerm, Method, Needs, Part, RunState, Sections, StepContext};

/// What examples of before count beside the `N` new ones of a step, of which the loss is `L_new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayWeight {
    /// Both are one batch: with `M` examples of before, `L = N / (N + M) L_new + M / (N + M) L_old`. Mammoth's ER. The part
    /// takes care of the weight of the objective.
    #[default]
    One,
    /// `(1 − 1/k) L_old`, where k is the number of contexts so far. Van de Ven's, beside
    /// [`NewWeight::ByContext`](crate::continual::NewWeight::ByContext), which is the `1/k L_new` of it.
    ByContext,
    /// `L_old`, beside all of `L_new`. That of ER-ACE.
    Added,
}

/// How [`Er`] replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErConfig {
    /// Examples of before at each step, or as many as there are.
    pub examples: usize,
    /// What they count.
    pub weight: ReplayWeight,
}

/// Experience replay: part `er` of a run, which adds the mean cross entropy on examples of before,
///
/// `L_old = −1/M sum_i log softmax(masked(z_i))[y_i]`,
///
/// weighted as [`ReplayWeight`] says, each over the outputs that the [`Head`] leaves for its context. Ratcliff, "Connectionist
/// models of recognition memory", Psychological Review, 1990; Chaudhry et al., "On tiny episodic memories in continual
/// learning", 2019 (arXiv 1902.10486).
///
/// It keeps nothing but the run's buffer. A step costs a forward and a backward pass on `M` examples more.
///
/// With [`NewMask::CurrentClasses`](crate::continual::NewMask::CurrentClasses) in the objective and
/// [`ReplayWeight::Added`] it is ER-ACE. Mammoth's ER-ACE replays from the second context on; this one as soon as there is
/// something, as Mammoth's with `task_free`. Van de Ven's replay in task-incremental learning draws as many examples of each
/// context and averages the contexts' means: where contexts are kept in equal numbers, that has the same expectation.
#[derive(Debug, Clone)]
pub struct Er {
    head: Head,
    config: ErConfig,
}

impl Er {
    /// For a network with this head.
    ///
    /// # Errors
    /// When no example is asked for.
    pub fn new(head: Head, config: ErConfig) -> Result<Self> {
        check_examples("er", config.examples)?;
        Ok(Self { head, config })
    }
}

impl RunState for Er {
    fn save(&self, _to: &mut Sections) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _from: &Sections, _device: &TensorDevice) -> Result<()> {
        Ok(())
    }
}

impl Part<Network> for Er {
    fn name(&self) -> &'static str {
        "er"
    }

    fn needs(&self) -> Needs {
        Needs {
            task_boundaries: self.config.weight == ReplayWeight::ByContext,
            task_ids: false,
            replayed: self.config.examples,
        }
    }
}

impl LossTerm<Network, ContinualBatch> for Er {
    fn loss<'m>(
        &self,
        step: &StepContext<'_, ContinualBatch>,
        model: &'m Network,
        batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let Some(old) = first(step.replayed, self.config.examples) else {
            return Ok(nothing(pass));
        };
        let weight = match self.config.weight {
            ReplayWeight::One => 1.0 - self.objective_weight(step),
            ReplayWeight::ByContext => {
                let contexts = contexts_of(batch).or(step.task.map(|task| task + 1));
                1.0 - 1.0 / contexts.unwrap_or(1) as f64
            }
            ReplayWeight::Added => 1.0,
        };
        if weight == 0.0 {
            return Ok(nothing(pass));
        }
        Ok(cross_entropy(&self.head, model, &old, pass)? * weight)
    }

    fn objective_weight(&self, step: &StepContext<'_, ContinualBatch>) -> f64 {
        let old = step.replayed.map_or(0, Batch::len);
        let old = old.min(self.config.examples);
        match self.config.weight {
            ReplayWeight::One if old > 0 => step.examples as f64 / (step.examples + old) as f64,
            _ => 1.0,
        }
    }
}

impl Method<Network, ContinualBatch> for Er {
    fn term(&self) -> Option<&dyn LossTerm<Network, ContinualBatch>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Network, ContinualBatch> + Send>> {
        Some(Box::new(self.clone()))
    }
}
