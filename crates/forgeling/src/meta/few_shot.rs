//! What every few-shot method is: a network that answers queries by a support set.

use burn::tensor::{Tensor, TensorData};

use super::functional::Loss;
use super::{Side, Stack};
use crate::data::Task;
use crate::error::{Error, Result};
use crate::nn::{Normalization, Pass};
use crate::train::{Objective, Outcome, Predictions, Trainable};

/// A network that answers the queries of a task by what it sees in the task's support.
pub trait FewShot: Trainable {
    /// What training minimises: the mean loss over the tasks of a stack.
    ///
    /// # Errors
    /// When the tasks do not fit the network, and when an inner loop diverges.
    fn loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome>;

    /// What validation measures, in a pass with running statistics, without gradients: the mean loss over the tasks of a
    /// stack. By default [`loss`](Self::loss), for methods that are trained on what they are used for.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    fn held_out_loss<'a>(&'a self, stack: &Stack<'_>, pass: &mut Pass<'a>) -> Result<Outcome> {
        self.loss(stack, pass)
    }

    /// The answers to the queries, `[tasks, queries, outputs]` in f32: logits of the classes, or predicted numbers.
    ///
    /// With [`Normalization::Batch`] the queries of a task may see each other through batch norm (*transductive*);
    /// with [`Normalization::Running`] the answer to a query depends on the support and on this query alone.
    ///
    /// # Errors
    /// When the tasks do not fit the network, and when an inner loop diverges.
    fn predict(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<Tensor<3>>;

    /// How many tasks of a stack go through one computation best; they are dealt out to several where there are more.
    /// By default all.
    fn at_once(&self, stack: &Stack<'_>) -> usize {
        stack.len()
    }

    /// What the answers are made of: the features of support and queries, `[tasks, rows, features]` each. Of a network
    /// that adapts, what its last layer takes, at the adapted parameters. Normalization as in [`predict`](Self::predict).
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    fn features(&self, stack: &Stack<'_>, normalization: Normalization) -> Result<[Tensor<3>; 2]>;
}

/// The mean of a [`FewShot`] method's loss over tasks, each of which counts alike, whatever its size.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskLoss;

/// The same as [`TaskLoss`], with one computation for each task: slower, and what the other is compared with. Batch norm
/// of metric learners, which normalizes all images of a computation together, sees one task at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskByTaskLoss;

impl<M: FewShot> Objective<M> for TaskLoss {
    type Batch = Vec<Task>;

    fn forward<'a>(&self, model: &'a M, batch: &Vec<Task>, pass: &mut Pass<'a>) -> Result<Outcome> {
        let stacks = Stack::of(batch);
        let parts = stacks
            .iter()
            .flat_map(|stack| stack.parts(model.at_once(stack)));
        mean_loss(model, parts, batch.len(), pass)
    }
}

impl<M: FewShot> Objective<M> for TaskByTaskLoss {
    type Batch = Vec<Task>;

    fn forward<'a>(&self, model: &'a M, batch: &Vec<Task>, pass: &mut Pass<'a>) -> Result<Outcome> {
        let each = batch.iter().enumerate();
        let each = each.map(|(place, task)| Stack::one(task, place));
        mean_loss(model, each, batch.len(), pass)
    }
}

fn mean_loss<'a, 't, M: FewShot>(
    model: &'a M,
    stacks: impl Iterator<Item = Stack<'t>>,
    tasks: usize,
    pass: &mut Pass<'a>,
) -> Result<Outcome> {
    let mut sum: Option<Outcome> = None;
    for stack in stacks {
        let outcome = match pass.normalization() {
            Normalization::Batch => model.loss(&stack, pass)?,
            Normalization::Running => model.held_out_loss(&stack, pass)?,
        };
        let share = stack.len() as f64 / tasks as f64;
        // A product with 1 would be a launch for nothing.
        let loss = if stack.len() == tasks {
            outcome.loss
        } else {
            outcome.loss * share
        };
        sum = Some(match sum {
            None => Outcome { loss, ..outcome },
            Some(before) => Outcome {
                loss: before.loss + loss,
                predictions: before.predictions.zip(outcome.predictions).map(both),
            },
        });
    }
    sum.ok_or_else(|| Error::invalid("task_loss", "a step on no task"))
}

/// The loss of a model's answers as they are in use: cross entropy of classes, squared errors of numbers.
pub(super) fn answered<M: FewShot>(model: &M, stack: &Stack<'_>) -> Result<Outcome> {
    let answers = model.predict(stack, Normalization::Running)?;
    if stack.is_classification() {
        let labels = stack.classes(Side::Query);
        let logits = answers.reshape([labels.len(), stack.outputs()]);
        return Predictions::cross_entropy(logits, labels);
    }
    let targets = stack.target_tensor(Side::Query, &answers);
    Ok(Outcome {
        loss: Loss::MeanSquaredError.value(answers, targets).mean(),
        predictions: None,
    })
}

/// Predictions of tasks that may differ in their ways: classes that a task lacks are never the largest.
fn both((a, b): (Predictions, Predictions)) -> Predictions {
    let ways = a.logits.dims()[1].max(b.logits.dims()[1]);
    let wide = |logits: Tensor<2>| {
        let [rows, own] = logits.dims();
        if own == ways {
            return logits;
        }
        let none = TensorData::new(vec![f32::MIN; rows * (ways - own)], [rows, ways - own]);
        let none = Tensor::from_data(none, &logits.device());
        Tensor::cat(vec![logits, none], 1)
    };
    Predictions {
        logits: Tensor::cat(vec![wide(a.logits), wide(b.logits)], 0),
        labels: [a.labels, b.labels].concat(),
    }
}
