//! One task: a few examples with their answers to learn from, and queries to answer.

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::episode::{EpisodeBatch, EpisodePlan, room};
use super::standardize::Standardization;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const OPERATION: &str = "make_task";

/// The right answers of some examples.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The class of each example, counted from 0 within the task.
    Classes(Vec<usize>),
    /// Numbers to predict, `[example, output]`.
    Values(Vec<f32>),
}

/// Inputs with their right answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// `[example, channel, row, column]`
    pub inputs: Vec<f32>,
    /// One for each example.
    pub targets: Targets,
}

/// Which classes and examples of a set make up a task. Classes may have different numbers of examples.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// The set's classes, no class twice.
    pub classes: Vec<usize>,
    /// The examples to learn from, one list for each class.
    pub support: Vec<Vec<usize>>,
    /// The examples to classify, one list for each class; a list may be empty.
    pub query: Vec<Vec<usize>>,
}

/// A task that is whole: both sides have examples, every class is among the support, and every number is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    shape: ImageShape,
    outputs: usize,
    support: Examples,
    query: Examples,
    plan: Option<TaskPlan>,
}

impl Task {
    /// A task of inputs of a shape. `outputs` is the number of classes, or of the numbers to predict for an example.
    ///
    /// # Errors
    /// When a side has no example or not one answer for each, when a class has no example to learn from or does not
    /// exist, and when a number is not finite.
    pub fn new(
        shape: ImageShape,
        outputs: usize,
        support: Examples,
        query: Examples,
    ) -> Result<Self> {
        if outputs == 0 {
            return Err(
                Error::invalid(OPERATION, "nothing to tell apart or to predict")
                    .expected("at least 1 output"),
            );
        }
        for (side, examples) in [("support", &support), ("query", &query)] {
            check(side, shape, outputs, examples)?;
        }
        if let Targets::Classes(classes) = &support.targets {
            let without = (0..outputs).find(|class| !classes.contains(class));
            if let Some(class) = without {
                let message = format!("class {class} has no example to learn from");
                return Err(Error::invalid(OPERATION, message));
            }
        }
        let same =
            std::mem::discriminant(&support.targets) == std::mem::discriminant(&query.targets);
        if !same {
            return Err(Error::invalid(
                OPERATION,
                "classes on one side, values on the other",
            ));
        }
        Ok(Self {
            shape,
            outputs,
            support,
            query,
            plan: None,
        })
    }

    /// The task that a plan makes of a set.
    ///
    /// # Errors
    /// When the plan does not fit the set, and as [`new`](Self::new).
    pub fn read(plan: TaskPlan, dataset: &dyn Dataset) -> Result<Self> {
        Self::read_with(plan, dataset, |_| {})
    }

    /// As [`read`](Self::read), each image changed after it was read: those of the support first, then the queries', each
    /// class after class.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with(
        plan: TaskPlan,
        dataset: &dyn Dataset,
        mut change: impl FnMut(&mut [f32]),
    ) -> Result<Self> {
        let shape = dataset.image_shape();
        let ways = plan.classes.len();
        let mut side = |lists: &[Vec<usize>]| -> Result<Examples> {
            if lists.len() != ways {
                return Err(
                    Error::invalid(OPERATION, "not one list of examples for each class")
                        .expected(ways)
                        .got(lists.len()),
                );
            }
            let count: usize = lists.iter().map(Vec::len).sum();
            let mut inputs = room([1, 1, count, shape.len()])?;
            let mut classes = Vec::with_capacity(count);
            let mut images = inputs.chunks_exact_mut(shape.len().max(1));
            for (way, list) in lists.iter().enumerate() {
                for &example in list {
                    let image = images.next().expect("there is one for each example");
                    let class = plan.classes[way];
                    dataset.read(class, example, image)?;
                    check_finite(dataset, class, example, image)?;
                    change(image);
                    classes.push(way);
                }
            }
            let targets = Targets::Classes(classes);
            Ok(Examples { inputs, targets })
        };
        let (support, query) = (side(&plan.support)?, side(&plan.query)?);
        let mut task = Self::new(shape, ways, support, query)?;
        task.plan = Some(plan);
        Ok(task)
    }

    /// The shape of each input.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// How many classes there are, or numbers to predict for an example.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// What to learn from.
    pub fn support(&self) -> &Examples {
        &self.support
    }

    /// What to answer.
    pub fn query(&self) -> &Examples {
        &self.query
    }

    /// The task with its inputs standardised, channel by channel.
    ///
    /// # Errors
    /// As [`Standardization::apply_to_images`].
    pub fn standardized(mut self, constants: &Standardization) -> Result<Self> {
        for side in [&mut self.support, &mut self.query] {
            constants.apply_to_images(self.shape, &mut side.inputs)?;
        }
        Ok(self)
    }

    /// Where it was read from, if it was read from a set.
    pub fn plan(&self) -> Option<&TaskPlan> {
        self.plan.as_ref()
    }
}

impl Examples {
    /// How many there are, of inputs of this shape.
    pub fn len(&self, shape: ImageShape) -> usize {
        self.inputs.len() / shape.len().max(1)
    }

    /// The classes, where these are the answers.
    pub fn classes(&self) -> Option<&[usize]> {
        match &self.targets {
            Targets::Classes(classes) => Some(classes),
            Targets::Values(_) => None,
        }
    }
}

fn check_finite(dataset: &dyn Dataset, class: usize, example: usize, image: &[f32]) -> Result<()> {
    match image.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => {
            let name = dataset.class_name(class);
            let message = format!("example {example} of class {name} is not finite");
            Err(Error::bad_data(OPERATION, message).got(value))
        }
    }
}

fn check(side: &str, shape: ImageShape, outputs: usize, examples: &Examples) -> Result<()> {
    let count = examples.len(shape);
    if count == 0 {
        let message = format!("the {side} is empty");
        return Err(Error::invalid(OPERATION, message).expected("at least 1 example"));
    }
    let answers = match &examples.targets {
        Targets::Classes(classes) => classes.len(),
        Targets::Values(values) => values.len() / outputs,
    };
    let whole = match &examples.targets {
        Targets::Classes(_) => true,
        Targets::Values(values) => values.len() % outputs == 0,
    };
    if examples.inputs.len() != count * shape.len() || answers != count || !whole {
        let message = format!("the {side} has not one answer for each input");
        return Err(Error::invalid(OPERATION, message)
            .expected(format!("inputs {shape} and as many answers"))
            .got(format!(
                "{} values and {answers} answers",
                examples.inputs.len()
            )));
    }
    let first_bad = |values: &[f32]| values.iter().position(|value| !value.is_finite());
    if let Some(place) = first_bad(&examples.inputs) {
        let message = format!("input {} of the {side} is not finite", place / shape.len());
        return Err(Error::bad_data(OPERATION, message).got(examples.inputs[place]));
    }
    match &examples.targets {
        Targets::Classes(classes) => {
            if let Some(class) = classes.iter().find(|&&class| class >= outputs) {
                let message = format!("a class of the {side} does not exist");
                return Err(Error::invalid(OPERATION, message)
                    .expected(format!("below {outputs}"))
                    .got(class));
            }
        }
        Targets::Values(values) => {
            if let Some(place) = first_bad(values) {
                let message = format!("a value of the {side} is not finite");
                return Err(Error::bad_data(OPERATION, message).got(values[place]));
            }
        }
    }
    Ok(())
}

/// The same number of examples of each class.
impl From<EpisodePlan> for TaskPlan {
    fn from(plan: EpisodePlan) -> Self {
        let ways = plan.classes.len().max(1);
        let lists = |examples: &[usize]| {
            let per_class = (examples.len() / ways).max(1);
            examples.chunks(per_class).map(<[usize]>::to_vec).collect()
        };
        Self {
            support: lists(&plan.support),
            query: lists(&plan.query),
            classes: plan.classes,
        }
    }
}

impl EpisodeBatch {
    /// The episodes, each as a task.
    ///
    /// # Errors
    /// As [`Task::new`].
    pub fn tasks(&self) -> Result<Vec<Task>> {
        (0..self.episodes)
            .map(|episode| self.task(episode))
            .collect()
    }

    fn task(&self, episode: usize) -> Result<Task> {
        let ways = self.ways.get();
        let side = |images: &[f32], examples: &[usize], per_class: usize| {
            let rows = ways * per_class;
            let values = rows * self.shape.len();
            let lists = examples[episode * rows..(episode + 1) * rows].chunks(per_class);
            let examples = Examples {
                inputs: images[episode * values..(episode + 1) * values].to_vec(),
                targets: Targets::Classes((0..rows).map(|row| row / per_class).collect()),
            };
            (examples, lists.map(<[usize]>::to_vec).collect())
        };
        let (support, supports) = side(&self.support, &self.support_examples, self.shots.get());
        let (query, queries) = side(&self.query, &self.query_examples, self.queries.get());
        let mut task = Task::new(self.shape, ways, support, query)?;
        task.plan = Some(TaskPlan {
            classes: self.classes[episode * ways..(episode + 1) * ways].to_vec(),
            support: supports,
            query: queries,
        });
        Ok(task)
    }
}

/// Tasks, one after the other.
pub trait TaskSource {
    /// The next task; `None` where a list has come to its end.
    ///
    /// # Errors
    /// When a task cannot be made. The source then stays where it was.
    fn next_task(&mut self) -> Result<Option<Task>>;

    /// The state, from which [`resume`](Self::resume) goes on with the next task.
    fn state(&self) -> serde_json::Value;

    /// Goes on where `state` was taken.
    ///
    /// # Errors
    /// When it is not a state of such a source.
    fn resume(&mut self, state: &serde_json::Value) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_tasks_are_errors() {
        let shape = ImageShape::new(1, 1, 2);
        let examples = |inputs: &[f32], classes: &[usize]| Examples {
            inputs: inputs.to_vec(),
            targets: Targets::Classes(classes.to_vec()),
        };
        let right = examples(&[0.0, 1.0, 2.0, 3.0], &[0, 1]);
        assert!(Task::new(shape, 2, right.clone(), right.clone()).is_ok());
        let wrong = [
            ("empty", examples(&[], &[])),
            ("one answer", examples(&[0.0, 1.0, 2.0], &[0])),
            ("one answer", examples(&[0.0, 1.0], &[0, 1])),
            ("does not exist", examples(&[0.0, 1.0], &[2])),
            ("not finite", examples(&[0.0, f32::NAN], &[0])),
        ];
        for (problem, query) in wrong {
            let error = Task::new(shape, 2, right.clone(), query).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(problem),
                "{error}"
            );
        }
        let one = examples(&[0.0, 1.0], &[0]);
        let error = Task::new(shape, 2, one, right).unwrap_err();
        assert!(
            error.to_string().contains("no example to learn from"),
            "{error}"
        );
    }
}
