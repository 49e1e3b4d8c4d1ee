//! How well classes are told apart.

use serde::{Deserialize, Serialize};

use super::Validation;

/// How many examples of a class were classified correctly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Classified correctly.
    pub right: usize,
    /// In all.
    pub total: usize,
}

impl Tally {
    /// The share that was classified correctly, the class's recall; 0 where there is nothing to tell.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.total.max(1) as f64
    }
}

/// The mean of the classes' accuracies `right / total`, over the classes that have examples; `None` where none has. Of
/// balanced sets this is the accuracy; a model that always gives one answer reaches 1 / classes however often that is right.
///
/// Paper: Brodersen, Ong, Stephan and Buhmann, "The balanced accuracy and its posterior distribution", ICPR 2010; the same
/// as `balanced_accuracy_score` of scikit-learn.
///
/// ```
/// use forgeling::train::{Tally, balanced_accuracy};
/// let always_the_first = [Tally { right: 100, total: 100 }, Tally { right: 0, total: 5 }];
/// assert_eq!(balanced_accuracy(always_the_first), Some(0.5));
/// ```
pub fn balanced_accuracy(classes: impl IntoIterator<Item = Tally>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for class in classes.into_iter().filter(|class| class.total > 0) {
        sum += class.accuracy();
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}

/// How a model does on data it is not trained on, class by class: what [`Trainer::score`](super::Trainer::score) gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Over all examples.
    pub validation: Validation,
    /// How many examples of each class were classified correctly, in the order of the model's classes; empty where classes are not
    /// told apart. Of episodes, a class is a place in the episode.
    pub classes: Vec<Tally>,
}

/// The largest logit of a row that is not empty; of several, the last one.
pub(crate) fn chosen(row: &[f32]) -> usize {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(class, _)| class)
}

/// Counts logits `[labels, classes]` and what they should have been.
pub(crate) fn tally(classes: &mut Vec<Tally>, logits: &[f32], labels: &[usize]) {
    let ways = logits.len() / labels.len().max(1);
    if classes.len() < ways {
        classes.resize(ways, Tally::default());
    }
    for (row, &label) in logits.chunks_exact(ways.max(1)).zip(labels) {
        if let Some(class) = classes.get_mut(label) {
            class.total += 1;
            class.right += usize::from(chosen(row) == label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits whose largest is that of the class.
    fn saying(answers: &[usize], ways: usize) -> Vec<f32> {
        let row = |&answer| (0..ways).map(move |class| if class == answer { 1.0 } else { -0.5 });
        answers.iter().flat_map(row).collect()
    }

    #[test]
    fn balanced_accuracy_is_that_of_scikit_learn() {
        // The example of its documentation: 0.625.
        let mut classes = Vec::new();
        tally(
            &mut classes,
            &saying(&[0, 1, 0, 0, 0, 1], 2),
            &[0, 1, 0, 0, 1, 0],
        );
        assert_eq!(
            classes,
            [Tally { right: 3, total: 4 }, Tally { right: 1, total: 2 }]
        );
        assert_eq!(balanced_accuracy(classes), Some(0.625));
    }

    #[test]
    fn classes_that_do_not_occur_do_not_count() {
        let mut classes = Vec::new();
        // Two of three and one of one, in two parts; of the classes 1 and 3 there is none.
        tally(&mut classes, &saying(&[0, 0], 4), &[0, 0]);
        tally(&mut classes, &saying(&[3, 2], 4), &[0, 2]);
        assert_eq!(classes.len(), 4);
        assert_eq!(
            classes.iter().map(|class| class.total).collect::<Vec<_>>(),
            [3, 0, 1, 0]
        );
        assert_eq!(balanced_accuracy(classes), Some((2.0 / 3.0 + 1.0) / 2.0));
        assert_eq!(balanced_accuracy([Tally::default()]), None);
    }

    #[test]
    fn equal_logits_are_the_last_class() {
        let mut classes = Vec::new();
        tally(&mut classes, &[0.0; 6], &[1, 2]);
        assert_eq!(classes[1], Tally { right: 0, total: 1 });
        assert_eq!(classes[2], Tally { right: 1, total: 1 });
    }
}
