//! Learning without forgetting.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, softmax};
use serde::{Deserialize, Serialize};

use super::by_parameter::{ByParameter, each};
use super::{check_boundaries, check_config, check_number};
use crate::continual::{ContinualBatch, Head, Scenario, Setting};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::{Network, Normalization, Pass};
use crate::train::parts::{LossTerm, Method, Needs, Part, RunState, Sections, StepContext};

const OPERATION: &str = "lwf";

/// Which answers of before [`Lwf`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distilled {
    /// The answers to each context: the sum, over all contexts before, of the loss on the outputs that counted for them. In
    /// [`Setting::Task`] with a head for each context these are as many softmaxes; where the same outputs count for all
    /// contexts, as in [`Setting::Domain`], it is the loss on them, times the number of contexts before. In
    /// [`Setting::Class`] it is one loss: the old network's probabilities of the outputs that counted in the last context
    /// against the new one's of those that count now, so that those new since then are to have none. All as in van de Ven's
    /// repository. The default.
    #[default]
    PerContext,
    /// One softmax over the outputs of all labels of the contexts before, of both networks, as in Mammoth and, in networks
    /// with one head, Avalanche.
    Known,
}

/// The numbers of [`Lwf`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LwfConfig {
    /// `α`, how much old answers weigh. Default 1.
    pub alpha: f64,
    /// `T`, by which logits are divided. Default 2.
    pub temperature: f64,
    /// Which answers are kept. Default those to each context.
    pub distilled: Distilled,
}

impl Default for LwfConfig {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            temperature: 2.0,
            distilled: Distilled::PerContext,
        }
    }
}

impl LwfConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When `alpha` is negative or no number, or `temperature` is not above 0.
    pub fn validate(&self) -> Result<()> {
        let positive = self.alpha >= 0.0;
        check_number(OPERATION, "alpha", self.alpha, positive, "0 or more")?;
        let above = self.temperature as f32 > 0.0;
        check_number(OPERATION, "temperature", self.temperature, above, "above 0")
    }
}

/// Learning without forgetting: new examples are to be answered, as to what was learned before, as the network answered them
/// before. To the loss is added, averaged over the examples of a batch,
///
/// `α Σ −Σ_y p'(y|x) log p(y|x)` with `p = softmax(logits / T)` and `p'` likewise of the network at the end of the last
/// context
///
/// where the first sum and the outputs `y` follow from [`Distilled`]. It is not multiplied by `T²`. Li and Hoiem, *Learning
/// without forgetting*, ECCV 2016 (arXiv 1606.09282).
///
/// **Keeps** a copy of the network. **Costs** two forward passes more at each step, one of them without gradients, in f32 and
/// with running statistics, and a backward pass more; nothing when a context ends. What norms find in the second pass of the
/// network that is trained does not count again.
///
/// Published code differs in which outputs are compared: [`Distilled`]. The loss of the new labels has its full weight in
/// van de Ven's repository, Mammoth and Avalanche, and no `T²`. Mammoth has `α` 0.5 by default, and first trains only the new
/// outputs for as many epochs as follow, as the paper does, and here does not happen; it takes the old answers once, before
/// that, to images without augmentation.
#[derive(Debug, Clone)]
pub struct Lwf {
    config: LwfConfig,
    scenario: Scenario,
    head: Head,
    /// All values of the network at the end of the last context; empty before.
    before: ByParameter,
    /// The outputs that counted at the end of each context that has ended.
    counted: Vec<Range<usize>>,
}

impl Lwf {
    /// For a run on this scenario, before its first context.
    ///
    /// # Errors
    /// When a number is out of range, or the setting has no boundaries.
    pub fn new(config: LwfConfig, scenario: Scenario, head: Head) -> Result<Self> {
        config.validate()?;
        check_boundaries(OPERATION, &scenario)?;
        Ok(Self {
            config,
            scenario,
            head,
            before: ByParameter::default(),
            counted: Vec::new(),
        })
    }

    /// As configured.
    pub fn config(&self) -> &LwfConfig {
        &self.config
    }

    /// Which outputs of the old network are compared with which of the new one, and how much each comparison weighs.
    fn compared(&self, now: Option<usize>) -> Result<Vec<Compared>> {
        let whole = |outputs: Range<usize>| Compared {
            then: outputs.clone(),
            now: outputs,
            weight: 1.0,
        };
        let Some(last) = self.counted.last() else {
            return Ok(Vec::new());
        };
        if self.config.distilled == Distilled::Known {
            let labels = self.scenario.labels(self.counted.len() - 1)?;
            return Ok(vec![whole(0..labels.end)]);
        }
        if self.scenario.config().setting == Setting::Class {
            let (then, now) = (last.clone(), self.head.active(now));
            if then.start < now.start || then.end > now.end {
                let message = "outputs that counted before do not count any more";
                return Err(Error::invalid(OPERATION, message)
                    .expected(format!("all of {then:?}"))
                    .got(format!("{now:?}")));
            }
            let weight = 1.0;
            return Ok(vec![Compared { then, now, weight }]);
        }
        let mut compared: Vec<Compared> = Vec::new();
        for outputs in &self.counted {
            match compared.iter_mut().find(|other| other.then == *outputs) {
                Some(same) => same.weight += 1.0,
                None => compared.push(whole(outputs.clone())),
            }
        }
        Ok(compared)
    }

    /// The loss of one comparison, `[1]`.
    fn distil(&self, then: &Tensor<2>, now: &Tensor<2>, compared: Compared) -> Result<Tensor<1>> {
        let [rows, outputs] = now.dims();
        let Compared {
            then: old,
            now: new,
            weight,
        } = compared;
        if new.end > outputs || old.is_empty() {
            let message = "the network has not the outputs that the head counts";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("outputs {new:?}"))
                .got(format!("{outputs} outputs")));
        }
        let cooled = |logits: &Tensor<2>, outputs: &Range<usize>| {
            logits.clone().slice([0..rows, outputs.clone()]) / self.config.temperature
        };
        let target = softmax(cooled(then, &old), 1);
        let answer = log_softmax(cooled(now, &new), 1);
        let answer = answer.slice([0..rows, old.start - new.start..old.end - new.start]);
        let sum = (Tensor::from_inner(target) * answer).sum();
        Ok(sum * (-weight / rows as f64))
    }
}

/// Outputs of the old network, and of the new one those among which they are.
struct Compared {
    then: Range<usize>,
    now: Range<usize>,
    weight: f64,
}

impl RunState for Lwf {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("config", &self.config)?;
        to.set("counted", &self.counted)?;
        self.before.save("before", to)
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        check_config(OPERATION, &self.config, from)?;
        let counted: Vec<Range<usize>> = from.get("counted")?;
        let before = ByParameter::load("before", from, device)?;
        let (most, outputs) = (self.scenario.len(), self.head.outputs());
        let right = |range: &Range<usize>| !range.is_empty() && range.end <= outputs;
        let fits = counted.len() <= most && counted.iter().all(right);
        if !fits || counted.is_empty() != before.is_empty() {
            let message = "the contexts that have ended do not fit what was saved of them";
            return Err(Error::bad_data(OPERATION, message)
                .expected(format!(
                    "outputs below {outputs} of at most {most} contexts"
                ))
                .got(format!("{counted:?}")));
        }
        (self.counted, self.before) = (counted, before);
        Ok(())
    }
}

impl Part<Network> for Lwf {
    fn name(&self) -> &str {
        "lwf"
    }

    fn needs(&self) -> Needs {
        Needs::BOUNDARIES
    }

    fn end_task(&mut self, task: usize, model: &Network) -> Result<()> {
        if task != self.counted.len() || task >= self.scenario.len() {
            let message = "a context has ended that is not the next one";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{} of {}", self.counted.len(), self.scenario.len()))
                .got(task));
        }
        self.before = ByParameter::all(model);
        self.counted.push(self.head.active(Some(task)));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.before.bytes()
    }
}

impl LossTerm<Network, ContinualBatch> for Lwf {
    fn loss<'m>(
        &self,
        step: &StepContext<'_, ContinualBatch>,
        model: &'m Network,
        batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let mut device = None;
        each(model, None, |parameter| {
            device.get_or_insert_with(|| parameter.value.device());
        });
        let device = device.ok_or_else(|| Error::invalid(OPERATION, "a network without values"))?;
        if self.counted.is_empty() {
            return Ok(Tensor::zeros([1], &device));
        }
        let old = self.before.put_into(model.valid())?;
        let mut untracked = Pass::new(Normalization::Running, &device.inner());
        let then = self.head.logits(&old, batch, &mut untracked)?;
        // The objective has run the network on these examples already.
        let now = pass.uncounted(|pass| self.head.logits(model, batch, pass))?;
        let mut sum = None;
        for compared in self.compared(step.task)? {
            let loss = self.distil(&then, &now, compared)?;
            sum = Some(match sum.take() {
                Some(sum) => sum + loss,
                None => loss,
            });
        }
        let sum: Tensor<1> = sum.unwrap_or_else(|| Tensor::zeros([1], &now.device()));
        Ok(sum * self.config.alpha)
    }
}

impl Method<Network, ContinualBatch> for Lwf {
    fn term(&self) -> Option<&dyn LossTerm<Network, ContinualBatch>> {
        Some(self)
    }

    fn on_replica(&self) -> Option<Box<dyn Method<Network, ContinualBatch> + Send>> {
        Some(Box::new(Self {
            before: ByParameter::default(),
            counted: Vec::new(),
            ..self.clone()
        }))
    }
}
