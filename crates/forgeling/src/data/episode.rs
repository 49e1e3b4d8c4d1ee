//! N-way K-shot episodes, drawn by a seeded sampler that can stop and go on.
//!
//! An episode is planned first, as class and example numbers, and rendered afterwards; what is drawn thus
//! depends on the seed and on the set's sizes, never on a pixel.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::image_shape::ImageShape;
use crate::rng::{Rng, RngState};

macro_rules! count {
    ($(#[$docs:meta])* $name:ident, $default:literal, $what:literal) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "usize", into = "usize")]
        pub struct $name(usize);

        impl $name {
            /// The field's usual number.
            pub const DEFAULT: Self = Self($default);

            /// # Errors
            ///
            /// If `n` is 0.
            pub fn new(n: usize) -> Result<Self> {
                if n == 0 {
                    return Err(Error::invalid("configure_episodes", concat!("no ", $what))
                        .expected("1 or more")
                        .got(0));
                }
                Ok(Self(n))
            }

            /// The number, 1 or more.
            pub const fn get(self) -> usize {
                self.0
            }
        }

        impl TryFrom<usize> for $name {
            type Error = Error;

            fn try_from(n: usize) -> Result<Self> {
                Self::new(n)
            }
        }

        impl From<$name> for usize {
            fn from(count: $name) -> usize {
                count.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

count!(
    /// Classes per episode.
    Ways,
    5,
    "classes in an episode"
);
count!(
    /// Labelled examples per class of an episode.
    Shots,
    5,
    "labelled examples in an episode"
);
count!(
    /// Examples per class of an episode whose class is to be predicted.
    Queries,
    15,
    "queries in an episode"
);

/// Everything an [`EpisodeSampler`] is, for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerState {
    /// Classes per episode.
    pub ways: Ways,
    /// Labelled examples per class.
    pub shots: Shots,
    /// Queries per class.
    pub queries: Queries,
    /// Where the random numbers stand.
    pub rng: RngState,
}

/// Which classes and examples make up one episode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodePlan {
    /// Classes, `[way]`, no class twice.
    pub classes: Vec<usize>,
    /// Examples to learn from, `[way, shot]`.
    pub support: Vec<usize>,
    /// Examples to classify, `[way, query]`, none of them among the class's support.
    pub query: Vec<usize>,
}

/// Draws episodes without replacement inside each.
///
/// ```
/// use forgeling::data::{EpisodeSampler, Glyphs, Queries, Shots, Split, Ways};
/// # fn main() -> forgeling::Result<()> {
/// let glyphs = Glyphs::new(1, Split::Train, 100)?;
/// let mut sampler = EpisodeSampler::new(Ways::new(5)?, Shots::new(1)?, Queries::new(3)?, 42);
/// let batch = sampler.sample_batch(&glyphs, 2)?;
/// assert_eq!(batch.query.len(), 2 * 5 * 3 * 28 * 28);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpisodeSampler {
    ways: Ways,
    shots: Shots,
    queries: Queries,
    rng: Rng,
}

impl EpisodeSampler {
    /// A sampler whose episodes follow from `seed`.
    pub fn new(ways: Ways, shots: Shots, queries: Queries, seed: u64) -> Self {
        Self {
            ways,
            shots,
            queries,
            rng: Rng::new(seed),
        }
    }

    /// Classes per episode.
    pub fn ways(&self) -> Ways {
        self.ways
    }

    /// Labelled examples per class.
    pub fn shots(&self) -> Shots {
        self.shots
    }

    /// Queries per class.
    pub fn queries(&self) -> Queries {
        self.queries
    }

    /// The state, from which [`EpisodeSampler::from_state`] goes on with the next episode.
    pub fn state(&self) -> SamplerState {
        SamplerState {
            ways: self.ways,
            shots: self.shots,
            queries: self.queries,
            rng: self.rng.state(),
        }
    }

    /// A sampler that goes on where `state` was taken.
    ///
    /// # Errors
    ///
    /// If the state is not one of the generator's.
    pub fn from_state(state: SamplerState) -> Result<Self> {
        Ok(Self {
            ways: state.ways,
            shots: state.shots,
            queries: state.queries,
            rng: Rng::from_state(state.rng)?,
        })
    }

    /// Whether every episode can be drawn from `dataset`, whichever classes come up.
    ///
    /// # Errors
    ///
    /// If there are fewer classes than ways, or a class has too few examples; the error names it.
    pub fn check(&self, dataset: &dyn Dataset) -> Result<()> {
        self.check_ways(dataset)?;
        (0..dataset.class_count()).try_for_each(|class| self.check_class(dataset, class).map(drop))
    }

    /// Draws the next episode's classes and examples without reading a pixel.
    ///
    /// # Errors
    ///
    /// If there are fewer classes than ways, or a drawn class has fewer than shots + queries examples. The
    /// sampler then stays where it was.
    pub fn plan(&mut self, dataset: &dyn Dataset) -> Result<EpisodePlan> {
        self.check_ways(dataset)?;
        let mut rng = self.rng.clone();
        let classes = rng.choose_distinct(dataset.class_count(), self.ways.get())?;
        let mut support = Vec::new();
        let mut query = Vec::new();
        for &class in &classes {
            let (examples, needed) = self.check_class(dataset, class)?;
            let drawn = rng.choose_distinct(examples, needed)?;
            let (learn, ask) = drawn.split_at(self.shots.get());
            support.extend_from_slice(learn);
            query.extend_from_slice(ask);
        }
        self.rng = rng;
        Ok(EpisodePlan {
            classes,
            support,
            query,
        })
    }

    /// Draws and reads one episode.
    ///
    /// # Errors
    ///
    /// As [`EpisodeSampler::plan`] and [`Dataset::read`].
    pub fn sample(&mut self, dataset: &dyn Dataset) -> Result<EpisodeBatch> {
        self.sample_batch(dataset, 1)
    }

    /// Draws and reads `episodes` episodes, the same ones that as many calls of
    /// [`EpisodeSampler::sample`] would give.
    ///
    /// # Errors
    ///
    /// If `episodes` is 0 or the pixels do not fit in memory; else as [`EpisodeSampler::sample`]. The sampler
    /// then stays where it was.
    pub fn sample_batch(&mut self, dataset: &dyn Dataset, episodes: usize) -> Result<EpisodeBatch> {
        let before = self.rng.clone();
        let batch = self.try_sample_batch(dataset, episodes);
        if batch.is_err() {
            self.rng = before;
        }
        batch
    }

    fn try_sample_batch(&mut self, dataset: &dyn Dataset, episodes: usize) -> Result<EpisodeBatch> {
        let mut batch = self.empty_batch(dataset.image_shape(), episodes)?;
        for _ in 0..episodes {
            batch.push(self.plan(dataset)?);
        }
        for index in 0..batch.image_count() {
            let (class, example, image) = batch.image_mut(index);
            dataset.read(class, example, image)?;
        }
        Ok(batch)
    }

    /// Room for `episodes` episodes, to which plans are [pushed](EpisodeBatch::push) and then images written.
    pub(super) fn empty_batch(&self, shape: ImageShape, episodes: usize) -> Result<EpisodeBatch> {
        if episodes == 0 {
            return Err(Error::invalid(OPERATION, "no episode was asked for")
                .expected("1 or more")
                .got(0));
        }
        if shape.is_empty() {
            let error = Error::invalid(OPERATION, "the set's images have no pixel");
            return Err(error.got(shape));
        }
        Ok(EpisodeBatch {
            episodes,
            ways: self.ways,
            shots: self.shots,
            queries: self.queries,
            shape,
            support: room([episodes, self.ways.get(), self.shots.get(), shape.len()])?,
            query: room([episodes, self.ways.get(), self.queries.get(), shape.len()])?,
            classes: Vec::new(),
            support_examples: Vec::new(),
            query_examples: Vec::new(),
        })
    }

    fn check_ways(&self, dataset: &dyn Dataset) -> Result<()> {
        let classes = dataset.class_count();
        if classes < self.ways.get() {
            return Err(
                Error::invalid(OPERATION, "the set has fewer classes than an episode")
                    .expected(format!("{} or more", self.ways))
                    .got(classes),
            );
        }
        Ok(())
    }

    /// How many examples `class` has, and how many an episode needs.
    fn check_class(&self, dataset: &dyn Dataset, class: usize) -> Result<(usize, usize)> {
        let needed = self.shots.get().saturating_add(self.queries.get());
        let examples = dataset.class_len(class);
        if examples < needed {
            let name = dataset.class_name(class);
            let message = format!("class {name} has too few examples");
            return Err(Error::invalid(OPERATION, message)
                .expected(format!(
                    "{needed} ({} to learn from, {} to classify)",
                    self.shots, self.queries
                ))
                .got(examples));
        }
        Ok((examples, needed))
    }
}

const OPERATION: &str = "sample_episodes";

/// Zeros for `sides`, or an error where the memory does not suffice.
pub(super) fn room(sides: [usize; 4]) -> Result<Vec<f32>> {
    let total = sides
        .iter()
        .try_fold(1usize, |product, &side| product.checked_mul(side));
    let mut values = Vec::new();
    if let Some(total) = total
        && values.try_reserve_exact(total).is_ok()
    {
        values.resize(total, 0.0);
        return Ok(values);
    }
    let [episodes, ways, per_class, len] = sides;
    Err(Error::new(
        ErrorKind::OutOfMemory,
        OPERATION,
        format!("no room for {episodes} × {ways} × {per_class} images of {len} values"),
    ))
}

/// The pixels of one or more episodes, and where they came from.
///
/// Within an episode, classes are numbered by their place, `0..ways`, which is the label to learn.
#[derive(Debug, Clone, PartialEq)]
pub struct EpisodeBatch {
    /// How many episodes.
    pub episodes: usize,
    /// Classes per episode.
    pub ways: Ways,
    /// Labelled examples per class.
    pub shots: Shots,
    /// Queries per class.
    pub queries: Queries,
    /// The shape of each image.
    pub shape: ImageShape,
    /// Images to learn from, `[episode, way, shot, channel, row, column]`.
    pub support: Vec<f32>,
    /// Images to classify, `[episode, way, query, channel, row, column]`.
    pub query: Vec<f32>,
    /// The set's classes, `[episode, way]`.
    pub classes: Vec<usize>,
    /// The set's examples in `support`, `[episode, way, shot]`.
    pub support_examples: Vec<usize>,
    /// The set's examples in `query`, `[episode, way, query]`.
    pub query_examples: Vec<usize>,
}

impl EpisodeBatch {
    /// Adds the next episode's numbers.
    pub(super) fn push(&mut self, plan: EpisodePlan) {
        self.classes.extend(plan.classes);
        self.support_examples.extend(plan.support);
        self.query_examples.extend(plan.query);
    }

    /// Images to learn from and to classify.
    pub(super) fn image_count(&self) -> usize {
        self.support_examples.len() + self.query_examples.len()
    }

    /// Class, example and place of image `index`, those to learn from first.
    pub(super) fn image_mut(&mut self, index: usize) -> (usize, usize, &mut [f32]) {
        let supports = self.support_examples.len();
        let (index, per_class, examples, images) = if index < supports {
            let shots = self.shots.get();
            (index, shots, &self.support_examples, &mut self.support)
        } else {
            let index = index - supports;
            let queries = self.queries.get();
            (index, queries, &self.query_examples, &mut self.query)
        };
        let len = self.shape.len();
        let image = &mut images[index * len..(index + 1) * len];
        (self.classes[index / per_class], examples[index], image)
    }

    /// The six sides of `support`.
    pub fn support_dims(&self) -> [usize; 6] {
        self.dims(self.shots.get())
    }

    /// The six sides of `query`.
    pub fn query_dims(&self) -> [usize; 6] {
        self.dims(self.queries.get())
    }

    fn dims(&self, per_class: usize) -> [usize; 6] {
        let ImageShape {
            channels,
            height,
            width,
        } = self.shape;
        let ways = self.ways.get();
        [self.episodes, ways, per_class, channels, height, width]
    }

    /// The right answers, `[episode, way, query]`, each in `0..ways`.
    pub fn query_labels(&self) -> Vec<usize> {
        labels(self.episodes, self.ways.get(), self.queries.get())
    }

    /// The labels of the support, `[episode, way, shot]`, each in `0..ways`.
    pub fn support_labels(&self) -> Vec<usize> {
        labels(self.episodes, self.ways.get(), self.shots.get())
    }

    /// One image to learn from, if there is such a one.
    pub fn support_image(&self, episode: usize, way: usize, shot: usize) -> Option<&[f32]> {
        self.image(&self.support, self.shots.get(), [episode, way, shot])
    }

    /// One image to classify, if there is such a one.
    pub fn query_image(&self, episode: usize, way: usize, query: usize) -> Option<&[f32]> {
        self.image(&self.query, self.queries.get(), [episode, way, query])
    }

    fn image<'a>(
        &self,
        pixels: &'a [f32],
        per_class: usize,
        [episode, way, place]: [usize; 3],
    ) -> Option<&'a [f32]> {
        if way >= self.ways.get() || place >= per_class || episode >= self.episodes {
            return None;
        }
        let index = (episode * self.ways.get() + way) * per_class + place;
        let len = self.shape.len();
        pixels.get(index * len..(index + 1) * len)
    }

    /// The episodes of a range of their numbers.
    ///
    /// # Panics
    /// When there are no such episodes.
    #[must_use]
    pub fn part(&self, episodes: Range<usize>) -> Self {
        let ways = self.ways.get();
        let (support, query) = (ways * self.shots.get(), ways * self.queries.get());
        let of = |each: usize| episodes.start * each..episodes.end * each;
        let values = self.shape.len();
        Self {
            episodes: episodes.len(),
            ways: self.ways,
            shots: self.shots,
            queries: self.queries,
            shape: self.shape,
            support: self.support[of(support * values)].to_vec(),
            query: self.query[of(query * values)].to_vec(),
            classes: self.classes[of(ways)].to_vec(),
            support_examples: self.support_examples[of(support)].to_vec(),
            query_examples: self.query_examples[of(query)].to_vec(),
        }
    }

    /// What the sampler planned for `episode`.
    pub fn plan(&self, episode: usize) -> Option<EpisodePlan> {
        let part = |numbers: &[usize], per_episode: usize| {
            let part = numbers.chunks(per_episode).nth(episode)?;
            Some(part.to_vec())
        };
        let ways = self.ways.get();
        Some(EpisodePlan {
            classes: part(&self.classes, ways)?,
            support: part(&self.support_examples, ways * self.shots.get())?,
            query: part(&self.query_examples, ways * self.queries.get())?,
        })
    }
}

fn labels(episodes: usize, ways: usize, per_class: usize) -> Vec<usize> {
    (0..episodes * ways * per_class)
        .map(|index| index / per_class % ways)
        .collect()
}
