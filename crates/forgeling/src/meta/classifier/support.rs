//! The examples that are trained on.

use super::answers::mean;
use super::config::FineTuneConfig;
use crate::data::Rng;

/// Examples of a batch at most.
const BATCH: usize = 128;

/// What goes into the trained part of a network, and the class that is to come out.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub input: Vec<f32>,
    pub class: usize,
}

/// All examples with their features, class after class.
pub(super) struct Support {
    samples: Vec<Sample>,
    features: Vec<Vec<f32>>,
    classes: usize,
}

impl Support {
    /// One list of inputs, and one of features, for each class.
    pub fn new(inputs: &[&[Vec<f32>]], features: &[&[Vec<f32>]]) -> Self {
        let each = inputs.iter().enumerate();
        let samples = each.flat_map(|(class, inputs)| {
            inputs.iter().map(move |input| Sample {
                input: input.clone(),
                class,
            })
        });
        Self {
            samples: samples.collect(),
            features: features.concat(),
            classes: inputs.len(),
        }
    }

    /// All places.
    pub fn all(&self) -> Vec<usize> {
        (0..self.samples.len()).collect()
    }

    /// The places of a class among these.
    fn of_class(&self, class: usize, places: &[usize]) -> Vec<usize> {
        let own = |&place: &usize| self.samples[place].class == class;
        places.iter().copied().filter(own).collect()
    }

    /// The places to train on and those held out, if every class has 3 or more.
    pub fn held_out(&self, config: &FineTuneConfig) -> Option<(Vec<usize>, Vec<usize>)> {
        let mut rng = Rng::new(config.seed);
        let (mut trained, mut held) = (Vec::new(), Vec::new());
        for class in 0..self.classes {
            let mut places = self.of_class(class, &self.all());
            if places.len() < 3 {
                return None;
            }
            rng.shuffle(&mut places);
            let part = (config.held_out * places.len() as f64).round() as usize;
            let (out, others) = places.split_at(part.clamp(1, places.len() - 2));
            held.extend_from_slice(out);
            trained.extend_from_slice(others);
        }
        Some((trained, held))
    }

    /// The places to train on and those held out, so often that each is held out once whose class has another.
    pub fn folds(&self, most: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
        let classes = (0..self.classes).map(|class| self.of_class(class, &self.all()));
        let classes: Vec<Vec<usize>> = classes.collect();
        let sizes: Vec<usize> = classes.iter().map(Vec::len).collect();
        let of_fold = |fold: Vec<Vec<usize>>| {
            let pairs = fold.iter().zip(&classes);
            let held: Vec<usize> = pairs
                .flat_map(|(held, places)| held.iter().map(|&example| places[example]))
                .collect();
            let rest = self.all().into_iter().filter(|place| !held.contains(place));
            (rest.collect(), held)
        };
        folds(&sizes, most).into_iter().map(of_fold).collect()
    }

    /// The examples with these places.
    pub fn samples(&self, places: &[usize]) -> Vec<Sample> {
        places.iter().map(|&p| self.samples[p].clone()).collect()
    }

    /// The mean feature of each class, of the examples with these places.
    pub fn class_means(&self, places: &[usize]) -> Vec<Vec<f32>> {
        let features = |class| {
            let own = self.of_class(class, places).into_iter();
            own.map(|place| self.features[place].clone()).collect()
        };
        let features = (0..self.classes).map(features);
        features.map(|all: Vec<_>| mean(&all)).collect()
    }

    /// The mean feature, and the root of the mean squared difference of a feature from it.
    pub fn center_and_scale(&self, places: &[usize]) -> (Vec<f32>, f32) {
        let chosen: Vec<Vec<f32>> = places.iter().map(|&p| self.features[p].clone()).collect();
        let center = mean(&chosen);
        let squares = chosen.iter().flatten().zip(center.iter().cycle());
        let sum: f32 = squares
            .map(|(value, center)| (value - center).powi(2))
            .sum();
        let scale = (sum / (chosen.len() * center.len()) as f32).sqrt();
        // Where all features are alike there is nothing to scale.
        (center, if scale > 0.0 { scale } else { 1.0 })
    }

    /// The examples with these places in a random order that a seed gives, dealt out to batches of like size.
    pub fn batches(&self, places: &[usize], seed: u64) -> Vec<Vec<Sample>> {
        let mut places = places.to_vec();
        Rng::new(seed).shuffle(&mut places);
        let count = places.len().div_ceil(BATCH).max(1);
        let batches = places.chunks(places.len().div_ceil(count).max(1));
        batches.map(|places| self.samples(places)).collect()
    }
}

/// The examples that each of at most so many folds holds out, class by class: each example once, unless it is the only one of
/// its class.
pub(super) fn folds(sizes: &[usize], most: usize) -> Vec<Vec<Vec<usize>>> {
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let count = if largest < 2 { 0 } else { largest.min(most) };
    let of_fold = |fold: usize| {
        let held = |&size: &usize| match size {
            0 | 1 => Vec::new(),
            _ => (fold..size).step_by(count).collect(),
        };
        sizes.iter().map(held).collect()
    };
    (0..count).map(of_fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_but_an_only_one_is_held_out_once() {
        for (sizes, most) in [([5, 2, 1, 7], 5), ([3, 3, 3, 3], 20), ([1, 2, 1, 9], 2)] {
            let found = folds(&sizes, most);
            assert_eq!(found.len(), sizes.into_iter().max().unwrap().min(most));
            for (class, size) in sizes.into_iter().enumerate() {
                let mut all: Vec<usize> = found.iter().flat_map(|f| f[class].clone()).collect();
                all.sort_unstable();
                let expected = if size == 1 { 0 } else { size };
                assert_eq!(all, (0..expected).collect::<Vec<_>>());
                // Something of each class is left.
                assert!(found.iter().all(|fold| fold[class].len() < size));
            }
        }
        assert!(folds(&[1, 1, 0], 5).is_empty());
    }
}
