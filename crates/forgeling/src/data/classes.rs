//! Classes of different sets, matched by their names.

use std::collections::{BTreeMap, BTreeSet};

use super::dataset::{Dataset, check_read};
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const OPERATION: &str = "match_classes";

/// Names that a message lists at most.
const MOST_LISTED: usize = 5;

/// Whether a set may lack some of the classes that it is matched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// It may: what it lacks is a class without examples. So a model is tested on some of its classes.
    Allowed,
    /// It may not.
    Refused,
}

/// A set with its classes in the order of a list of names; see [`match_classes`].
#[derive(Debug, Clone)]
pub struct Reordered<D> {
    inner: D,
    names: Vec<String>,
    /// Where the set has the class of each name.
    places: Vec<Option<usize>>,
}

/// Presents `found` with the classes `known`, in their order, whatever order it has them in. A class of `known` that it
/// lacks has no example.
///
/// ```
/// use forgeling::data::{Dataset, ImageSet, ImageShape, Missing, match_classes};
/// # fn main() -> forgeling::Result<()> {
/// let pictures = ImageSet::from_f32(ImageShape::new(1, 1, 1), &["owl", "cat"], &[0.0, 1.0])?;
/// let known = ["cat", "dog", "owl"].map(String::from);
/// let matched = match_classes(pictures, &known, Missing::Allowed)?;
/// assert_eq!(matched.class_name(2), "owl");
/// assert_eq!((0..3).map(|class| matched.class_len(class)).collect::<Vec<_>>(), [1, 0, 1]);
/// assert_eq!(matched.missing(), ["dog"]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When `found` has a class that is not `known`, when it lacks one that is and that is [`Missing::Refused`], and when two
/// classes have one name but the lists differ. The error names the classes; where names differ only in case, spaces,
/// underscores, hyphens or an `s` at the end, it says which may be which.
pub fn match_classes<D: Dataset>(
    found: D,
    known: &[String],
    missing: Missing,
) -> Result<Reordered<D>> {
    let names: Vec<String> = (0..found.class_count())
        .map(|class| found.class_name(class))
        .collect();
    if names == known {
        return Ok(Reordered {
            inner: found,
            places: (0..names.len()).map(Some).collect(),
            names,
        });
    }
    let (of_found, of_known) = (by_name(&names)?, by_name(known)?);
    let unknown = lacking(&names, &of_known);
    let absent = lacking(known, &of_found);
    if !unknown.is_empty() || (missing == Missing::Refused && !absent.is_empty()) {
        return Err(
            Error::bad_data(OPERATION, difference(&unknown, &absent, known))
                .expected(listed(known))
                .got(listed(&names)),
        );
    }
    let place = |name: &String| of_found.get(name.as_str()).copied();
    Ok(Reordered {
        inner: found,
        names: known.to_vec(),
        places: known.iter().map(place).collect(),
    })
}

/// The names of the classes that have examples in `a` as well as in `b`, in the order of `a`. Nothing but names is
/// compared: sets that number their classes, such as [`Glyphs`](super::Glyphs), share them whatever they show.
pub fn shared_classes(a: &dyn Dataset, b: &dyn Dataset) -> Vec<String> {
    let of_b: BTreeSet<String> = with_examples(b).collect();
    with_examples(a)
        .filter(|name| of_b.contains(name))
        .collect()
}

fn with_examples(data: &dyn Dataset) -> impl Iterator<Item = String> {
    (0..data.class_count())
        .filter(|&class| data.class_len(class) > 0)
        .map(|class| data.class_name(class))
}

/// The first five names, in quotation marks, and how many more there are: `'oak', 'elm'`.
pub fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let quoted = names.iter().map(|name| format!("'{}'", name.as_ref()));
    shortened(quoted.collect())
}

fn shortened(mut parts: Vec<String>) -> String {
    let more = parts.len().saturating_sub(MOST_LISTED);
    parts.truncate(MOST_LISTED);
    let some = parts.join(", ");
    match more {
        0 => some,
        _ => format!("{some} and {more} more"),
    }
}

fn by_name(names: &[String]) -> Result<BTreeMap<&str, usize>> {
    let mut places = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        if places.insert(name.as_str(), place).is_some() {
            let message = format!("two classes are called '{name}'");
            return Err(Error::bad_data(OPERATION, message).expected("a name for each class"));
        }
    }
    Ok(places)
}

/// The names that are not among the others.
fn lacking<'a>(names: &'a [String], others: &BTreeMap<&str, usize>) -> Vec<&'a str> {
    let names = names.iter().map(String::as_str);
    names.filter(|name| !others.contains_key(name)).collect()
}

fn difference(unknown: &[&str], absent: &[&str], known: &[String]) -> String {
    let mut parts = vec!["the classes differ".to_owned()];
    if !unknown.is_empty() {
        parts.push(format!("unknown: {}", listed(unknown)));
    }
    if !absent.is_empty() {
        parts.push(format!("missing: {}", listed(absent)));
    }
    // Of several names that are alike, one that is missing comes first.
    let mut alike = BTreeMap::new();
    for name in absent
        .iter()
        .copied()
        .chain(known.iter().map(String::as_str))
    {
        alike.entry(folded(name)).or_insert(name);
    }
    let suggestion = |name: &&str| {
        let plain = folded(name);
        let shorter = plain.strip_suffix('s').map(str::to_owned);
        let spellings = [Some(plain.clone()), shorter, Some(format!("{plain}s"))];
        let like = spellings.iter().flatten().find_map(|key| alike.get(key));
        like.map(|like| format!("'{name}' may be '{like}'"))
    };
    let suggestions: Vec<String> = unknown.iter().filter_map(suggestion).collect();
    if !suggestions.is_empty() {
        parts.push(shortened(suggestions));
    }
    parts.join("; ")
}

/// A name without what is easily written in another way.
fn folded(name: &str) -> String {
    let kept = |c: &char| !c.is_whitespace() && !matches!(c, '_' | '-');
    name.to_lowercase().chars().filter(kept).collect()
}

impl<D> Reordered<D> {
    /// The set whose classes are reordered.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// The names of the classes that the set lacks.
    pub fn missing(&self) -> Vec<&str> {
        let classes = self.names.iter().zip(&self.places);
        let lacking = classes.filter(|(_, place)| place.is_none());
        lacking.map(|(name, _)| name.as_str()).collect()
    }

    fn place(&self, class: usize) -> Option<usize> {
        self.places.get(class).copied().flatten()
    }
}

impl<D: Dataset> Dataset for Reordered<D> {
    fn class_count(&self) -> usize {
        self.names.len()
    }

    fn class_name(&self, class: usize) -> String {
        let name = self.names.get(class).cloned();
        name.unwrap_or_else(|| format!("class {class}"))
    }

    fn class_len(&self, class: usize) -> usize {
        self.place(class)
            .map_or(0, |place| self.inner.class_len(place))
    }

    fn image_shape(&self) -> ImageShape {
        self.inner.image_shape()
    }

    fn read(&self, class: usize, example: usize, out: &mut [f32]) -> Result<()> {
        check_read(self, class, example, out)?;
        // A class without a place has no example, which was just checked.
        let place = self.place(class).unwrap_or(usize::MAX);
        self.inner.read(place, example, out)
    }
}
