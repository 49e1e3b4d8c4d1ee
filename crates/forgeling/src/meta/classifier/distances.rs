//! How far examples are from classes that were made without them.

use super::answers::mean;

/// What was said of examples by what was made of others.
#[derive(Debug, Clone, Default)]
pub(super) struct HeldOut {
    /// `[examples, classes]`
    pub logits: Vec<f32>,
    pub labels: Vec<usize>,
}

impl HeldOut {
    /// Adds the logits of the examples that a fold holds out, class after class.
    pub fn add(&mut self, logits: Vec<f32>, fold: &[Vec<usize>]) {
        self.logits.extend(logits);
        let labels = fold.iter().enumerate();
        let labels = labels.flat_map(|(class, held)| held.iter().map(move |_| class));
        self.labels.extend(labels);
    }

    /// The mean squared difference of logits from 1 for an example's class and 0 for the others; `None` without examples.
    pub fn squared_error(&self) -> Option<f64> {
        let classes = self.logits.len().checked_div(self.labels.len())?;
        let rows = self.logits.chunks_exact(classes.max(1)).zip(&self.labels);
        let of_row = |(row, &label): (&[f32], &usize)| -> f64 {
            let numbered = row.iter().enumerate();
            let target = |class| f64::from(u8::from(class == label));
            let errors = numbered.map(|(class, &logit)| f64::from(logit) - target(class));
            errors.map(|error| error * error).sum()
        };
        Some(rows.map(of_row).sum::<f64>() / self.logits.len() as f64)
    }
}

/// Of the squared distance to the nearest prototype: the logarithm of the distance.
pub(super) fn strangeness(squared: f64) -> f64 {
    libm::log(squared) / 2.0
}

/// Squared distances of each example to the class means without it, `[examples, classes]`.
///
/// Of a class with the mean `c` of `n` examples, an example `x` of its own is `n / (n - 1) |x - c|` from the mean of the
/// others. That is as far as a new example would be, but that a mean of `n - 1` is less certain than one of `n`. With the
/// expectation corrected for this the square is `(n + 1) / (n - 1) |x - c|^2`.
pub(super) struct Distances {
    squared: Vec<f64>,
    labels: Vec<usize>,
    sizes: Vec<usize>,
}

impl Distances {
    /// Of one list of features for each class.
    pub fn of(classes: &[&[Vec<f32>]]) -> Self {
        let means: Vec<Vec<f32>> = classes.iter().map(|examples| mean(examples)).collect();
        let (mut squared, mut labels) = (Vec::new(), Vec::new());
        for (class, examples) in classes.iter().enumerate() {
            let count = examples.len() as f64;
            for example in *examples {
                labels.push(class);
                squared.extend(means.iter().enumerate().map(|(other, mean)| {
                    let apart = squared_distance(example, mean);
                    match (other == class, examples.len()) {
                        (true, 1) => f64::INFINITY,
                        (true, _) => (count + 1.0) / (count - 1.0) * apart,
                        (false, _) => apart,
                    }
                }));
            }
        }
        Self {
            squared,
            labels,
            sizes: classes.iter().map(|examples| examples.len()).collect(),
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&[f64], usize)> {
        let rows = self.squared.chunks_exact(self.sizes.len().max(1));
        rows.zip(self.labels.iter().copied())
    }

    /// What the prototypes say of examples that they were made without.
    pub fn held_out(&self) -> HeldOut {
        let mut found = HeldOut::default();
        for (row, label) in self.rows().filter(|(_, label)| self.sizes[*label] > 1) {
            let logits = row.iter().map(|&squared| -squared as f32);
            found.logits.extend(logits);
            found.labels.push(label);
        }
        found
    }

    /// How strange each example is to the others. Where every class has but one, how strange it is to the other classes: more
    /// than a new example of its own would be, but nothing else is known.
    pub fn strangeness(&self) -> Vec<f64> {
        /// Parts of the largest: as near are copies of one picture, which say nothing of another one.
        const COPY: f64 = 1e-9;
        let alone = self.sizes.iter().all(|&size| size < 2);
        let rows = self.rows();
        let rows = rows.filter(|(_, label)| alone || self.sizes[*label] > 1);
        let nearest = rows.map(|(row, _)| row.iter().copied().fold(f64::INFINITY, f64::min));
        let nearest: Vec<f64> = nearest.filter(|squared| squared.is_finite()).collect();
        let least = COPY * nearest.iter().copied().fold(0.0, f64::max);
        let apart = nearest.into_iter().filter(|&squared| squared > least);
        apart.map(strangeness).collect()
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let differences = a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b));
    differences.map(|difference| difference * difference).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rng;

    #[test]
    fn a_hand_case_comes_out() {
        let (a, b) = (
            vec![vec![0.0f32, 0.0], vec![2.0, 0.0]],
            vec![vec![4.0f32, 1.0]],
        );
        let found = Distances::of(&[&a, &b]);
        // 3/1 of the square of 1, and the squares to (4, 1); b has no others.
        assert_eq!(found.squared, [3.0, 17.0, 3.0, 5.0, 10.0, f64::INFINITY]);
        let held_out = found.held_out();
        assert_eq!(held_out.logits, [-3.0, -17.0, -3.0, -5.0]);
        assert_eq!(held_out.labels, [0, 0]);
        assert_eq!(found.strangeness(), [libm::log(3.0) / 2.0; 2]);
        // Of one each, those of another class are all there is.
        let single = Distances::of(&[&a[..1], &b]);
        assert!(single.held_out().labels.is_empty());
        assert_eq!(single.strangeness(), [libm::log(17.0) / 2.0; 2]);
        // Copies say nothing, and neither does a single example.
        let copies = vec![vec![0.5f32, 0.25]; 3];
        assert!(Distances::of(&[&copies]).strangeness().is_empty());
        assert!(Distances::of(&[&b]).strangeness().is_empty());
    }

    #[test]
    fn an_example_that_was_left_out_is_as_far_as_a_new_one() {
        let mut rng = Rng::new(1);
        for shots in [2, 5] {
            let (mut left_out, mut new) = (0.0, 0.0);
            for _ in 0..4000 {
                let mut draw = |count: usize| -> Vec<Vec<f32>> {
                    (0..count)
                        .map(|_| vec![rng.normal(), rng.normal()])
                        .collect()
                };
                let (examples, fresh) = (draw(shots), draw(1));
                let found = Distances::of(&[&examples]);
                left_out += found.squared.iter().sum::<f64>() / shots as f64;
                new += squared_distance(&fresh[0], &mean(&examples));
            }
            let ratio = left_out / new;
            assert!((ratio - 1.0).abs() < 0.06, "{shots} examples: {ratio}");
        }
    }
}
