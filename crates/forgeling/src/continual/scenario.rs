//! What is learned after what.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::transform::{Change, Transform};
use crate::data::{Dataset, ImageShape, Rng, Split};
use crate::error::{Error, Result};
use crate::train::parts::Needs;

const OPERATION: &str = "new_scenario";
const CLASS_STREAM: u64 = 1;
const PIXEL_STREAM: u64 = 2;
/// Contexts of a scenario at most.
const MOST_CONTEXTS: usize = 1 << 16;
/// Examples of a context at most, as of a [`Subset`](crate::data::Subset).
pub(super) const MOST_EXAMPLES: usize = 1 << 28;

/// How the contexts of a scenario differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// In their classes: context after context has the next so many of the classes in their order. Classes beyond the sum
    /// are left out.
    Split {
        /// Classes of each context.
        sizes: Vec<usize>,
    },
    /// In the order of their pixels: all contexts have all classes, each in a random order of pixels of its own, the same in
    /// all channels. The first context is permuted like the others, as in Avalanche and, with any seed but 0, in van de
    /// Ven's code.
    Permuted {
        /// How many.
        contexts: usize,
        /// Rows and columns of zeros that are put on each side before. In van de Ven's benchmark 2, which makes 32 × 32
        /// of 28 × 28.
        padding: usize,
        /// What the orders follow from.
        seed: u64,
    },
    /// In how images are turned: all contexts have all classes.
    Rotated {
        /// By how much in each context, counter-clockwise about the centre of the image. Pixels are interpolated bilinearly;
        /// what comes in at the border is 0.
        degrees: Vec<f32>,
    },
    /// As [`Split`](Self::Split), but the contexts run into each other, and every example comes once. The place of an
    /// example of context `i` in the stream goes by `i + u + d`, where `u` is uniform in `[0, 1)` and `d` within
    /// ± `overlap`. For [`Setting::Free`] only.
    Blurred {
        /// Classes of each context.
        sizes: Vec<usize>,
        /// By how many contexts an example comes too early or too late at most.
        overlap: f64,
    },
}

impl Kind {
    /// [`Split`](Self::Split) in contexts with as many classes each.
    ///
    /// # Errors
    /// When `classes` is not a multiple of `contexts`, or either is 0.
    pub fn split_evenly(classes: usize, contexts: usize) -> Result<Self> {
        if classes == 0 || contexts == 0 || !classes.is_multiple_of(contexts) {
            let message = "the contexts would not have as many classes each";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("a divisor of {classes} contexts"))
                .got(contexts));
        }
        let sizes = vec![classes / contexts; contexts];
        Ok(Self::Split { sizes })
    }
}

/// What a learner is told, and what it has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Task-incremental: it is told the context of each example, also when tested, and tells the classes of a context
    /// apart. Every class of every context has a label of its own.
    Task,
    /// Domain-incremental: it is told where contexts end in training, and tells the classes of a context apart without
    /// being told of which. Labels count the classes of a context.
    Domain,
    /// Class-incremental: it is told where contexts end in training, and tells all classes of all contexts apart.
    Class,
    /// Without boundaries: it is told nothing. Labels are those of [`Class`](Self::Class) where contexts differ in their
    /// classes, and of [`Domain`](Self::Domain) where they have the same.
    Free,
}

impl Setting {
    /// What it reveals to the parts of a run that trains on one context after the other.
    pub fn reveals(self) -> Needs {
        Needs {
            task_boundaries: self != Self::Free,
            task_ids: self == Self::Task,
            replayed: 0,
        }
    }
}

/// What makes a [`Scenario`] of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioConfig {
    /// How the contexts differ.
    pub kind: Kind,
    /// What is told.
    pub setting: Setting,
    /// From what the order of the classes follows; `None` for that of the data set.
    pub class_order: Option<u64>,
}

/// What is learned after what: contexts of the examples of a data set. What is trained on and tested with have the same
/// contexts.
///
/// ```
/// use forgeling::continual::{Kind, Scenario, ScenarioConfig, Setting};
/// use forgeling::data::{Dataset, Glyphs, Split, Subset};
///
/// let train = Subset::first(Glyphs::new(1, Split::Train, 10)?, 20)?;
/// let test = Subset::first(Glyphs::new(1, Split::Train, 10)?, 5)?;
/// let config = ScenarioConfig {
///     kind: Kind::split_evenly(10, 5)?,
///     setting: Setting::Class,
///     class_order: Some(7),
/// };
/// let scenario = Scenario::new(train, test, config)?;
/// assert_eq!((scenario.len(), scenario.outputs()), (5, 10));
/// let context = scenario.context(Split::Train, 1)?;
/// assert_eq!((context.class_count(), context.labels()), (2, 2..4));
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Clone)]
pub struct Scenario {
    train: Arc<dyn Dataset>,
    test: Arc<dyn Dataset>,
    config: ScenarioConfig,
    /// The classes of the data set in their order.
    order: Vec<usize>,
    /// Which of `order` each context has.
    classes: Vec<Range<usize>>,
    /// Their labels.
    labels: Vec<Range<usize>>,
}

impl Scenario {
    /// A scenario of these examples.
    ///
    /// # Errors
    /// When there is no context or one without classes, more classes are asked for than there are, a class has no example or
    /// more than 2²⁸ come together, the two sets have images or classes of different kinds, padding or angles are out of
    /// range, or contexts that run into each other are to have boundaries.
    pub fn new(
        train: impl Dataset + 'static,
        test: impl Dataset + 'static,
        config: ScenarioConfig,
    ) -> Result<Self> {
        let (train, test): (Arc<dyn Dataset>, Arc<dyn Dataset>) = (Arc::new(train), Arc::new(test));
        let (shape, count) = (train.image_shape(), train.class_count());
        if shape != test.image_shape() || shape.is_empty() {
            let message = "the images to train on and to test with are not alike, or have no pixel";
            return Err(Error::invalid(OPERATION, message)
                .expected(shape)
                .got(test.image_shape()));
        }
        if count != test.class_count() {
            let message = "there are not as many classes to test with as to train on";
            return Err(Error::invalid(OPERATION, message)
                .expected(count)
                .got(test.class_count()));
        }
        let classes = config.classes(count)?;
        let labels = config.labels(&classes, count)?;
        config.check_images(shape)?;
        let mut order: Vec<usize> = (0..count).collect();
        if let Some(seed) = config.class_order {
            Rng::new(seed).fork(CLASS_STREAM).shuffle(&mut order);
        }
        for set in [&train, &test] {
            for class in &classes {
                check_examples(&**set, &order[class.clone()])?;
            }
        }
        Ok(Self {
            train,
            test,
            config,
            order,
            classes,
            labels,
        })
    }

    /// As configured.
    pub fn config(&self) -> &ScenarioConfig {
        &self.config
    }

    /// How many contexts there are, 1 or more.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there is none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// How many labels there are in all: outputs of a network that has all from the start.
    pub fn outputs(&self) -> usize {
        let ends = self.labels.iter().map(|labels| labels.end);
        ends.max().unwrap_or(0)
    }

    /// The labels of the classes of a context. Those of all contexts so far end where these do.
    ///
    /// # Errors
    /// When there is no such context.
    pub fn labels(&self, context: usize) -> Result<Range<usize>> {
        Ok(self.labels[self.check(context)?].clone())
    }

    /// The classes of the data set that a context has, in the order of its labels.
    ///
    /// # Errors
    /// When there is no such context.
    pub fn classes(&self, context: usize) -> Result<&[usize]> {
        let range = self.classes[self.check(context)?].clone();
        Ok(&self.order[range])
    }

    /// The shape of an image in any context.
    pub fn image_shape(&self) -> ImageShape {
        self.config.padding().shape(self.train.image_shape())
    }

    /// The examples of a context to train on or to test with.
    ///
    /// # Errors
    /// When there is no such context.
    pub fn context(&self, split: Split, context: usize) -> Result<Context> {
        let data = match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        };
        Ok(Context {
            data: data.clone(),
            index: context,
            classes: self.classes(context)?.to_vec(),
            labels: self.labels(context)?,
            transform: self.config.transform(self.train.image_shape(), context),
        })
    }

    fn check(&self, context: usize) -> Result<usize> {
        match context < self.len() {
            true => Ok(context),
            false => Err(
                Error::invalid("scenario_context", "there is no such context")
                    .expected(format!("a context below {}", self.len()))
                    .got(context),
            ),
        }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("config", &self.config)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

fn check_examples(set: &dyn Dataset, classes: &[usize]) -> Result<()> {
    let mut examples = 0usize;
    for &class in classes {
        let len = set.class_len(class);
        examples = examples.saturating_add(len);
        if len == 0 || examples > MOST_EXAMPLES {
            let name = set.class_name(class);
            let message = format!("class {name} has no examples, or its context too many");
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("1 to {MOST_EXAMPLES}, as of a Subset"))
                .got(len));
        }
    }
    Ok(())
}

impl ScenarioConfig {
    /// Which of `count` classes each context has, as places in their order.
    fn classes(&self, count: usize) -> Result<Vec<Range<usize>>> {
        let contexts = match &self.kind {
            Kind::Split { sizes } | Kind::Blurred { sizes, .. } => sizes.len(),
            Kind::Permuted { contexts, .. } => *contexts,
            Kind::Rotated { degrees } => degrees.len(),
        };
        if !(1..=MOST_CONTEXTS).contains(&contexts) {
            return Err(Error::invalid(OPERATION, "no contexts, or too many")
                .expected(format!("1 to {MOST_CONTEXTS}"))
                .got(contexts));
        }
        let (Kind::Split { sizes } | Kind::Blurred { sizes, .. }) = &self.kind else {
            if count == 0 {
                return Err(Error::invalid(OPERATION, "the data set has no class"));
            }
            return Ok(vec![0..count; contexts]);
        };
        let (mut start, mut classes) = (0usize, Vec::new());
        for (context, &size) in sizes.iter().enumerate() {
            let message = format!("context {context} has no classes, or more than are left");
            if size == 0 || size > count - start {
                return Err(Error::invalid(OPERATION, message)
                    .expected(format!("1 to {} of {count} classes", count - start))
                    .got(size));
            }
            classes.push(start..start + size);
            start += size;
        }
        Ok(classes)
    }

    fn labels(&self, classes: &[Range<usize>], count: usize) -> Result<Vec<Range<usize>>> {
        let split = matches!(self.kind, Kind::Split { .. } | Kind::Blurred { .. });
        let own = match self.setting {
            Setting::Task | Setting::Class => true,
            Setting::Domain => false,
            Setting::Free => split,
        };
        if !own {
            return Ok(classes.iter().map(|range| 0..range.len()).collect());
        }
        if split {
            return Ok(classes.to_vec());
        }
        let most = count.checked_mul(classes.len());
        if most.is_none_or(|labels| labels > u32::MAX as usize) {
            return Err(Error::invalid(OPERATION, "there are too many labels")
                .expected(format!("at most {}", u32::MAX))
                .got(format!("{} contexts of {count}", classes.len())));
        }
        let labels = |context: usize| context * count..(context + 1) * count;
        Ok((0..classes.len()).map(labels).collect())
    }

    fn check_images(&self, shape: ImageShape) -> Result<()> {
        let refuse = |what: &str, expected: String, got: String| {
            Err(Error::invalid(OPERATION, what).expected(expected).got(got))
        };
        match &self.kind {
            Kind::Split { .. } => Ok(()),
            Kind::Permuted { padding, .. } => {
                let most = shape.height.max(shape.width);
                let wide = self.padding().shape(shape);
                if *padding > most || u32::try_from(wide.len()).is_err() {
                    let expected = format!("at most {most} rows and columns on each side");
                    return refuse("the padding is out of range", expected, padding.to_string());
                }
                Ok(())
            }
            Kind::Rotated { degrees } => {
                match degrees.iter().find(|d| !(-360.0..=360.0).contains(*d)) {
                    Some(angle) => refuse(
                        "an angle is out of range",
                        "-360 to 360 degrees".into(),
                        angle.to_string(),
                    ),
                    None => Ok(()),
                }
            }
            Kind::Blurred { sizes, overlap } => {
                if self.setting != Setting::Free {
                    return refuse(
                        "contexts that run into each other have no boundaries",
                        "the setting 'free'".into(),
                        format!("{:?}", self.setting),
                    );
                }
                if !(0.0..=sizes.len() as f64).contains(overlap) {
                    let expected = format!("0 to {} contexts", sizes.len());
                    return refuse("the overlap is out of range", expected, overlap.to_string());
                }
                Ok(())
            }
        }
    }

    /// What is done to the images of all contexts.
    fn padding(&self) -> Transform {
        let padding = match self.kind {
            Kind::Permuted { padding, .. } => padding,
            _ => 0,
        };
        Transform {
            padding,
            ..Transform::NONE
        }
    }

    /// What is done to the images, of this shape, of a context.
    fn transform(&self, shape: ImageShape, context: usize) -> Transform {
        let padding = self.padding();
        let change = match &self.kind {
            Kind::Split { .. } | Kind::Blurred { .. } => Change::None,
            Kind::Permuted { seed, .. } => {
                let wide = padding.shape(shape);
                let mut places: Vec<u32> = (0..(wide.height * wide.width) as u32).collect();
                let rng = Rng::new(*seed).fork(PIXEL_STREAM);
                rng.fork(context as u64).shuffle(&mut places);
                Change::Permutation(Arc::new(places))
            }
            Kind::Rotated { degrees } => match degrees[context] {
                0.0 => Change::None,
                degrees => Change::Turn { degrees },
            },
        };
        Transform { change, ..padding }
    }
}
