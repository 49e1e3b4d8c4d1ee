//! A network with a method that adapts it.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use super::super::few_shot::{FewShot, answered};
use super::super::functional::{Program, Weights};
use super::super::stack::{Side, Stack};
use super::learning::Mode;
use super::{Adapted, GradientMethod, Learning};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::{Network, Normalization, Pass};
use crate::ops::is_cpu;
use crate::train::{Outcome, Predictions, Trainable};

/// Input values of one computation on the CPU, beyond which its caches lose more than fewer operations gain.
const VALUES_AT_ONCE: usize = 330 * 28 * 28;

/// A network that adapts to a task before it answers.
///
/// All tasks of a [`Stack`] adapt in one computation, with parameters side by side. Batch norm uses the statistics of
/// each task by itself, and nothing of a task is left behind in the network.
#[derive(Module, Debug)]
pub struct GradientLearner<G: Module + ModuleDisplay> {
    /// The initial parameters, which training learns.
    pub network: Network,
    /// How they adapt.
    pub method: G,
    #[module(skip)]
    transductive: bool,
}

impl<G: GradientMethod> GradientLearner<G> {
    /// A learner. `transductive` says whether, in training, batch norm normalizes the queries of a task with the
    /// statistics of all of them, as the papers do, or with those of the support.
    pub fn new(network: Network, method: G, transductive: bool) -> Self {
        Self {
            network,
            method,
            transductive,
        }
    }

    /// Adapts to the support of each task, as it is done in evaluation, and gives each task's parameters.
    ///
    /// # Errors
    /// When the tasks do not fit the network.
    pub fn adapt(&self, stack: &Stack<'_>) -> Result<Adapted> {
        let mode = Mode::Answering(Normalization::Running);
        let (tasks, initial) = self.learning(stack, mode)?;
        self.method.adapt(&tasks, &initial)
    }

    /// What parameters that [`adapt`](Self::adapt) gave for the same supports answer to the queries, `[tasks, queries,
    /// outputs]`: each query by itself, normalized as the support is.
    ///
    /// # Errors
    /// When the tasks do not fit the network or the parameters.
    pub fn answer(&self, stack: &Stack<'_>, adapted: &Adapted) -> Result<Tensor<3>> {
        let mode = Mode::Answering(Normalization::Running);
        let (tasks, _) = self.learning(stack, mode)?;
        self.method.answer(&tasks, adapted)
    }

    fn learning<'s>(&self, stack: &'s Stack<'s>, mode: Mode) -> Result<(Learning<'s>, Weights)> {
        let program = Program::new(self.network.graph())?;
        let parameters = program.parameters_of(&self.network)?;
        let (Some(width), Some(first)) = (program.width(), parameters.first()) else {
            return Err(Error::invalid("adapt", "the network has no last layer"));
        };
        let device: TensorDevice = first.device();
        let to = (&device, first.dtype());
        let tasks = Learning::new(stack, program, width, mode, self.transductive, to)?;
        Ok((tasks, Weights::shared(&parameters, stack.len())))
    }
}

/// Lets a pass that looks for the first value that is not finite see the inner losses.
fn watch(losses: &[Tensor<1>], stack: &Stack<'_>, pass: &mut Pass<'_>) {
    for (step, losses) in (1..).zip(losses) {
        for (index, place) in stack.places().iter().enumerate() {
            let task = place + 1;
            pass.watch(
                format_args!("the support's loss of task {task} before inner step {step}"),
                || losses.clone().narrow(0, index, 1),
            );
        }
    }
}

impl<G: GradientMethod> Trainable for GradientLearner<G> {}

impl<G: GradientMethod> FewShot for GradientLearner<G> {
    fn loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome> {
        let (tasks, initial) = self.learning(stack, Mode::Training(pass.step()))?;
        let meta = self.method.meta_loss(&tasks, &initial)?;
        watch(&meta.losses, stack, pass);
        for statistics in meta.statistics {
            pass.collect(statistics);
        }
        let labels = stack.classes(Side::Query);
        let predictions = stack.is_classification().then(|| Predictions {
            logits: meta
                .answers
                .reshape([labels.len(), stack.outputs()])
                .without_autodiff(),
            labels,
        });
        Ok(Outcome {
            loss: meta.loss.mean(),
            predictions,
        })
    }

    /// Of the answers: some methods' own loss is no number without its gradients.
    fn held_out_loss<'a>(&'a self, stack: &Stack<'_>, _pass: &mut Pass<'a>) -> Result<Outcome> {
        answered(self, stack)
    }

    fn at_once(&self, stack: &Stack<'_>) -> usize {
        let device = self.network.devices().into_iter().next();
        if !device.is_some_and(|device| is_cpu(&device)) {
            return stack.len();
        }
        let rows = stack.rows(Side::Support) + stack.rows(Side::Query);
        (VALUES_AT_ONCE / (rows * stack.shape().len()).max(1)).max(1)
    }

    fn predict(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<Tensor<3>> {
        let (tasks, initial) = self.learning(stack, Mode::Answering(normalization))?;
        let adapted = self.method.adapt(&tasks, &initial)?;
        self.method.answer(&tasks, &adapted)
    }

    fn features(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<[Tensor<3>; 2]> {
        let (tasks, initial) = self.learning(stack, Mode::Answering(normalization))?;
        let adapted = self.method.adapt(&tasks, &initial)?;
        let (body, head) = tasks.program().split_head()?;
        tasks.behind(&body, &adapted.weights, head)?.inputs()
    }
}
