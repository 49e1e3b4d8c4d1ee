//! Some of a set's examples, and the split into examples to train on and to validate with.

use super::dataset::{Dataset, check_read};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;
use crate::rng::Rng;

/// Examples whose numbers are kept at most: 2 GiB.
const MOST_EXAMPLES: usize = 1 << 28;

/// All classes of `D` with some of their examples.
///
/// ```
/// use forgeling::data::{Dataset, Glyphs, Split, Subset};
/// # fn main() -> forgeling::Result<()> {
/// let glyphs = Subset::first(Glyphs::new(1, Split::Train, 10)?, 20)?;
/// let (train, validation) = glyphs.split(0.25, 7)?;
/// assert_eq!((train.class_len(3), validation.class_len(3)), (15, 5));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Subset<D> {
    inner: D,
    /// The examples of each class.
    examples: Vec<Vec<usize>>,
}

impl<D: Dataset> Subset<D> {
    /// The first examples of each class, at most `per_class`.
    ///
    /// # Errors
    /// When these are more than 2²⁸ in all.
    pub fn first(inner: D, per_class: usize) -> Result<Self> {
        let lens = || (0..inner.class_count()).map(|class| inner.class_len(class).min(per_class));
        let mut total = 0usize;
        for len in lens() {
            total = total.saturating_add(len);
            if total > MOST_EXAMPLES {
                let error = Error::invalid("first_examples", "there are too many examples");
                return Err(error.expected(format!("at most {MOST_EXAMPLES}")));
            }
        }
        let examples = lens().map(|len| (0..len).collect()).collect();
        Ok(Self { inner, examples })
    }

    /// Chosen examples, one list for each class. An example may be given twice.
    ///
    /// # Errors
    /// When there is not one list for each class, or an example does not exist.
    pub fn new(inner: D, examples: Vec<Vec<usize>>) -> Result<Self> {
        const OPERATION: &str = "new_subset";
        if examples.len() != inner.class_count() {
            let error = Error::invalid(OPERATION, "there must be one list for each class");
            return Err(error.expected(inner.class_count()).got(examples.len()));
        }
        for (class, list) in examples.iter().enumerate() {
            let len = inner.class_len(class);
            if let Some(example) = list.iter().find(|&&example| example >= len) {
                let message = format!("class {} has no such example", inner.class_name(class));
                return Err(Error::invalid(OPERATION, message)
                    .expected(format!("an example below {len}"))
                    .got(example));
            }
        }
        Ok(Self { inner, examples })
    }

    /// Splits the examples at random into those to train on and those to validate with, `validation` of each class:
    /// rounded, but of two or more at least one on each side; a class's only example is trained on.
    ///
    /// # Errors
    /// When `validation` does not lie between 0 and 1, both excluded.
    pub fn split(self, validation: f64, seed: u64) -> Result<(Self, Self)>
    where
        D: Clone,
    {
        if !(validation > 0.0 && validation < 1.0) {
            let error = Error::invalid("split_examples", "the share is out of range");
            return Err(error
                .expected("a number above 0 and below 1")
                .got(validation));
        }
        let rng = Rng::new(seed);
        let (train, held_out) = self
            .examples
            .into_iter()
            .enumerate()
            .map(|(class, mut examples)| {
                rng.fork(class as u64).shuffle(&mut examples);
                let count = examples.len();
                let wanted = (count as f64 * validation).round() as usize;
                let held = match count {
                    0 | 1 => 0,
                    _ => wanted.clamp(1, count - 1),
                };
                let mut train = examples.split_off(held);
                // In their order, as far as a set has one.
                train.sort_unstable();
                examples.sort_unstable();
                (train, examples)
            })
            .unzip();
        let train = Self {
            inner: self.inner.clone(),
            examples: train,
        };
        let held_out = Self {
            inner: self.inner,
            examples: held_out,
        };
        Ok((train, held_out))
    }

    /// Gives each class as many examples as the largest one has, by repeating: all of them in their order, then again and
    /// again in an order that follows from `seed`, so that no example comes up two times more often than another of its
    /// class. A class without examples stays without. So training on an uneven set takes all classes alike.
    ///
    /// ```
    /// use forgeling::data::{Dataset, Glyphs, Split, Subset};
    /// # fn main() -> forgeling::Result<()> {
    /// let glyphs = Glyphs::new(1, Split::Train, 2)?;
    /// let uneven = Subset::new(glyphs, vec![vec![0, 1, 2, 3, 4], vec![7]])?;
    /// assert_eq!(uneven.balanced(1)?.examples()[1], [7, 7, 7, 7, 7]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When these are more than 2²⁸ in all.
    pub fn balanced(mut self, seed: u64) -> Result<Self> {
        let most = self.examples.iter().map(Vec::len).max().unwrap_or(0);
        let filled = self.examples.iter().filter(|list| !list.is_empty()).count();
        if most.saturating_mul(filled) > MOST_EXAMPLES {
            let message = "the classes are too uneven to be filled up";
            return Err(Error::invalid("balance_examples", message)
                .expected(format!("at most {MOST_EXAMPLES} examples"))
                .got(format!("{filled} classes of {most}")));
        }
        let rng = Rng::new(seed);
        for (class, list) in self.examples.iter_mut().enumerate() {
            let mut again = list.clone();
            rng.fork(class as u64).shuffle(&mut again);
            let lacking = most - list.len();
            list.extend(again.into_iter().cycle().take(lacking));
        }
        Ok(self)
    }

    /// The set that the examples are of.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// The examples of each class, as the whole set numbers them.
    pub fn examples(&self) -> &[Vec<usize>] {
        &self.examples
    }
}

/// Splits all examples of `dataset` as [`Subset::split`] does.
///
/// # Errors
/// As [`Subset::first`] and [`Subset::split`].
pub fn split_examples<D: Dataset + Clone>(
    dataset: D,
    validation: f64,
    seed: u64,
) -> Result<(Subset<D>, Subset<D>)> {
    Subset::first(dataset, usize::MAX)?.split(validation, seed)
}

impl<D: Dataset> Dataset for Subset<D> {
    fn class_count(&self) -> usize {
        self.inner.class_count()
    }

    fn class_name(&self, class: usize) -> String {
        self.inner.class_name(class)
    }

    fn class_len(&self, class: usize) -> usize {
        self.examples.get(class).map_or(0, Vec::len)
    }

    fn image_shape(&self) -> ImageShape {
        self.inner.image_shape()
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        self.inner.read(class, self.examples[class][example], out)
    }
}
