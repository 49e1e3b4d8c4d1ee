//! Episodes whose classes have different numbers of examples.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{AUGMENT_STREAM, other_tasks, parse};
use crate::data::{Dataset, RandomAffine, Rng, Task, TaskPlan, TaskSource};
use crate::error::{Error, Result};

const OPERATION: &str = "sample_uneven_tasks";

/// From which ranges the numbers of an episode are drawn, ends included. In JSON a range is `{"start": 3, "end": 7}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnevenConfig {
    /// Classes of an episode. Default 3 to 7.
    pub ways: RangeInclusive<usize>,
    /// Examples to learn from, drawn for each class by itself, so that classes are imbalanced. Default 1 to 10.
    pub shots: RangeInclusive<usize>,
    /// Examples to classify, drawn for each class by itself. Default 5 to 5: always 5.
    pub queries: RangeInclusive<usize>,
    /// How each image is changed at random; `None` leaves it. Default `None`.
    pub augment: Option<RandomAffine>,
    /// Seed of episodes and augmentation. Default 0.
    pub seed: u64,
}

impl Default for UnevenConfig {
    fn default() -> Self {
        Self {
            ways: 3..=7,
            shots: 1..=10,
            queries: 5..=5,
            augment: None,
            seed: 0,
        }
    }
}

impl UnevenConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When a range is empty or begins with 0, or the augmentation is out of range.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("ways", &self.ways),
            ("shots", &self.shots),
            ("queries", &self.queries),
        ];
        for (name, range) in ranges {
            if *range.start() == 0 || range.is_empty() {
                let message = format!("the range of {name} is empty or begins with 0");
                return Err(Error::invalid(OPERATION, message)
                    .expected("1 or more, and an end that is not before the start")
                    .got(format!("{} to {}", range.start(), range.end())));
            }
        }
        self.augment.map_or(Ok(()), |augment| augment.validate())
    }
}

/// Episodes of a set whose ways, shots and queries are drawn anew for each, without end.
///
/// How well a method that was trained on equal episodes does on these is asked by Triantafillou et al., "Meta-Dataset: a
/// dataset of datasets for learning to learn from few examples", ICLR 2020. Here the numbers are drawn uniformly, and not
/// by that paper's rules, which depend on the sizes of its sets.
///
/// ```
/// use forgeling::data::{Glyphs, Split, TaskSource};
/// use forgeling::data::tasks::{UnevenConfig, UnevenTasks};
/// # fn main() -> forgeling::Result<()> {
/// let config = UnevenConfig { ways: 2..=4, shots: 1..=3, ..Default::default() };
/// let mut tasks = UnevenTasks::new(Glyphs::new(1, Split::Train, 100)?, config)?;
/// let task = tasks.next_task()?.expect("there is no end");
/// assert!((2..=4).contains(&task.outputs()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct UnevenTasks<D> {
    dataset: D,
    config: UnevenConfig,
    rng: Rng,
    augment: Rng,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    config: UnevenConfig,
    rng: Rng,
    augment: Rng,
}

impl<D: Dataset> UnevenTasks<D> {
    /// Episodes of `dataset`, which may be a reference.
    ///
    /// # Errors
    /// As [`UnevenConfig::validate`].
    pub fn new(dataset: D, config: UnevenConfig) -> Result<Self> {
        config.validate()?;
        let rng = Rng::new(config.seed);
        Ok(Self {
            augment: rng.fork(AUGMENT_STREAM),
            rng,
            dataset,
            config,
        })
    }

    /// The set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// As configured.
    pub fn config(&self) -> &UnevenConfig {
        &self.config
    }

    /// Whether every episode can be drawn, whichever numbers and classes come up.
    ///
    /// # Errors
    /// When there are fewer classes than the most ways, or a class has fewer examples than the most shots and queries;
    /// the error names it.
    pub fn check(&self) -> Result<()> {
        self.check_ways()?;
        (0..self.dataset.class_count()).try_for_each(|class| self.check_class(class).map(drop))
    }

    /// Draws the next episode's classes and examples without reading a pixel. Its images would have been augmented as the
    /// next ones now are.
    ///
    /// # Errors
    /// As [`check`](Self::check), for the classes drawn; nothing is then drawn.
    pub fn plan(&mut self) -> Result<TaskPlan> {
        self.check_ways()?;
        let mut rng = self.rng.clone();
        let ways = draw(&mut rng, &self.config.ways);
        let classes = rng.choose_distinct(self.dataset.class_count(), ways)?;
        let mut plan = TaskPlan::default();
        for &class in &classes {
            let examples = self.check_class(class)?;
            let shots = draw(&mut rng, &self.config.shots);
            let queries = draw(&mut rng, &self.config.queries);
            let mut support = rng.choose_distinct(examples, shots + queries)?;
            plan.query.push(support.split_off(shots));
            plan.support.push(support);
        }
        plan.classes = classes;
        self.rng = rng;
        Ok(plan)
    }

    fn check_ways(&self) -> Result<()> {
        let (classes, most) = (self.dataset.class_count(), *self.config.ways.end());
        if classes < most {
            return Err(Error::invalid(
                OPERATION,
                "the set has fewer classes than an episode may have",
            )
            .expected(format!("{most} or more"))
            .got(classes));
        }
        Ok(())
    }

    /// How many examples `class` has.
    fn check_class(&self, class: usize) -> Result<usize> {
        let (shots, queries) = (*self.config.shots.end(), *self.config.queries.end());
        let needed = shots.saturating_add(queries);
        let examples = self.dataset.class_len(class);
        if examples < needed {
            let name = self.dataset.class_name(class);
            let message = format!("class {name} has too few examples");
            return Err(Error::invalid(OPERATION, message)
                .expected(format!(
                    "{needed} (up to {shots} to learn from, {queries} to classify)"
                ))
                .got(examples));
        }
        Ok(examples)
    }
}

/// A number of the range, each as likely as the others.
fn draw(rng: &mut Rng, range: &RangeInclusive<usize>) -> usize {
    range.start() + rng.below((range.end() - range.start()).saturating_add(1))
}

impl<D: Dataset> TaskSource for UnevenTasks<D> {
    fn next_task(&mut self) -> Result<Option<Task>> {
        let before = self.rng.clone();
        let plan = self.plan()?;
        let (shape, mut augment) = (self.dataset.image_shape(), self.augment.clone());
        let task = Task::read_with(plan, &self.dataset, |image| {
            if let Some(map) = &self.config.augment {
                map.apply(shape, image, &mut augment);
            }
        });
        match &task {
            Ok(_) => self.augment = augment,
            Err(_) => self.rng = before,
        }
        task.map(Some)
    }

    fn state(&self) -> serde_json::Value {
        json!({ "config": self.config, "rng": self.rng, "augment": self.augment })
    }

    fn resume(&mut self, state: &serde_json::Value) -> Result<()> {
        let state: State = parse(state)?;
        if state.config != self.config {
            return Err(other_tasks());
        }
        (self.rng, self.augment) = (state.rng, state.augment);
        Ok(())
    }
}
