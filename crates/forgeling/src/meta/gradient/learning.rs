//! The tasks that a gradient learner has at hand.

use burn::tensor::{DType, Tensor};

use super::super::functional::{Loss, Program, Value, Weights};
use super::super::stack::{Row, Side, Stack};
use super::InnerConfig;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::Normalization;
use crate::ops::Statistics;

/// Support and queries of a stack of tasks, and the losses of a network with given parameters on them.
#[derive(Debug, Clone)]
pub struct Learning<'a> {
    stack: &'a Stack<'a>,
    program: Program,
    loss: Loss,
    support: Value,
    targets: Tensor<3>,
    query: Value,
    query_targets: Tensor<3>,
    /// What outputs the network has; tasks may have fewer.
    width: usize,
    mode: Mode,
    trained_transductively: bool,
}

/// How tasks are gone through.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// To learn from, after so many optimizer steps.
    Training(usize),
    /// To be answered, with queries normalized so.
    Answering(Normalization),
}

impl<'a> Learning<'a> {
    /// The tasks of a stack for a network of so many outputs, which is trained transductively or not.
    pub(super) fn new(
        stack: &'a Stack<'a>,
        program: Program,
        width: usize,
        mode: Mode,
        trained_transductively: bool,
        to: (&TensorDevice, DType),
    ) -> Result<Self> {
        if stack.outputs() > width {
            return Err(
                Error::invalid("adapt", "a task has more classes than the network")
                    .expected(format!("at most {width}"))
                    .got(stack.outputs()),
            );
        }
        let loss = if stack.is_classification() {
            Loss::CrossEntropy
        } else {
            Loss::MeanSquaredError
        };
        let sides = [Side::Support, Side::Query].map(|side| stack.examples(side));
        let [support, query] = sides
            .each_ref()
            .map(|rows| inputs(stack, &program, rows, to));
        let [targets, query_targets] = sides.map(|rows| stack.answers(&rows, to));
        Ok(Self {
            stack,
            program,
            loss,
            support,
            targets,
            query,
            query_targets,
            width,
            mode,
            trained_transductively,
        })
    }

    /// How many tasks.
    pub fn len(&self) -> usize {
        self.stack.len()
    }

    /// Never: there is at least one task.
    pub fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }

    /// The program whose parameters are adapted.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Optimizer steps so far; `None` outside of training.
    pub fn training(&self) -> Option<usize> {
        match self.mode {
            Mode::Training(steps) => Some(steps),
            Mode::Answering(_) => None,
        }
    }

    /// Whether queries are normalized with the statistics of all of a task's queries.
    pub fn is_transductive(&self) -> bool {
        match self.mode {
            Mode::Training(_) => self.trained_transductively,
            Mode::Answering(normalization) => normalization == Normalization::Batch,
        }
    }

    /// Whether they are in training.
    pub fn is_trained_transductively(&self) -> bool {
        self.trained_transductively
    }

    /// Over how many values a channel's statistics of a task's queries are taken in the first layer.
    pub(super) fn values_per_channel(&self) -> usize {
        let shape = self.stack.shape();
        self.stack.rows(Side::Query) * shape.height * shape.width
    }

    /// How many inner steps to take.
    pub fn steps(&self, inner: &InnerConfig) -> usize {
        match (self.training(), inner.test_steps) {
            (None, Some(steps)) => steps,
            _ => inner.steps,
        }
    }

    /// The support's loss `[tasks]` and its gradient, each task at its own parameters.
    ///
    /// # Errors
    /// When the parameters do not fit the network.
    pub fn gradient(&self, weights: &Weights) -> Result<(Tensor<1>, Weights)> {
        self.gradient_of(weights, self.support.clone(), &self.targets)
    }

    /// As [`gradient`](Self::gradient), of every `count`th example of the support and the queries, beginning with the
    /// one numbered `first`.
    ///
    /// # Errors
    /// When the parameters do not fit the network.
    pub(super) fn gradient_of_part(
        &self,
        weights: &Weights,
        first: usize,
        count: usize,
    ) -> Result<(Tensor<1>, Weights)> {
        let all = [Side::Support, Side::Query]
            .map(|side| self.stack.examples(side))
            .concat();
        let count = count.min(all.len());
        let rows: Vec<Row> = all.into_iter().skip(first % count).step_by(count).collect();
        let device = self.targets.device();
        let to = (&device, self.targets.dtype());
        let input = inputs(self.stack, &self.program, &rows, to);
        self.gradient_of(weights, input, &self.stack.answers(&rows, to))
    }

    fn gradient_of(
        &self,
        weights: &Weights,
        input: Value,
        targets: &Tensor<3>,
    ) -> Result<(Tensor<1>, Weights)> {
        let forward = self.program.forward(weights, input, None)?;
        let outputs = self.outputs(forward.output.clone())?;
        let loss = self.loss.value(outputs.clone(), targets.clone());
        let mut grad = self.loss.gradient(outputs, targets.clone());
        let [tasks, rows, used] = grad.dims();
        if used < self.width {
            let rest = [tasks, rows, self.width - used];
            let none = Tensor::zeros(rest, (&grad.device(), grad.dtype()));
            grad = Tensor::cat(vec![grad, none], 2);
        }
        let gradient = self
            .program
            .backward(weights, &forward, Value::Rows(grad))?;
        Ok((loss, gradient))
    }

    /// The answers to the queries, `[tasks, queries, outputs]`. Batch norm uses the statistics of a task's queries if
    /// that is allowed (*transductive*), otherwise those of its support, at the same parameters.
    ///
    /// # Errors
    /// When the parameters do not fit the network.
    pub fn answer(&self, weights: &Weights) -> Result<Tensor<3>> {
        let given = self.support_statistics(weights)?;
        self.answer_with(weights, given.as_deref())
    }

    /// As [`answer`](Self::answer), with these statistics in place of the queries' own. Also what batch norm used.
    pub(super) fn answer_with(
        &self,
        weights: &Weights,
        given: Option<&[Statistics]>,
    ) -> Result<Tensor<3>> {
        let forward = self.program.forward(weights, self.query.clone(), given)?;
        self.outputs(forward.output)
    }

    /// As [`answer`](Self::answer) with the queries' own statistics, and these.
    pub(super) fn answer_and_statistics(
        &self,
        weights: &Weights,
    ) -> Result<(Tensor<3>, Vec<Statistics>)> {
        let forward = self.program.forward(weights, self.query.clone(), None)?;
        Ok((self.outputs(forward.output)?, forward.statistics))
    }

    /// The statistics of the support, where the queries' own are not to be used.
    fn support_statistics(&self, weights: &Weights) -> Result<Option<Vec<Statistics>>> {
        if self.is_transductive() || self.program.norms().is_empty() {
            return Ok(None);
        }
        let forward = self.program.forward(weights, self.support.clone(), None)?;
        Ok(Some(forward.statistics))
    }

    /// The loss of answers to the queries, `[tasks]`.
    pub fn query_loss(&self, answers: Tensor<3>) -> Tensor<1> {
        self.loss.value(answers, self.query_targets.clone())
    }

    /// The answers to the queries, their loss `[tasks]` and its gradient, by autodiff: the values alone.
    ///
    /// # Errors
    /// When the parameters do not fit the network.
    pub(super) fn query_gradient(
        &self,
        weights: &Weights,
    ) -> Result<(Tensor<3>, Tensor<1>, Weights)> {
        let leaves = weights.leaves();
        let answers = self.answer(&leaves)?;
        let loss = self.query_loss(answers.clone());
        let gradients = loss.clone().sum().backward();
        Ok((
            answers.detach(),
            loss.detach(),
            leaves.gradients(&gradients),
        ))
    }

    /// The product of the Hessian of the support's loss with a vector, task by task.
    ///
    /// # Errors
    /// When the parameters do not fit the network.
    pub(super) fn hessian_product(&self, weights: &Weights, vector: &Weights) -> Result<Weights> {
        let leaves = weights.leaves();
        let (_, gradient) = self.gradient(&leaves)?;
        let along = gradient.dot(&vector.detach());
        let along = along.ok_or_else(|| Error::invalid("adapt", "the network has no parameter"))?;
        Ok(leaves.gradients(&along.sum().backward()))
    }

    /// The tasks as they look after the layers of `body` with the parameters `weights`, for the network that follows.
    ///
    /// # Errors
    /// When the parameters do not fit `body`.
    pub(super) fn behind(&self, body: &Program, weights: &Weights, rest: Program) -> Result<Self> {
        let support = body.forward(weights, self.support.clone(), None)?;
        let given = (!self.is_transductive()).then_some(&support.statistics[..]);
        let query = body.forward(weights, self.query.clone(), given)?;
        let tasks = self.len();
        Ok(Self {
            program: rest,
            support: Value::Rows(support.output.rows(tasks)?),
            query: Value::Rows(query.output.rows(tasks)?),
            ..self.clone()
        })
    }

    /// What the network takes, support and queries, `[tasks, rows, values]` each.
    pub(super) fn inputs(self) -> Result<[Tensor<3>; 2]> {
        let tasks = self.len();
        Ok([self.support.rows(tasks)?, self.query.rows(tasks)?])
    }

    /// The network's outputs of the classes that the tasks have.
    fn outputs(&self, output: Value) -> Result<Tensor<3>> {
        let outputs = output.rows(self.len())?;
        if outputs.dims()[2] == self.stack.outputs() {
            return Ok(outputs);
        }
        Ok(outputs.narrow(2, 0, self.stack.outputs()))
    }
}

fn inputs(stack: &Stack<'_>, program: &Program, rows: &[Row], to: (&TensorDevice, DType)) -> Value {
    if program.takes_maps() {
        Value::Maps(stack.maps(rows, to))
    } else {
        Value::Rows(stack.flat(rows, to))
    }
}
