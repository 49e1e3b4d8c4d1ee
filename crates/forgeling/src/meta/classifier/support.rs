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
        let batch = |places: &[usize]| places.iter().map(|&p| self.samples[p].clone()).collect();
        batches.map(batch).collect()
    }
}
