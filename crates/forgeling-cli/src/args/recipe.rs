//! Usual settings of `forgeling train` for known data sets.

use std::fmt;

use clap::ValueEnum;
use forgeling::data::Augmentation;
use forgeling::nn::catalog::Architecture;
use forgeling::nn::graph::Graph;
use forgeling::{Error, Result};
use serde::Deserialize;

use super::{NormalizeKind, OptimizerKind, ScheduleKind};

/// Data sets that there is a recipe for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecipeName {
    /// A small residual network for Fashion-MNIST and other gray images of 28x28, which are mirrored
    FashionMnist,
    /// A residual network of nine layers for CIFAR-10 and other images of 32x32 in colour
    Cifar10,
}

/// As it is typed.
impl fmt::Display for RecipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
        })
    }
}

/// What is trained how, unless something else is typed. A recipe is a file of `recipes/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub model: Graph,
    pub optimizer: OptimizerKind,
    pub learning_rate: f64,
    pub schedule: ScheduleKind,
    pub weight_decay: f64,
    pub epochs: usize,
    pub batch_size: usize,
    pub normalize: NormalizeKind,
    pub label_smoothing: f32,
    pub augment: Augmentation,
}

impl RecipeName {
    /// The recipe.
    ///
    /// # Errors
    /// When its file is wrong, which a test rules out.
    pub fn recipe(self) -> Result<Recipe> {
        let text = match self {
            Self::FashionMnist => include_str!("../../recipes/fashion-mnist.json"),
            Self::Cifar10 => include_str!("../../recipes/cifar10.json"),
        };
        serde_json::from_str(text)
            .map_err(|error| Error::bad_data("recipe", format!("{self:?}: {error}")))
    }
}

impl Recipe {
    /// Its network.
    pub fn architecture(&self) -> Architecture {
        Architecture::Described(self.model.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_whole_and_their_steps_fit_their_images() {
        for name in RecipeName::value_variants() {
            let recipe = name.recipe().unwrap();
            let shape = recipe.model.image_shape();
            recipe.augment.validate(shape).unwrap();
            let network = recipe.architecture().graph(shape, 10, Default::default());
            let trained = network.unwrap().counts().trained;
            let expected = match name {
                RecipeName::FashionMnist => 100_000..1_000_000,
                RecipeName::Cifar10 => 6_000_000..7_000_000,
            };
            assert!(expected.contains(&trained), "{name:?}: {trained}");
        }
    }
}
