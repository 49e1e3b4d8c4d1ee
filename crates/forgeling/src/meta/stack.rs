//! Tasks of equal sizes, side by side.

use burn::tensor::{DType, Tensor, TensorData};

use crate::data::{Examples, ImageShape, Targets, Task};
use crate::device::TensorDevice;
use crate::nn::Pass;
use crate::ops::EpisodeCounts;

/// Tasks with the same numbers of classes, of support examples and of queries: they go through a network together.
#[derive(Debug, Clone)]
pub struct Stack<'a> {
    tasks: Vec<&'a Task>,
    /// Where each was among those that were dealt out.
    places: Vec<usize>,
}

/// One side of every task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What to learn from.
    Support,
    /// What to answer.
    Query,
}

/// The place of an example in each task.
pub(super) type Row = (Side, usize);

fn input(task: &Task, (side, row): Row) -> &[f32] {
    let examples = match side {
        Side::Support => task.support(),
        Side::Query => task.query(),
    };
    let length = task.shape().len();
    &examples.inputs[row * length..(row + 1) * length]
}

impl<'a> Stack<'a> {
    /// Deals tasks out to as few stacks as their sizes allow, each in the order given.
    pub fn of(tasks: &'a [Task]) -> Vec<Self> {
        let mut stacks: Vec<Self> = Vec::new();
        for (place, task) in tasks.iter().enumerate() {
            match stacks.iter_mut().find(|stack| stack.takes(task)) {
                Some(stack) => {
                    stack.tasks.push(task);
                    stack.places.push(place);
                }
                None => stacks.push(Self::one(task, place)),
            }
        }
        stacks
    }

    /// Stacks of at most so many of the tasks, as even as can be.
    pub fn parts(&self, most: usize) -> Vec<Self> {
        let parts = self.len().div_ceil(most.max(1)).max(1);
        let each = self.len().div_ceil(parts).max(1);
        let pairs = self.tasks.chunks(each).zip(self.places.chunks(each));
        let part = |(tasks, places): (&[&'a Task], &[usize])| Self {
            tasks: tasks.to_vec(),
            places: places.to_vec(),
        };
        pairs.map(part).collect()
    }

    /// One task by itself, with its place among others.
    pub fn one(task: &'a Task, place: usize) -> Self {
        Self {
            tasks: vec![task],
            places: vec![place],
        }
    }

    /// Each task by itself.
    pub fn each(&self) -> impl Iterator<Item = Self> + '_ {
        let pairs = self.tasks.iter().zip(&self.places);
        pairs.map(|(task, &place)| Self::one(task, place))
    }

    /// Where each task was among those that were dealt out.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    fn takes(&self, task: &Task) -> bool {
        let first = self.tasks[0];
        let sizes = |task: &Task| {
            let shape = task.shape();
            let sides = [task.support(), task.query()];
            (shape, task.outputs(), sides.map(|side| side.len(shape)))
        };
        let classes = |task: &Task| task.query().classes().is_some();
        sizes(first) == sizes(task) && classes(first) == classes(task)
    }

    /// The tasks.
    pub fn tasks(&self) -> &[&'a Task] {
        &self.tasks
    }

    /// How many tasks.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Never: a stack has at least one task.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Classes of each task, or numbers to predict.
    pub fn outputs(&self) -> usize {
        self.tasks[0].outputs()
    }

    /// The shape of each input.
    pub fn shape(&self) -> ImageShape {
        self.tasks[0].shape()
    }

    /// Examples on one side of each task.
    pub fn rows(&self, side: Side) -> usize {
        self.side(side)
            .next()
            .map_or(0, |side| side.len(self.shape()))
    }

    /// How many of each the tasks have, where each task has as many examples of each class, which lie class after class.
    pub fn counts(&self) -> Option<EpisodeCounts> {
        let ways = self.outputs();
        let each = |side: Side| {
            let rows = self.rows(side);
            let per_class = rows / ways;
            let in_order = |examples: &Examples| {
                let classes = examples.classes()?.iter().enumerate();
                let mut places = classes
                    .map(|(row, &class)| class * per_class <= row && row < (class + 1) * per_class);
                Some(places.all(|right| right))
            };
            let equal = per_class * ways == rows
                && self.side(side).all(|side| in_order(side) == Some(true));
            equal.then_some(per_class)
        };
        Some(EpisodeCounts {
            episodes: self.len(),
            ways,
            shots: each(Side::Support)?,
            queries: each(Side::Query)?,
        })
    }

    /// Whether classes are told apart; otherwise numbers are predicted.
    pub fn is_classification(&self) -> bool {
        self.tasks[0].query().classes().is_some()
    }

    /// The inputs of one side, task after task, `[tasks * rows, channels, height, width]`, in the pass's dtype.
    pub fn images(&self, sides: &[Side], pass: &Pass<'_>) -> Tensor<4> {
        let inputs = sides.iter().flat_map(|&side| self.side(side));
        let values: Vec<f32> = inputs
            .flat_map(|side| side.inputs.iter().copied())
            .collect();
        let shape = self.shape();
        let count = values.len() / shape.len();
        let dims = [count, shape.channels, shape.height, shape.width];
        pass.values(TensorData::new(values, dims))
    }

    /// Some inputs of every task with the channels of all tasks side by side, `[rows, tasks * channels, height, width]`.
    pub(super) fn maps(&self, rows: &[Row], to: (&TensorDevice, DType)) -> Tensor<4> {
        let shape = self.shape();
        let mut values: Vec<f32> = Vec::with_capacity(rows.len() * self.len() * shape.len());
        for &row in rows {
            self.tasks
                .iter()
                .for_each(|task| values.extend(input(task, row)));
        }
        let channels = self.len() * shape.channels;
        let dims = [rows.len(), channels, shape.height, shape.width];
        Tensor::from_data(TensorData::new(values, dims), to)
    }

    /// Some inputs of every task, flat, `[tasks, rows, values]`.
    pub(super) fn flat(&self, rows: &[Row], to: (&TensorDevice, DType)) -> Tensor<3> {
        let length = self.shape().len();
        let mut values: Vec<f32> = Vec::with_capacity(rows.len() * self.len() * length);
        for task in &self.tasks {
            rows.iter().for_each(|&row| values.extend(input(task, row)));
        }
        let dims = [self.len(), rows.len(), length];
        Tensor::from_data(TensorData::new(values, dims), to)
    }

    /// What the outputs for some inputs should be, `[tasks, rows, outputs]`; see [`targets`](Self::targets).
    pub(super) fn answers(&self, rows: &[Row], to: (&TensorDevice, DType)) -> Tensor<3> {
        let outputs = self.outputs();
        let sides = [Side::Support, Side::Query].map(|side| self.targets(side));
        let mut values: Vec<f32> = Vec::with_capacity(rows.len() * self.len() * outputs);
        for task in 0..self.len() {
            for &(side, row) in rows {
                let place = (task * self.rows(side) + row) * outputs;
                values.extend(&sides[side as usize][place..place + outputs]);
            }
        }
        let dims = [self.len(), rows.len(), outputs];
        Tensor::from_data(TensorData::new(values, dims), to)
    }

    /// The places of all examples of one side.
    pub(super) fn examples(&self, side: Side) -> Vec<Row> {
        (0..self.rows(side)).map(|row| (side, row)).collect()
    }

    /// The class of each example of one side, task after task; empty where numbers are predicted.
    pub fn classes(&self, side: Side) -> Vec<usize> {
        let classes = self.side(side).filter_map(Examples::classes);
        classes.flatten().copied().collect()
    }

    /// What the outputs should be, `[tasks * rows * outputs]`: 1 for an example's class and 0 for the others, or the
    /// numbers to predict.
    pub fn targets(&self, side: Side) -> Vec<f32> {
        let outputs = self.outputs();
        let mut values: Vec<f32> = Vec::with_capacity(self.len() * self.rows(side) * outputs);
        for examples in self.side(side) {
            match &examples.targets {
                Targets::Values(targets) => values.extend(targets),
                Targets::Classes(classes) => {
                    for class in classes {
                        let onehot = (0..outputs).map(|output| output == *class);
                        values.extend(onehot.map(|is| f32::from(u8::from(is))));
                    }
                }
            }
        }
        values
    }

    /// As [`targets`](Self::targets), `[tasks, rows, outputs]` on the device of a tensor.
    pub fn target_tensor<const D: usize>(&self, side: Side, beside: &Tensor<D>) -> Tensor<3> {
        let dims = [self.len(), self.rows(side), self.outputs()];
        let values = TensorData::new(self.targets(side), dims);
        Tensor::from_data(values, (&beside.device(), beside.dtype()))
    }

    fn side(&self, side: Side) -> impl Iterator<Item = &'a Examples> + '_ {
        self.tasks.iter().map(move |task| match side {
            Side::Support => task.support(),
            Side::Query => task.query(),
        })
    }
}
