//! How a model does on unseen tasks, with a confidence interval.

use burn::module::Module;
use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::classifier::images_per_pass;
use super::gradient::Adapted;
use super::{Classification, FewShot, Learner, Model, Score, Scores, Side, Stack};
use crate::data::tasks::{EpisodeList, EpisodeTasks};
use crate::data::{Dataset, EpisodeSampler, Queries, Shots, Task, TaskSource, Ways};
use crate::device::Readback;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::Normalization;

const OPERATION: &str = "evaluate";

/// Images of one forward pass when tasks may share it, at most: enough to fill the cores.
const IMAGES_PER_PASS: usize = 400;

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluateConfig {
    /// Classes of an episode. Default 5.
    pub ways: Ways,
    /// Support examples of each class. Default 5.
    pub shots: Shots,
    /// Query examples of each class. Default 15.
    pub queries: Queries,
    /// Number of episodes. Default 600, the field's minimum for a published figure.
    pub episodes: usize,
    /// Whether batch norm uses the statistics of each test episode's queries together, instead of the running ones or
    /// those of the support. It usually raises the figure, so it is always said. Default `false`.
    pub transductive: bool,
    /// Seed of the episodes. Default 0.
    pub seed: u64,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self {
            ways: Ways::DEFAULT,
            shots: Shots::DEFAULT,
            queries: Queries::DEFAULT,
            episodes: 600,
            transductive: false,
            seed: 0,
        }
    }
}

/// Mean accuracy over episodes and its 95 % confidence interval `1.96 s / sqrt(n)`, where `s` is the
/// standard deviation of the episodes' accuracies (with `n - 1`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean accuracy, as a fraction.
    pub accuracy: f64,
    /// Half the width of the 95 % confidence interval.
    pub ci95: f64,
    /// Number of episodes.
    pub episodes: usize,
    /// Whether the queries of an episode saw each other through batch norm.
    pub transductive: bool,
    /// Episodes evaluated in a second, rendering included.
    pub episodes_per_second: f64,
    /// Each episode's accuracy, each class's, and calibration.
    pub details: Classification,
}

/// How a model does on tasks of any kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskEvaluation {
    /// Accuracies, or squared errors.
    pub score: Score,
    /// Number of tasks.
    pub tasks: usize,
    /// Whether the queries of a task saw each other through batch norm.
    pub transductive: bool,
    /// Tasks evaluated in a second, making them included.
    pub tasks_per_second: f64,
}

impl Learner {
    /// Classifies the queries of `config.episodes` episodes of `data` and averages.
    ///
    /// # Errors
    /// When `data` does not fit the network or has too few classes or examples, when there are fewer than
    /// two episodes, when an inner loop diverges, and when the device fails.
    pub async fn evaluate(&self, data: &dyn Dataset, config: EvaluateConfig) -> Result<Evaluation> {
        self.evaluate_watched(data, config, |_| ()).await
    }

    /// As [`evaluate`](Self::evaluate); `watch` gets how many episodes have been answered, after every pass.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub async fn evaluate_watched(
        &self,
        data: &dyn Dataset,
        config: EvaluateConfig,
        watch: impl FnMut(usize),
    ) -> Result<Evaluation> {
        self.check(data.image_shape(), OPERATION)?;
        if config.episodes < 2 {
            return Err(
                Error::invalid(OPERATION, "too few episodes for an interval")
                    .expected("at least 2")
                    .got(config.episodes),
            );
        }
        let sampler = EpisodeSampler::new(config.ways, config.shots, config.queries, config.seed);
        let mut tasks = EpisodeTasks::new(data, sampler, None, config.seed)?;
        let limit = Some(config.episodes);
        self.evaluate_classes(data, &mut tasks, limit, config.transductive, watch)
            .await
    }

    /// As [`evaluate`](Self::evaluate), on the episodes of a list.
    ///
    /// # Errors
    /// When the list does not fit `data`, and as [`evaluate`](Self::evaluate).
    pub async fn evaluate_list(
        &self,
        data: &dyn Dataset,
        list: &EpisodeList,
        transductive: bool,
    ) -> Result<Evaluation> {
        self.evaluate_list_watched(data, list, transductive, |_| ())
            .await
    }

    /// As [`evaluate_list`](Self::evaluate_list), watched as by [`evaluate_watched`](Self::evaluate_watched).
    ///
    /// # Errors
    /// As [`evaluate_list`](Self::evaluate_list).
    pub async fn evaluate_list_watched(
        &self,
        data: &dyn Dataset,
        list: &EpisodeList,
        transductive: bool,
        watch: impl FnMut(usize),
    ) -> Result<Evaluation> {
        self.check(data.image_shape(), OPERATION)?;
        let mut tasks = list.tasks(data)?;
        self.evaluate_classes(data, &mut tasks, None, transductive, watch)
            .await
    }

    async fn evaluate_classes(
        &self,
        data: &dyn Dataset,
        tasks: &mut dyn TaskSource,
        limit: Option<usize>,
        transductive: bool,
        watch: impl FnMut(usize),
    ) -> Result<Evaluation> {
        let names = |class: usize| data.class_name(class);
        let found = self
            .answer_all(tasks, limit, transductive, names, watch)
            .await?;
        let Score::Classification(details) = found.score else {
            return Err(Error::invalid(OPERATION, "episodes are of classes"));
        };
        Ok(Evaluation {
            accuracy: details.accuracy,
            ci95: details.ci95,
            episodes: found.tasks,
            transductive: found.transductive,
            episodes_per_second: found.tasks_per_second,
            details,
        })
    }

    /// Answers the queries of tasks of any kind, of `limit` tasks or of all that a list has, and averages; each task counts
    /// alike. A source without end needs a limit. `names` gives the name of a class of the set that the tasks come from;
    /// classes of tasks that come from none are known by their place.
    ///
    /// # Errors
    /// When the tasks do not fit the network or are fewer than two, when an inner loop diverges, and when the device fails.
    pub async fn evaluate_tasks(
        &self,
        source: &mut dyn TaskSource,
        limit: Option<usize>,
        transductive: bool,
        names: impl Fn(usize) -> String,
    ) -> Result<TaskEvaluation> {
        self.answer_all(source, limit, transductive, names, |_| ())
            .await
    }

    async fn answer_all(
        &self,
        source: &mut dyn TaskSource,
        limit: Option<usize>,
        transductive: bool,
        names: impl Fn(usize) -> String,
        mut watch: impl FnMut(usize),
    ) -> Result<TaskEvaluation> {
        let begun = Instant::now();
        let normalization = if transductive {
            Normalization::Batch
        } else {
            Normalization::Running
        };
        let model = self.model.valid();
        let mut scores = Scores::new();
        let images = images_per_pass(self.model.network().graph(), IMAGES_PER_PASS);
        loop {
            let left = limit.map_or(usize::MAX, |limit| limit - scores.tasks());
            let tasks = draw(source, left, images)?;
            if tasks.is_empty() {
                break;
            }
            for task in &tasks {
                self.check(task.shape(), OPERATION)?;
            }
            let tasks = self.prepared(tasks)?;
            let answers = answers(&model, &tasks, normalization).await?;
            for (task, answers) in tasks.iter().zip(answers) {
                if answers.iter().any(|value| !value.is_finite()) {
                    return Err(diverged(&model, task, scores.tasks()).await);
                }
                record(&mut scores, task, &answers, &names)?;
            }
            watch(scores.tasks());
        }
        let tasks = scores.tasks();
        Ok(TaskEvaluation {
            score: scores.score()?,
            tasks,
            transductive,
            tasks_per_second: tasks as f64 / begun.elapsed().as_secs_f64().max(1e-9),
        })
    }

    /// What the model answers to the queries of tasks, `[query, output]` for each task: logits of the classes, or numbers.
    ///
    /// # Errors
    /// When the tasks do not fit the network, and when the device fails.
    pub async fn answer(&self, tasks: &[Task], transductive: bool) -> Result<Vec<Vec<f32>>> {
        for task in tasks {
            self.check(task.shape(), "answer")?;
        }
        let normalization = if transductive {
            Normalization::Batch
        } else {
            Normalization::Running
        };
        let prepared = self.prepared(tasks.to_vec())?;
        answers(&self.model.valid(), &prepared, normalization).await
    }
}

impl Learner {
    /// The features of a task's support and queries, a list of rows each: what the answers are made of. Of a network that
    /// adapts, what its last layer takes, at the adapted parameters. Nothing of a query depends on other queries.
    ///
    /// # Errors
    /// When the task does not fit the network, and when the device fails.
    pub async fn features(&self, task: &Task) -> Result<[Vec<Vec<f32>>; 2]> {
        self.check(task.shape(), "features")?;
        let task = self.prepared(vec![task.clone()])?.remove(0);
        let stack = Stack::one(&task, 0);
        let [support, query] = self
            .model
            .valid()
            .features(&stack, Normalization::Running)?;
        let width = support.dims()[2];
        let values: [Vec<f32>; 2] = Readback::new().with(support).with(query).run().await?;
        Ok(values.map(|values| {
            values
                .chunks_exact(width.max(1))
                .map(<[f32]>::to_vec)
                .collect()
        }))
    }
}

/// The next tasks for a pass, at most `most`, until there are so many images.
fn draw(source: &mut dyn TaskSource, most: usize, enough: usize) -> Result<Vec<Task>> {
    let mut tasks: Vec<Task> = Vec::new();
    let mut images = 0;
    while tasks.len() < most && images < enough {
        let Some(task) = source.next_task()? else {
            break;
        };
        images += task.support().len(task.shape()) + task.query().len(task.shape());
        tasks.push(task);
    }
    Ok(tasks)
}

async fn answers(
    model: &Model,
    tasks: &[Task],
    normalization: Normalization,
) -> Result<Vec<Vec<f32>>> {
    let mut trip = Readback::new();
    let mut places = Vec::new();
    for stack in Stack::of(tasks) {
        trip = trip.with(model.predict(&stack, normalization)?);
        places.push(stack.places().to_vec());
    }
    let mut answers = vec![Vec::new(); tasks.len()];
    for (values, places) in trip.run_all().await?.into_iter().zip(places) {
        let each = values.len() / places.len();
        for (values, place) in values.chunks_exact(each.max(1)).zip(places) {
            answers[place] = values.to_vec();
        }
    }
    Ok(answers)
}

fn record(
    scores: &mut Scores,
    task: &Task,
    answers: &[f32],
    names: &impl Fn(usize) -> String,
) -> Result<()> {
    match task.query().classes() {
        Some(labels) => {
            let plan = task
                .plan()
                .map(|plan| plan.classes.iter().map(|&class| names(class)));
            let names: Vec<String> = match plan {
                Some(names) => names.collect(),
                None => (1..=task.outputs()).map(|way| way.to_string()).collect(),
            };
            scores.classified(answers, labels, &names)?;
        }
        None => {
            let targets = Stack::one(task, 0).targets(Side::Query);
            scores.predicted(answers, &targets)?;
        }
    }
    Ok(())
}

/// Where it was that a task's answers stopped being finite.
async fn diverged(model: &Model, task: &Task, index: usize) -> Error {
    let number = index + 1;
    let plain = format!("the answers to task {number} are not finite");
    let error = |message: String| Error::new(ErrorKind::Diverged, OPERATION, message);
    let Model::Gradient(learner) = model else {
        return error(plain);
    };
    let Ok(Adapted { losses, .. }) = learner.adapt(&Stack::one(task, index)) else {
        return error(plain);
    };
    for (step, loss) in (1..).zip(losses) {
        let read = Readback::new().with(loss).run_all().await;
        let finite = |values: &Vec<f32>| values.iter().all(|value| value.is_finite());
        if !read.is_ok_and(|values| values.iter().all(finite)) {
            let message = format!(
                "the inner loop of task {number} diverged: its loss is not finite before step {step}"
            );
            return error(message).expected("a smaller inner rate");
        }
    }
    error(plain)
}
