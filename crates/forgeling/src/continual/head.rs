//! Which outputs of a network count for which example.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Bool, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{ContinualBatch, Scenario, Shows};
use crate::data::ImageShape;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::nn::{Network, Pass};
use crate::train::parts::{Method, Needs, Part, RunState, Sections};

const OPERATION: &str = "head";
/// What stands in the place of an output that does not count: softmax makes exactly 0 of it, and it is finite.
pub(super) const MASKED: f32 = -1e30;
/// As the first step of classes that were never trained on; the same on all platforms.
const NOT_YET: usize = u32::MAX as usize;

/// Which outputs count. Results differ by it, so that it belongs to every one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// All, from the start.
    All,
    /// Those of the classes of the contexts that have begun: outputs of later classes have no part in loss and answers, as
    /// if they were not there yet. Before the first context, those of the first. Van de Ven's `neg-samples=all-so-far`.
    Growing,
    /// In training and test those of the example's context alone: a head for each, as in van de Ven's task-incremental
    /// learning.
    PerTask,
    /// In training all, in tests those of the example's context alone, as in Mammoth's task-incremental learning.
    MaskedAtTest,
}

/// Which outputs of a network count for which example. Clones share which contexts have begun and which classes have come;
/// [`progress`](Self::progress) keeps both up to date.
///
/// ```
/// use forgeling::continual::{Head, HeadKind, Kind, Scenario, ScenarioConfig, Setting};
/// use forgeling::data::{Glyphs, Split, Subset};
///
/// let glyphs = || Subset::first(Glyphs::new(1, Split::Train, 4)?, 10);
/// let kind = Kind::split_evenly(4, 2)?;
/// let config = ScenarioConfig { kind, setting: Setting::Class, class_order: None };
/// let scenario = Scenario::new(glyphs()?, glyphs()?, config)?;
/// assert_eq!(Head::new(HeadKind::All, &scenario)?.active(Some(0)), 0..4);
/// assert_eq!(Head::new(HeadKind::Growing, &scenario)?.active(Some(0)), 0..2);
/// assert!(Head::new(HeadKind::PerTask, &scenario).is_err());
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Head {
    kind: HeadKind,
    shape: ImageShape,
    outputs: usize,
    /// The labels of each context.
    labels: Arc<[Range<usize>]>,
    /// Whether there are no contexts, and labels come one by one.
    one_by_one: bool,
    begun: Arc<Begun>,
}

/// What a run has come to.
#[derive(Debug, Default)]
struct Begun {
    contexts: AtomicUsize,
    /// The classes that were trained on, each with how many steps there were before; where classes come one by one, those
    /// that came.
    classes: Mutex<BTreeMap<usize, usize>>,
}

impl Begun {
    fn classes(&self) -> MutexGuard<'_, BTreeMap<usize, usize>> {
        // It is whole between any two statements.
        self.classes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Head {
    /// For a run on this scenario, one context after the other.
    ///
    /// # Errors
    /// When the outputs that count depend on what the setting does not tell: the example's context, or where contexts end.
    pub fn new(kind: HeadKind, scenario: &Scenario) -> Result<Self> {
        let setting = scenario.config().setting;
        let told = setting.reveals();
        let needs = needs(kind);
        let lacks = |what: &str, expected: &str| {
            let message = format!("a head of the kind {kind:?} needs {what}");
            Err(Error::invalid(OPERATION, message)
                .expected(expected)
                .got(format!("the setting {setting:?}")))
        };
        if needs.task_ids && !told.task_ids {
            return lacks(
                "the context of each example",
                "the setting Task, which tells it",
            );
        }
        if needs.task_boundaries && !told.task_boundaries {
            return lacks(
                "to be told where contexts end",
                "a setting with boundaries: Task, Domain or Class",
            );
        }
        let labels = (0..scenario.len()).map(|context| scenario.labels(context));
        Ok(Self {
            kind,
            shape: scenario.image_shape(),
            outputs: scenario.outputs(),
            labels: labels.collect::<Result<_>>()?,
            one_by_one: false,
            begun: Arc::default(),
        })
    }

    /// For labels that come in any order and belong to no context. With [`HeadKind::Growing`] those count that have
    /// [come](Self::reveal).
    ///
    /// # Errors
    /// When the outputs that count depend on an example's context.
    pub(super) fn one_by_one(kind: HeadKind, shape: ImageShape, outputs: usize) -> Result<Self> {
        if needs(kind).task_ids {
            let message = "without contexts there is no output of a context";
            return Err(Error::invalid(OPERATION, message)
                .expected("all or growing")
                .got(format!("{kind:?}")));
        }
        Ok(Self {
            kind,
            shape,
            outputs,
            labels: std::iter::once(0..outputs).collect(),
            one_by_one: true,
            begun: Arc::default(),
        })
    }

    /// These labels come, before anything is trained on them.
    pub(super) fn reveal(&self, labels: &[usize]) {
        self.note(labels, NOT_YET);
    }

    /// For each output whether its class has come, where classes come one by one.
    pub(super) fn come(&self) -> Option<Vec<bool>> {
        let grows = self.one_by_one && self.kind == HeadKind::Growing;
        grows.then(|| {
            let classes = self.begun.classes();
            (0..self.outputs)
                .map(|output| classes.contains_key(&output))
                .collect()
        })
    }

    /// For a [`Stream`](super::Stream) that shows so. Where it [shows all](Shows::All), every context has begun from the
    /// start; otherwise the same.
    #[must_use]
    pub fn showing(self, shows: Shows) -> Self {
        if shows == Shows::All {
            self.begin(self.labels.len());
        }
        self
    }

    /// Which outputs count.
    pub fn kind(&self) -> HeadKind {
        self.kind
    }

    /// How many outputs the network has, whether they count or not.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// How many contexts have begun.
    pub fn begun(&self) -> usize {
        self.begun.contexts.load(Ordering::Relaxed)
    }

    fn begin(&self, contexts: usize) {
        self.begun.contexts.fetch_max(contexts, Ordering::Relaxed);
    }

    /// The outputs of a batch, `[examples, outputs]`, raw and in f32: those that do not count among them.
    ///
    /// # Errors
    /// When the batch is empty, has images of another shape, not one image for each label, or not the contexts that this
    /// head needs; and when the network does not fit the images or has another number of outputs.
    pub fn logits<'m>(
        &self,
        model: &'m Network,
        batch: &ContinualBatch,
        pass: &mut Pass<'m>,
    ) -> Result<Tensor<2>> {
        self.check(batch)?;
        let images = pass.values(images_of(batch));
        let logits = model.forward(images, pass)?;
        let outputs = logits.dims()[1];
        if outputs != self.outputs {
            return Err(
                Error::invalid(OPERATION, "the network has another number of outputs")
                    .expected(self.outputs)
                    .got(outputs),
            );
        }
        Ok(pass.output(logits))
    }

    /// Whether the images fit, and there are the contexts that are needed.
    fn check(&self, batch: &ContinualBatch) -> Result<()> {
        let images = &batch.images;
        let count = images.labels.len();
        if images.shape != self.shape || images.images.len() != count * self.shape.len() {
            let message = "the images are of another shape, or not one for each label";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{count} images of {}", self.shape))
                .got(format!(
                    "{} values of images of {}",
                    images.images.len(),
                    images.shape
                )));
        }
        let contexts = &batch.contexts;
        let needed = needs(self.kind).task_ids || !contexts.is_empty();
        if needed && contexts.len() != count {
            return Err(Error::invalid(OPERATION, "not one context for each image")
                .expected(format!("{count} contexts"))
                .got(contexts.len()));
        }
        match contexts
            .iter()
            .find(|context| **context >= self.labels.len())
        {
            Some(context) => Err(Error::invalid(OPERATION, "there is no such context")
                .expected(format!("contexts below {}", self.labels.len()))
                .got(context)),
            None => Ok(()),
        }
    }

    /// Whether the labels of a batch are outputs that count in training, or, in a test, outputs that may come to count.
    pub(super) fn check_labels(&self, batch: &ContinualBatch, training: bool) -> Result<()> {
        let come = self.come().filter(|_| training);
        for (row, label) in batch.images.labels.iter().enumerate() {
            let context = batch.contexts.get(row).copied();
            let range = match self.kind {
                HeadKind::Growing if !training => 0..self.outputs,
                _ => self.active(context),
            };
            if !range.contains(label) || come.as_ref().is_some_and(|come| !come[*label]) {
                return Err(Error::invalid(OPERATION, "a label is out of range")
                    .expected(format!("a label of {range:?}"))
                    .got(label));
            }
        }
        Ok(())
    }

    /// The outputs that count in training for an example of this context.
    pub fn active(&self, context: Option<usize>) -> Range<usize> {
        match self.kind {
            HeadKind::All | HeadKind::MaskedAtTest => 0..self.outputs,
            HeadKind::PerTask => self.of(context),
            HeadKind::Growing => {
                let begun = self.begun().clamp(1, self.labels.len());
                let ends = self.labels[..begun].iter().map(|labels| labels.end);
                0..ends.max().unwrap_or(self.outputs)
            }
        }
    }

    /// The outputs that count in an answer to an example of this context.
    pub fn answering(&self, context: Option<usize>) -> Range<usize> {
        match self.kind {
            HeadKind::MaskedAtTest => self.of(context),
            _ => self.active(context),
        }
    }

    /// The outputs of a context, or all of one that is not known.
    fn of(&self, context: Option<usize>) -> Range<usize> {
        let own = context.and_then(|context| self.labels.get(context));
        own.cloned().unwrap_or(0..self.outputs)
    }

    /// The outputs with −1e30 in the place of those that do not count in training, row by row by the contexts of the batch.
    pub fn masked(&self, logits: Tensor<2>, batch: &ContinualBatch) -> Tensor<2> {
        self.mask(logits, batch, |context| self.active(context))
    }

    /// The same of those that do not count in answers.
    pub fn answers(&self, logits: Tensor<2>, batch: &ContinualBatch) -> Tensor<2> {
        self.mask(logits, batch, |context| self.answering(context))
    }

    fn mask(
        &self,
        logits: Tensor<2>,
        batch: &ContinualBatch,
        counting: impl Fn(Option<usize>) -> Range<usize>,
    ) -> Tensor<2> {
        let rows = 0..batch.images.labels.len();
        let ranges = rows.map(|row| counting(batch.contexts.get(row).copied()));
        let ranges: Vec<Range<usize>> = ranges.collect();
        let come = self.come();
        mask(logits, |row, output| {
            let came = come.as_ref().is_none_or(|come| come[output]);
            came && ranges.get(row).is_none_or(|range| range.contains(&output))
        })
    }

    /// Notes which classes a step is taken on.
    pub(super) fn note(&self, labels: &[usize], step: usize) {
        let mut classes = self.begun.classes();
        for label in labels {
            classes
                .entry(*label)
                .and_modify(|first| *first = step.min(*first))
                .or_insert(step);
        }
    }

    /// For each output whether its class was trained on before this step, in whatever order several devices take part in
    /// it.
    pub(super) fn came_before(&self, step: usize) -> Vec<bool> {
        let classes = self.begun.classes();
        let came = |label: usize| classes.get(&label).is_some_and(|first| *first < step);
        (0..self.outputs).map(came).collect()
    }

    /// What keeps this head and its clones up to date in a run, and in its checkpoints.
    pub fn progress(&self) -> HeadProgress {
        HeadProgress { head: self.clone() }
    }
}

/// The images of a batch as a network takes them, `[examples, channels, height, width]`.
pub(super) fn images_of(batch: &ContinualBatch) -> TensorData {
    let images = &batch.images;
    let ImageShape {
        channels,
        height,
        width,
    } = images.shape;
    let dims = [images.labels.len(), channels, height, width];
    TensorData::new(images.images.clone(), dims)
}

/// The outputs with −1e30 in the place of those for whose row and column `counts` is false; as they are where all count.
pub(super) fn mask(logits: Tensor<2>, counts: impl Fn(usize, usize) -> bool) -> Tensor<2> {
    let [rows, columns] = logits.dims();
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let hidden: Vec<bool> = places.map(|(row, column)| !counts(row, column)).collect();
    if !hidden.contains(&true) {
        return logits;
    }
    let hidden = TensorData::new(hidden, [rows, columns]);
    let hidden = Tensor::<2, Bool>::from_data(hidden, &logits.device());
    logits.mask_fill(hidden, MASKED)
}

fn needs(kind: HeadKind) -> Needs {
    Needs {
        task_boundaries: kind == HeadKind::Growing,
        task_ids: matches!(kind, HeadKind::PerTask | HeadKind::MaskedAtTest),
        replayed: 0,
    }
}

/// Keeps a [`Head`] and its clones up to date: part `head` of a run, without which nothing grows and no class has come. It
/// keeps how many contexts have begun, and when each class came first.
#[derive(Debug, Clone)]
pub struct HeadProgress {
    head: Head,
}

impl RunState for HeadProgress {
    fn save(&self, to: &mut Sections) -> Result<()> {
        to.set("begun", &self.head.begun())?;
        to.set("classes", &*self.head.begun.classes())
    }

    fn load(&mut self, from: &Sections, _device: &TensorDevice) -> Result<()> {
        let begun: usize = from.get("begun")?;
        let classes: BTreeMap<usize, usize> = from.get("classes")?;
        let head = &self.head;
        let last = classes.last_key_value().map(|(label, _)| *label);
        if begun > head.labels.len() || last.is_some_and(|label| label >= head.outputs) {
            let message = "more contexts have begun, or classes come, than there are";
            return Err(Error::bad_data(OPERATION, message)
                .expected(format!(
                    "at most {} contexts, labels below {}",
                    head.labels.len(),
                    head.outputs
                ))
                .got(format!("{begun} contexts, label {last:?}")));
        }
        head.begun.contexts.store(begun, Ordering::Relaxed);
        *head.begun.classes() = classes;
        Ok(())
    }
}

impl<M> Part<M> for HeadProgress {
    fn name(&self) -> &'static str {
        "head"
    }

    fn needs(&self) -> Needs {
        let needs = needs(self.head.kind);
        Needs {
            // Where all contexts have begun there is nothing to wait for.
            task_boundaries: needs.task_boundaries && self.head.begun() < self.head.labels.len(),
            ..needs
        }
    }

    fn begin_task(&mut self, task: usize, _model: &M) -> Result<()> {
        if task >= self.head.labels.len() {
            return Err(Error::invalid(OPERATION, "there is no such context")
                .expected(format!("a context below {}", self.head.labels.len()))
                .got(task));
        }
        self.head.begin(task + 1);
        Ok(())
    }
}

impl<M, B> Method<M, B> for HeadProgress {
    /// One that shares the head.
    fn on_replica(&self) -> Option<Box<dyn Method<M, B> + Send>> {
        Some(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests;
