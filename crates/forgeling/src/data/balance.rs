//! How evenly a set's examples are spread over its classes.

use super::dataset::Dataset;

/// Up to so many times as many examples in one class as in another are taken for alike.
const EVEN_ENOUGH: f64 = 3.0;

/// The extremes of a set whose classes differ much in size.
#[derive(Debug, Clone, PartialEq)]
pub struct Imbalance {
    /// The class with the most examples, and how many these are.
    pub largest: (String, usize),
    /// The class with the fewest, of those that have some, and how many these are.
    pub smallest: (String, usize),
    /// How many times as many there are in the largest as in the smallest.
    pub ratio: f64,
}

/// The extremes of `data`, where the largest class has more than 3 times as many examples as the smallest: accuracy then
/// says little of the small ones, and [`Subset::balanced`](super::Subset::balanced) evens the classes out. Classes without
/// examples do not count.
pub fn imbalance(data: &dyn Dataset) -> Option<Imbalance> {
    let sized = |class| (class, data.class_len(class));
    let sizes = || {
        (0..data.class_count())
            .map(sized)
            .filter(|(_, len)| *len > 0)
    };
    // Of several of one size, the first one either way.
    let largest = sizes().rev().max_by_key(|(_, len)| *len)?;
    let smallest = sizes().min_by_key(|(_, len)| *len)?;
    let ratio = largest.1 as f64 / smallest.1 as f64;
    let named = |(class, len)| (data.class_name(class), len);
    (ratio > EVEN_ENOUGH).then(|| Imbalance {
        largest: named(largest),
        smallest: named(smallest),
        ratio,
    })
}
