//! Examples of before, within a budget.
//!
//! - `memory`: where they lie.
//! - `choose`: which of them stay.
//! - `of_scenario`: those of a scenario, when its contexts end.
//! - `shared`: one that a strategy fills.
//! - `source`: what is kept as batches to train on.
//! - `state`: in a checkpoint.

mod choose;
mod memory;
mod of_scenario;
mod shared;
mod source;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::of_scenario::ScenarioBuffer;
pub use self::shared::SharedBuffer;
pub use self::source::{BufferSource, BufferSourceConfig};

use self::memory::{Example, Memory};
use super::ContinualBatch;
use crate::data::{ImageShape, Rng};
use crate::error::{Error, Result};
use crate::train::Batch;
use crate::train::parts::Replay;

const OPERATION: &str = "replay_buffer";
const STORING_STREAM: u64 = 5;
const DRAWING_STREAM: u64 = 6;

/// How much a [`Buffer`] keeps at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// So many examples.
    Total(usize),
    /// So many examples of each class. With [`Policy::PerClassAtEnd`] a class of one context is not that of another, as in
    /// van de Ven's benchmark, also where their labels are the same; otherwise classes are labels.
    PerClass(usize),
    /// So many bytes of examples: images with a byte for each value, or four where a data set's values are not all of
    /// the form k / 255; eight for label and context; and four for each of the logits that there is room for, and four
    /// more.
    Bytes(usize),
}

/// Which examples a [`Buffer`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Of all that came, every one with the same probability (algorithm R: Vitter, "Random sampling with a reservoir", ACM
    /// TOMS, 1985). With [`Budget::PerClass`], of all of a class.
    Reservoir,
    /// As many of each class, where there are as many: an example takes the place of one of a largest class, and one of a
    /// class that is or was a largest one takes the place of another of its class so that all of this class that came have
    /// the same probability (Chrysakis and Moens, "Online continual learning from imbalanced data", ICML 2020). Unlike
    /// GDumb's greedy sampler (Prabhu, Torr and Dokania, ECCV 2020), whose first examples of a class stay until it must
    /// shrink, and which turns away those of a class that has its share even where there is room.
    ClassBalanced,
    /// Nothing until a context ends, then as many of each class at random: [`Buffer::end_context`], which a
    /// [`ScenarioBuffer`] does by itself. Classes of fewer examples leave room to the others.
    PerClassAtEnd,
}

/// What a [`Buffer`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferConfig {
    /// How much at most.
    pub budget: Budget,
    /// Which examples.
    pub policy: Policy,
    /// How many logits of each example there is room for: the outputs of the network that answered, or 0 where answers
    /// are not kept.
    pub logits: usize,
    /// What the choice follows from.
    pub seed: u64,
}

/// Examples of before, for all parts of a run. It never holds more than its budget.
///
/// Images are kept in bytes as long as all of them can be without loss.
///
/// ```
/// use forgeling::continual::{Budget, Buffer, BufferConfig, ContinualBatch, Policy};
/// use forgeling::data::{ImageBatch, ImageShape};
/// use forgeling::train::parts::Replay;
///
/// let config = BufferConfig { budget: Budget::Total(2), policy: Policy::Reservoir, logits: 0, seed: 0 };
/// let shape = ImageShape::new(1, 1, 1);
/// let mut buffer = Buffer::new(config, shape, 10)?;
/// let images = ImageBatch { shape, images: vec![0.0, 1.0, 0.2], labels: vec![3, 4, 5] };
/// buffer.remember(&ContinualBatch::new(images, Some(0)), None, None)?;
/// assert_eq!((buffer.len(), buffer.bytes()), (2, 2 * 9));
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Buffer {
    config: BufferConfig,
    classes: usize,
    memory: Memory,
    /// How many of each label came.
    seen: BTreeMap<u32, u64>,
    /// The labels that were among the most frequent ones when there was no room left.
    full: BTreeSet<u32>,
    storing: Rng,
    /// Of its own, so that what is kept does not depend on what is drawn.
    drawing: Rng,
}

impl Buffer {
    /// An empty buffer for images of `shape` with labels below `classes`.
    ///
    /// # Errors
    /// When the budget has no room for an example, an image has no pixel, or labels would not fit into 32 bits.
    pub fn new(config: BufferConfig, shape: ImageShape, classes: usize) -> Result<Self> {
        if shape.is_empty() {
            return Err(Error::invalid(OPERATION, "an image has no pixel").got(shape));
        }
        if !(1..=u32::MAX as usize).contains(&classes) {
            return Err(Error::invalid(OPERATION, "no classes, or too many")
                .expected(format!("1 to {}", u32::MAX))
                .got(classes));
        }
        let rng = Rng::new(config.seed);
        let buffer = Self {
            config,
            classes,
            memory: Memory::new(shape),
            seen: BTreeMap::new(),
            full: BTreeSet::new(),
            storing: rng.fork(STORING_STREAM),
            drawing: rng.fork(DRAWING_STREAM),
        };
        if buffer.limit(false) == 0 {
            let message = "the budget has no room for an example";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{} bytes or more", buffer.example_bytes(false)))
                .got(format!("{:?}", config.budget)));
        }
        Ok(buffer)
    }

    /// As configured.
    pub fn config(&self) -> &BufferConfig {
        &self.config
    }

    /// How many examples it holds.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the examples it holds, as [`Budget::Bytes`] counts them.
    pub fn bytes(&self) -> usize {
        self.len() * self.example_bytes(self.memory.is_floats())
    }

    /// How many examples of each label it holds, where there are some.
    pub fn counts(&self) -> BTreeMap<usize, usize> {
        let counts = self.memory.counts().iter();
        counts.map(|(label, n)| (*label as usize, *n)).collect()
    }

    /// Some of its examples; `0..len()` are all.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn examples(&self, range: Range<usize>) -> Result<ContinualBatch> {
        if range.start > range.end || range.end > self.len() {
            return Err(Error::invalid(OPERATION, "there are no such examples")
                .expected(format!("a range within 0..{}", self.len()))
                .got(format!("{range:?}")));
        }
        Ok(self.batch(&range.collect::<Vec<_>>()))
    }

    fn batch(&self, slots: &[usize]) -> ContinualBatch {
        let contexts = slots.iter().map(|slot| self.memory.contexts[*slot]);
        let contexts = contexts.map(|context| Some(context.checked_sub(1)? as usize));
        let logits = slots.iter().map(|slot| self.memory.logits[*slot].clone());
        ContinualBatch {
            images: self.memory.images(slots),
            contexts: contexts.collect::<Option<_>>().unwrap_or_default(),
            logits: match self.config.logits {
                0 => Vec::new(),
                _ => logits.collect(),
            },
        }
    }

    /// Bytes of an example, whose image is in floats or in bytes.
    fn example_bytes(&self, floats: bool) -> usize {
        let image = self.memory.shape.len();
        let image = image.saturating_mul(if floats { 4 } else { 1 });
        let logits = match self.config.logits {
            0 => 0,
            count => count.saturating_add(1).saturating_mul(4),
        };
        image.saturating_add(8).saturating_add(logits)
    }

    /// How many examples the budget allows, in all or of each class.
    fn limit(&self, floats: bool) -> usize {
        match self.config.budget {
            Budget::Total(examples) | Budget::PerClass(examples) => examples,
            Budget::Bytes(bytes) => bytes / self.example_bytes(floats),
        }
    }

    /// What a label and a context become in memory.
    fn key(&self, label: usize, context: Option<usize>) -> Result<(u32, u32)> {
        if label >= self.classes {
            return Err(Error::invalid(OPERATION, "a label is out of range")
                .expected(format!("a label below {}", self.classes))
                .got(label));
        }
        let context = context.map_or(Some(0), |context| {
            u32::try_from(context).ok()?.checked_add(1)
        });
        let context = context.ok_or_else(|| {
            Error::invalid(OPERATION, "a context is out of range")
                .expected(format!("a context below {}", u32::MAX))
        });
        // Labels below `classes` fit.
        Ok((label as u32, context?))
    }

    fn check_shape(&self, shape: ImageShape) -> Result<()> {
        match shape == self.memory.shape {
            true => Ok(()),
            false => Err(Error::invalid(OPERATION, "the images are of another shape")
                .expected(self.memory.shape)
                .got(shape)),
        }
    }

    /// What was answered to each example of a batch, if answers are kept.
    fn answers<'b>(
        &self,
        batch: &'b ContinualBatch,
        logits: Option<&'b [f32]>,
    ) -> Result<Vec<&'b [f32]>> {
        let count = batch.len();
        let rows: Vec<&[f32]> = match logits {
            _ if self.config.logits == 0 || count == 0 => return Ok(vec![&[]; count]),
            Some([]) => vec![&[]; count],
            Some(logits) if logits.len().is_multiple_of(count) => {
                logits.chunks_exact(logits.len() / count).collect()
            }
            Some(logits) => {
                return Err(
                    Error::invalid(OPERATION, "not as many logits for each example")
                        .expected(format!("a multiple of {count} examples"))
                        .got(logits.len()),
                );
            }
            None if batch.logits.is_empty() => vec![&[]; count],
            None => batch.logits.iter().map(Vec::as_slice).collect(),
        };
        if let Some(row) = rows.iter().find(|row| row.len() > self.config.logits) {
            return Err(Error::invalid(OPERATION, "there is no room for the logits")
                .expected(format!("at most {}", self.config.logits))
                .got(row.len()));
        }
        if logits.is_none()
            && !rows
                .iter()
                .all(|row| row.iter().all(|value| value.is_finite()))
        {
            let message = "the logits of an example have a value that is not finite";
            return Err(Error::bad_data(OPERATION, message));
        }
        // In half precision a step may be skipped because what was answered is not finite.
        let finite = |row: &'b [f32]| match row.iter().all(|value| value.is_finite()) {
            true => row,
            false => &[],
        };
        Ok(rows.into_iter().map(finite).collect())
    }

    /// The examples of a batch, each fit to be kept.
    fn checked<'b>(
        &self,
        batch: &'b ContinualBatch,
        logits: Option<&'b [f32]>,
    ) -> Result<Vec<Example<'b>>> {
        let images = &batch.images;
        self.check_shape(images.shape)?;
        let (count, length) = (batch.len(), images.shape.len());
        let fits = |len: usize| len == 0 || len == count;
        if count.checked_mul(length) != Some(images.images.len())
            || !fits(batch.contexts.len())
            || !fits(batch.logits.len())
        {
            let message = "a batch has not one image, context and row of logits for each label";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{count} of each"))
                .got(format!(
                    "{} values, {} contexts, {} rows of logits",
                    images.images.len(),
                    batch.contexts.len(),
                    batch.logits.len()
                )));
        }
        let mut examples = Vec::with_capacity(count);
        let answers = self.answers(batch, logits)?;
        let each = images.labels.iter().zip(images.images.chunks_exact(length));
        for (place, ((label, image), logits)) in each.zip(answers).enumerate() {
            let (label, context) = self.key(*label, batch.contexts.get(place).copied())?;
            if !image.iter().all(|value| value.is_finite()) {
                let message = "an image has a value that is not finite";
                return Err(Error::bad_data(OPERATION, message));
            }
            examples.push(Example {
                image,
                label,
                context,
                logits,
            });
        }
        Ok(examples)
    }
}

impl Replay<ContinualBatch> for Buffer {
    /// The context of an example is the batch's, not `task`. Logits are kept where there is room for them and they are
    /// finite; without `answers` they are those of the batch, if it has some.
    fn remember(
        &mut self,
        batch: &ContinualBatch,
        _task: Option<usize>,
        answers: Option<&[f32]>,
    ) -> Result<()> {
        let examples = self.checked(batch, answers)?;
        if self.config.policy != Policy::PerClassAtEnd {
            examples.into_iter().for_each(|example| self.offer(example));
        }
        Ok(())
    }

    fn keeps_answers(&self) -> bool {
        self.config.logits > 0
    }

    /// Uniformly, none of them twice.
    fn draw(&mut self, examples: usize) -> Result<Option<ContinualBatch>> {
        let count = examples.min(self.len());
        if count == 0 {
            return Ok(None);
        }
        let slots = self.drawing.choose_distinct(self.len(), count)?;
        Ok(Some(self.batch(&slots)))
    }
}
