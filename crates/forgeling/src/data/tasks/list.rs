//! A list of episodes that others can repeat.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{other_tasks, parse};
use crate::data::{Dataset, ImageShape, Task, TaskPlan, TaskSource};
use crate::error::{Error, Result};

const OPERATION: &str = "list_episodes";
const READ: &str = "read_episode_list";
const REPLAY: &str = "replay_episodes";
const FORMAT: u64 = 1;

/// One episode of an [`EpisodeList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedEpisode {
    /// The names of its classes.
    pub classes: Vec<String>,
    /// The numbers of the examples to learn from, one list for each class.
    pub support: Vec<Vec<usize>>,
    /// The numbers of the examples to classify, one list for each class.
    pub query: Vec<Vec<usize>>,
}

/// A fixed list of episodes, for comparisons on the very same ones: classes by name and examples by number, without a
/// pixel. An example's number is its place in the class, as the set has it: whoever repeats the episodes needs the same
/// set, split and turned alike.
///
/// As JSON it is
///
/// ```json
/// {"format": 1, "source": "5-way 1-shot of Omniglot's evaluation set, seed 0", "image_shape": [1, 28, 28],
///  "episodes": [{"classes": ["Tibetan/character07", "…"], "support": [[3], [7]], "query": [[0, 19], [4, 2]]}]}
/// ```
///
/// ```
/// use forgeling::data::{EpisodeSampler, Glyphs, Queries, Shots, Split, TaskSource, Ways};
/// use forgeling::data::tasks::{EpisodeList, EpisodeTasks};
/// # fn main() -> forgeling::Result<()> {
/// let glyphs = Glyphs::new(1, Split::Test, 50)?;
/// let sampler = EpisodeSampler::new(Ways::new(5)?, Shots::new(1)?, Queries::new(3)?, 42);
/// let mut drawn = EpisodeTasks::new(&glyphs, sampler, None, 0)?;
/// let list = EpisodeList::draw("glyphs of seed 1", &mut drawn.clone(), &glyphs, 10)?;
/// let json = list.to_json();
/// // Elsewhere:
/// let mut repeated = EpisodeList::from_json(&json)?.tasks(&glyphs)?;
/// assert_eq!(repeated.next_task()?, drawn.next_task()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EpisodeList {
    source: String,
    image_shape: ImageShape,
    episodes: Vec<ListedEpisode>,
    /// The file it was read from, for errors.
    path: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u64,
    source: String,
    image_shape: [usize; 3],
    episodes: Vec<ListedEpisode>,
}

/// Before the rest, which another format may have otherwise.
#[derive(Deserialize)]
struct Version {
    format: u64,
}

impl EpisodeList {
    /// Draws `count` tasks of `dataset` and notes which classes and examples they are. `source` is for people: the set, and
    /// how its episodes were drawn. What augmentation makes of images is not noted.
    ///
    /// # Errors
    /// When a task cannot be drawn, was not read from a set, or is not of this one; and as [`new`](Self::new).
    pub fn draw(
        source: &str,
        tasks: &mut dyn TaskSource,
        dataset: &dyn Dataset,
        count: usize,
    ) -> Result<Self> {
        let mut plans = Vec::new();
        for episode in 0..count {
            let Some(task) = tasks.next_task()? else {
                return Err(Error::invalid(OPERATION, "there are fewer tasks")
                    .expected(count)
                    .got(episode));
            };
            let Some(plan) = task.plan() else {
                let message = "the tasks are not of a set's examples";
                return Err(Error::invalid(OPERATION, message));
            };
            plans.push(plan.clone());
        }
        Self::new(source, &plans, dataset)
    }

    /// A list of what was planned on `dataset`.
    ///
    /// # Errors
    /// When there is no episode, a plan does not fit the set or is not whole, an example is in it twice, and when two of
    /// the set's classes have one name.
    pub fn new(source: &str, plans: &[TaskPlan], dataset: &dyn Dataset) -> Result<Self> {
        let name = |&class: &usize| dataset.class_name(class);
        let episode = |plan: &TaskPlan| ListedEpisode {
            classes: plan.classes.iter().map(name).collect(),
            support: plan.support.clone(),
            query: plan.query.clone(),
        };
        let list = Self {
            source: source.to_owned(),
            image_shape: dataset.image_shape(),
            episodes: plans.iter().map(episode).collect(),
            path: None,
        };
        list.check(OPERATION)?;
        let resolved = list.resolve(OPERATION, dataset)?;
        match resolved.iter().zip(plans).position(|(a, b)| a != b) {
            None => Ok(list),
            Some(episode) => {
                let message = format!("episodes[{episode}] has a class that does not exist");
                Err(Error::invalid(OPERATION, message))
            }
        }
    }

    /// What was said of where the episodes come from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Ways, shots and queries, where they are the same for all episodes and classes.
    pub fn sizes(&self) -> Option<[usize; 3]> {
        let first = self.episodes.first()?;
        let ways = first.classes.len();
        let (shots, queries) = (first.support.first()?.len(), first.query.first()?.len());
        let same = self.episodes.iter().all(|episode| {
            episode.classes.len() == ways
                && episode.support.iter().all(|list| list.len() == shots)
                && episode.query.iter().all(|list| list.len() == queries)
        });
        same.then_some([ways, shots, queries])
    }

    /// The shape of the set's images.
    pub fn image_shape(&self) -> ImageShape {
        self.image_shape
    }

    /// The episodes.
    pub fn episodes(&self) -> &[ListedEpisode] {
        &self.episodes
    }

    /// The list as JSON, an episode a line.
    pub fn to_json(&self) -> String {
        let ImageShape {
            channels,
            height,
            width,
        } = self.image_shape;
        let episodes = self
            .episodes
            .iter()
            .map(|episode| json!(episode).to_string());
        format!(
            "{{\"format\": {FORMAT}, \"source\": {}, \"image_shape\": [{channels}, {height}, {width}], \
             \"episodes\": [\n{}\n]}}\n",
            json!(self.source),
            episodes.collect::<Vec<_>>().join(",\n")
        )
    }

    /// Reads a list as [`to_json`](Self::to_json) writes it.
    ///
    /// # Errors
    /// When it is not one, or of a later format; when there is no episode; and when an episode has no class, a class twice,
    /// not one list of examples for each class, a class without support, no query, or an example twice, be it once to learn
    /// from and once to classify.
    pub fn from_json(text: &str) -> Result<Self> {
        let damaged = |error: serde_json::Error| {
            Error::bad_data(READ, format!("not a list of episodes: {error}"))
        };
        let version: Version = serde_json::from_str(text).map_err(damaged)?;
        if version.format != FORMAT {
            return Err(Error::bad_data(READ, "the list is of another format")
                .expected(FORMAT)
                .got(version.format));
        }
        let document: Document = serde_json::from_str(text).map_err(damaged)?;
        let [channels, height, width] = document.image_shape;
        let list = Self {
            source: document.source,
            image_shape: ImageShape::new(channels, height, width),
            episodes: document.episodes,
            path: None,
        };
        list.check(READ)?;
        Ok(list)
    }

    /// Reads a file of what [`to_json`](Self::to_json) gave, which
    /// [`write_atomically`](crate::train::model_file::write_atomically) writes.
    ///
    /// # Errors
    /// When it cannot be read or is larger than the default [`Limits`](crate::data::Limits) allow, and as
    /// [`from_json`](Self::from_json); the error names the file, and so does that of [`tasks`](Self::tasks).
    #[cfg(feature = "files")]
    pub fn load(path: impl AsRef<std::path::Path>) -> Result<Self> {
        use crate::data::limits::{Limits, read_file};
        let path = path.as_ref();
        let bytes = read_file(READ, path, &Limits::default())?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Error::bad_data(READ, "the file is not text").path(path))?;
        let mut list = Self::from_json(&text).map_err(|error| error.path(path))?;
        list.path = Some(path.to_owned());
        Ok(list)
    }

    /// The episodes as tasks of a set, which may be a reference; they come to an end.
    ///
    /// # Errors
    /// When the set's images have another shape, a class is not in the set or is there twice, and when an example does not
    /// exist; the error names the episode.
    pub fn tasks<D: Dataset>(&self, dataset: D) -> Result<ListTasks<D>> {
        let plans = self.resolve(REPLAY, &dataset);
        Ok(ListTasks {
            plans: plans.map_err(|error| self.at(error))?,
            path: self.path.clone(),
            dataset,
            next: 0,
        })
    }

    fn at(&self, error: Error) -> Error {
        match &self.path {
            Some(path) => error.path(path),
            None => error,
        }
    }

    /// What is known without the set.
    fn check(&self, operation: &'static str) -> Result<()> {
        if self.episodes.is_empty() {
            return Err(Error::bad_data(operation, "the list has no episode"));
        }
        for (index, episode) in self.episodes.iter().enumerate() {
            if let Err(problem) = episode.check() {
                let message = format!("episodes[{index}] {problem}");
                return Err(Error::bad_data(operation, message));
            }
        }
        Ok(())
    }

    fn resolve(&self, operation: &'static str, dataset: &dyn Dataset) -> Result<Vec<TaskPlan>> {
        if dataset.image_shape() != self.image_shape {
            return Err(
                Error::invalid(operation, "the episodes are of a set of other images")
                    .expected(self.image_shape)
                    .got(dataset.image_shape()),
            );
        }
        // The first class of each name that is listed, and whether there are others.
        let names = self.episodes.iter().flat_map(|episode| &episode.classes);
        let mut classes: BTreeMap<&str, Option<(usize, bool)>> =
            names.map(|name| (name.as_str(), None)).collect();
        for class in 0..dataset.class_count() {
            if let Some(found) = classes.get_mut(dataset.class_name(class).as_str()) {
                *found = Some(found.map_or((class, false), |(first, _)| (first, true)));
            }
        }
        let episodes = self.episodes.iter().enumerate();
        let plans = episodes.map(|(index, episode)| {
            let plan = episode.plan(&classes, dataset);
            plan.map_err(|problem| {
                Error::bad_data(operation, format!("episodes[{index}] {problem}"))
            })
        });
        plans.collect()
    }
}

impl ListedEpisode {
    fn check(&self) -> Result<(), String> {
        let ways = self.classes.len();
        if ways == 0 {
            return Err("has no class".into());
        }
        for (side, lists) in [("support", &self.support), ("query", &self.query)] {
            if lists.len() != ways {
                let (lists, classes) = (lists.len(), counted(ways, "class", "classes"));
                return Err(format!(
                    "has {lists} lists of {side} examples and {classes}"
                ));
            }
        }
        if self.query.iter().all(Vec::is_empty) {
            return Err("has no query".into());
        }
        let mut names = BTreeSet::new();
        for (way, name) in self.classes.iter().enumerate() {
            if !names.insert(name) {
                return Err(format!("has the class {name:?} twice"));
            }
            if self.support[way].is_empty() {
                return Err(format!("has no example of {name:?} to learn from"));
            }
            let mut examples = BTreeSet::new();
            let twice = |example: &&usize| !examples.insert(**example);
            let mut all = self.support[way].iter().chain(&self.query[way]);
            if let Some(example) = all.find(twice) {
                return Err(format!("has example {example} of {name:?} twice"));
            }
        }
        Ok(())
    }

    fn plan(
        &self,
        classes: &BTreeMap<&str, Option<(usize, bool)>>,
        dataset: &dyn Dataset,
    ) -> Result<TaskPlan, String> {
        let mut plan = TaskPlan {
            support: self.support.clone(),
            query: self.query.clone(),
            classes: Vec::new(),
        };
        for (way, name) in self.classes.iter().enumerate() {
            let class = match classes.get(name.as_str()).copied().flatten() {
                None => return Err(format!("has the class {name:?}, which the set has not")),
                Some((_, true)) => {
                    return Err(format!(
                        "has the class {name:?}, of which the set has several"
                    ));
                }
                Some((class, false)) => class,
            };
            let len = dataset.class_len(class);
            let mut examples = self.support[way].iter().chain(&self.query[way]);
            if let Some(example) = examples.find(|&&example| example >= len) {
                let has = counted(len, "example", "examples");
                return Err(format!(
                    "has example {example} of {name:?}, which has {has}"
                ));
            }
            plan.classes.push(class);
        }
        Ok(plan)
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The episodes of an [`EpisodeList`], in their order.
#[derive(Debug, Clone)]
pub struct ListTasks<D> {
    dataset: D,
    plans: Vec<TaskPlan>,
    next: usize,
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    next: usize,
    of: usize,
}

impl<D: Dataset> TaskSource for ListTasks<D> {
    fn next_task(&mut self) -> Result<Option<Task>> {
        let Some(plan) = self.plans.get(self.next) else {
            return Ok(None);
        };
        let task = Task::read(plan.clone(), &self.dataset);
        let task = task.map_err(|error| match &self.path {
            Some(path) => error.path(path),
            None => error,
        })?;
        self.next += 1;
        Ok(Some(task))
    }

    fn state(&self) -> serde_json::Value {
        json!({ "next": self.next, "of": self.plans.len() })
    }

    fn resume(&mut self, state: &serde_json::Value) -> Result<()> {
        let state: State = parse(state)?;
        if state.of != self.plans.len() || state.next > state.of {
            return Err(other_tasks()
                .expected(format!("a list of {}", self.plans.len()))
                .got(format!("{} of {}", state.next, state.of)));
        }
        self.next = state.next;
        Ok(())
    }
}
