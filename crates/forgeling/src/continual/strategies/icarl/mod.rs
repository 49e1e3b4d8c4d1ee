//! Incremental classifier and representation learning.
//!
//! - [`Icarl`]: its loss, and what it does when contexts end.
//! - `herding`: which examples stand for their class.
//! - `means`: which class of those an example is nearest to.

mod herding;
mod means;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use self::herding::{herd, unit_mean};
use self::means::{Means, features};
use super::kept_network;
use super::replayed::{check_examples, first};
use crate::continual::head::images_of;
use crate::continual::{
    Context, ContinualBatch, Head, HeadKind, Policy, Scenario, Setting, SharedBuffer,
};
use crate::data::{Dataset, Split};
use crate::device::{Readback, TensorDevice};
use crate::error::{Error, Result};
use crate::nn::{Network, Normalization, Pass};
use crate::train::Batch;
use crate::train::parts::{
    LossTerm, Method, Needs, Part, Predictor, RunState, Sections, StepContext,
};

const OPERATION: &str = "icarl";
/// Examples of a pass without gradients.
const PASS: usize = 256;

/// How [`Icarl`] learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IcarlConfig {
    /// Examples of before at each step, or as many as there are. Default 128.
    pub examples: usize,
    /// T, what outputs of the former network are divided by. Default 2, as in van de Ven's benchmark; the paper has 1.
    pub temperature: f64,
}

impl Default for IcarlConfig {
    fn default() -> Self {
        Self {
            examples: 128,
            temperature: 2.0,
        }
    }
}

/// Incremental classifier and representation learning: part `icarl` of a run in the setting
/// [`Class`](crate::continual::Setting::Class). Rebuffi et al., "iCaRL: incremental classifier and representation learning",
/// CVPR 2017 (arXiv 1611.07725).
///
/// - *Loss*: the whole of it, so that the objective has
///   [`NewWeight::Zero`](crate::continual::NewWeight::Zero). The mean over examples, new ones and exemplars, of the sum over the
///   outputs that count of the binary cross entropy
///   `−t log σ(z) − (1 − t) log(1 − σ(z))`. The target `t` of a class of the context is 1 for the label and 0 otherwise; that
///   of an older class is `σ(z' / T)`, where `z'` is the output of the network as it was when the context before ended.
/// - *Exemplars*: when a context ends, examples of each of its classes go into the buffer one after the other, each time the
///   one with which the mean of features is nearest to that of the class (herding). Features have length 1, and so has the
///   mean of the class. They are what the network's last layer takes.
/// - *Answers*: the class whose exemplars' mean feature is nearest, of those that have some; as long as there is none, the
///   network's outputs.
///
/// Van de Ven trains on batches of the union of the context's examples and the exemplars. Here a step has a batch of each, and
/// the mean losses count as their sets are large, `n / (n + E) L_new + E / (n + E) L_old` with `n` examples and `E` exemplars,
/// which has the same expectation. The paper and Mammoth replace the targets of old classes in the same way, with T = 1;
/// Mammoth takes the mean over outputs and not the sum, and adds weight decay of its own.
///
/// The run has the head's [`progress`](Head::progress) as well. It keeps the former network beside the buffer. A step costs two passes forward without gradients more, and one forward and
/// backward on exemplars. When a context ends, all its examples go through the network once.
///
/// Exemplars go through the network again for the first answer after a step. Choosing them reads features from the device, for
/// which a page cannot wait where that is a GPU.
#[derive(Debug)]
pub struct Icarl {
    scenario: Scenario,
    head: Head,
    buffer: SharedBuffer,
    config: IcarlConfig,
    /// The network when the last context ended.
    previous: Option<Network>,
    /// Of the exemplars, as the network sees them now, once they were asked for.
    means: Mutex<Option<Means>>,
}

impl Icarl {
    /// For a run on this scenario that replays `buffer`.
    ///
    /// # Errors
    /// When the setting is another than Class, the head is neither [`HeadKind::All`] nor [`HeadKind::Growing`], the buffer
    /// has another policy than [`Policy::PerClassAtEnd`], no example is asked for, or the temperature is not positive.
    pub fn new(
        scenario: Scenario,
        head: Head,
        buffer: SharedBuffer,
        config: IcarlConfig,
    ) -> Result<Self> {
        let refuse = |message: &str, expected: &str, got: String| {
            Err(Error::invalid(OPERATION, message)
                .expected(expected)
                .got(got))
        };
        let setting = scenario.config().setting;
        if setting != Setting::Class {
            let message = "it tells the classes of all contexts apart";
            return refuse(message, "the setting Class", format!("{setting:?}"));
        }
        if !matches!(head.kind(), HeadKind::All | HeadKind::Growing) {
            let message = "its outputs are those of all contexts";
            return refuse(
                message,
                "a head of All or Growing",
                format!("{:?}", head.kind()),
            );
        }
        let policy = buffer.with(|buffer| buffer.config().policy);
        if policy != Policy::PerClassAtEnd {
            let message = "it chooses examples when contexts end";
            return refuse(message, "the policy PerClassAtEnd", format!("{policy:?}"));
        }
        check_examples(OPERATION, config.examples)?;
        if config.temperature.is_nan() || config.temperature <= 0.0 {
            let got = config.temperature.to_string();
            return refuse("the temperature is out of range", "a positive number", got);
        }
        Ok(Self {
            scenario,
            head,
            buffer,
            config,
            previous: None,
            means: Mutex::new(None),
        })
    }

    fn means(&self) -> MutexGuard<'_, Option<Means>> {
        self.means.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mean over examples of the sum of binary cross entropies. The first `old` outputs are of older classes.
    fn binary<'m>(
        &self,
        model: &'m Network,
        batch: &ContinualBatch,
        old: usize,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        let logits = self.head.logits(model, batch, pass)?;
        self.head.check_labels(batch, true)?;
        let outputs = self.head.active(None).end;
        let logits = logits.narrow(1, 0, outputs);
        let device = logits.device();
        let rows = batch.images.labels.len();
        let mut ones = vec![0.0f32; rows * outputs];
        for (row, label) in batch.images.labels.iter().enumerate() {
            ones[row * outputs + label] = 1.0;
        }
        let mut targets = Tensor::<2>::from_data(TensorData::new(ones, [rows, outputs]), &device);
        if let Some(previous) = self.previous.as_ref().filter(|_| old > 0) {
            let untracked = device.clone().inner();
            let mut before = Pass::new(Normalization::Running, &untracked);
            let answers = self.head.logits(previous, batch, &mut before)?;
            let soft = sigmoid(answers.narrow(1, 0, old) / self.config.temperature);
            let soft = match device.is_autodiff() {
                true => Tensor::from_inner(soft),
                false => soft,
            };
            targets = match old == outputs {
                true => soft,
                false => Tensor::cat(vec![soft, targets.narrow(1, old, outputs - old)], 1),
            };
        }
        // −t log σ(z) − (1 − t) log(1 − σ(z)), without an exponential that overflows.
        let losses =
            relu(logits.clone()) - logits.clone() * targets + logits.abs().neg().exp().log1p();
        Ok(losses.sum() / rows as f64)
    }

    /// The features of all examples of a class, row after row, with how many values a row has.
    fn class_features(
        &self,
        model: &Network,
        context: &Context,
        class: usize,
        device: &TensorDevice,
    ) -> Result<(Vec<f32>, usize)> {
        let shape = context.image_shape();
        let count = context.class_len(class);
        let (mut all, mut width) = (Vec::new(), 0);
        for start in (0..count).step_by(PASS) {
            let part = start..count.min(start + PASS);
            let mut images = vec![0.0; part.len() * shape.len()];
            for (example, image) in part.clone().zip(images.chunks_exact_mut(shape.len())) {
                context.read(class, example, image)?;
            }
            let dims = [part.len(), shape.channels, shape.height, shape.width];
            let mut pass = Pass::new(Normalization::Running, device);
            let found = features(model, TensorData::new(images, dims), &mut pass)?;
            width = found.dims()[1];
            all.extend(Readback::new().with(found).run_now()?.concat());
        }
        Ok((all, width))
    }
}

impl RunState for Icarl {
    fn save(&self, to: &mut Sections) -> Result<()> {
        kept_network::save(self.previous.as_ref(), to)
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        self.previous = kept_network::load(from, device)?;
        *self.means() = None;
        Ok(())
    }
}

impl Part<Network> for Icarl {
    fn name(&self) -> &'static str {
        "icarl"
    }

    fn needs(&self) -> Needs {
        Needs {
            task_boundaries: true,
            task_ids: false,
            replayed: self.config.examples,
        }
    }

    /// Chooses exemplars, and keeps the network.
    fn end_task(&mut self, task: usize, model: &Network) -> Result<()> {
        let model = model.valid();
        let context = self.scenario.context(Split::Train, task)?;
        let lens = (0..context.class_count()).map(|class| context.class_len(class));
        let lens: Vec<usize> = lens.collect();
        let room = self
            .buffer
            .with(|buffer| buffer.room(context.labels(), task, &lens))?;
        let mut chosen = Vec::with_capacity(room.len());
        if let Some(device) = model.devices().into_iter().next() {
            for (class, count) in room.into_iter().enumerate() {
                let (features, width) = self.class_features(&model, &context, class, &device)?;
                let mean = unit_mean(&features, width);
                chosen.push(herd(&features, width, &mean, count));
            }
        }
        self.buffer
            .with(|buffer| buffer.end_context_with(&context, context.labels(), task, &chosen))?;
        self.previous = Some(model);
        *self.means() = None;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let values = self.previous.as_ref().map_or(0, Module::num_params);
        values as u64 * 4
    }
}

impl LossTerm<Network, ContinualBatch> for Icarl {
    fn loss<'m>(
        &self,
        step: &StepContext<'_, ContinualBatch>,
        model: &'m Network,
        batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<1>> {
        *self.means() = None;
        let Some(task) = step.task else {
            return Err(
                Error::invalid(OPERATION, "it is not told which context it learns")
                    .expected("a stream with boundaries"),
            );
        };
        let context = self.scenario.context(Split::Train, task)?;
        let old = context.labels().start;
        let new = self.binary(model, batch, old, pass)?;
        let Some(exemplars) = first(step.replayed, self.config.examples) else {
            return Ok(new);
        };
        let count = self.buffer.with(|buffer| buffer.len());
        let all = (context.example_count() + count) as f64;
        let replayed = self.binary(model, &exemplars, old, pass)?;
        Ok(new * (context.example_count() as f64 / all) + replayed * (count as f64 / all))
    }
}

impl Predictor<Network, ContinualBatch> for Icarl {
    fn predict<'m>(
        &self,
        model: &'m Network,
        batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<2>> {
        let mut means = self.means();
        let means = match &mut *means {
            Some(means) => means,
            unknown => {
                let exemplars = self
                    .buffer
                    .with(|buffer| buffer.examples(0..buffer.len()))?;
                if exemplars.is_empty() {
                    let logits = self.head.logits(model, batch, pass)?;
                    return Ok(self.head.answers(logits, batch));
                }
                unknown.insert(Means::of(model, &exemplars, self.head.outputs(), pass)?)
            }
        };
        Ok(means.scores(features(model, images_of(batch), pass)?))
    }
}

impl Method<Network, ContinualBatch> for Icarl {
    fn term(&self) -> Option<&dyn LossTerm<Network, ContinualBatch>> {
        Some(self)
    }

    fn predictor(&self) -> Option<&dyn Predictor<Network, ContinualBatch>> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
