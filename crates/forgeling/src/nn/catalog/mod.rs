//! The networks by name, which command lines and pages offer, and those of one's own beside them.

mod architecture;
mod models;

use std::collections::BTreeMap;

pub use architecture::Architecture;
pub use models::MODELS;
use serde::{Deserialize, Serialize};

use super::graph::Graph;
use super::zoo::Stem;
use crate::error::{Error, Result};
use crate::image_shape::ImageShape;

const OPERATION: &str = "model_config";

/// A network of the catalog.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// The images that it is usually shown.
    pub input: ImageShape,
    /// What can be set.
    pub options: &'static [Setting],
    graph: fn(&Asked<'_>) -> Result<Graph>,
}

/// A number that can be set, within a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Where nothing is said.
    pub default: usize,
    /// The least.
    pub least: usize,
    /// The most.
    pub most: usize,
}

/// What is asked for, with nothing left open.
struct Asked<'a> {
    entry: &'a Entry,
    input: ImageShape,
    classes: usize,
    options: &'a BTreeMap<String, usize>,
}

impl Asked<'_> {
    fn option(&self, name: &str) -> usize {
        let default = self.entry.options.iter().find(|option| option.name == name);
        let default = default.map_or(1, |option| option.default);
        self.options.get(name).copied().unwrap_or(default)
    }

    /// The stem, given how the small one and the other are told.
    fn stem(&self, [small, large]: [usize; 2]) -> Result<Stem> {
        match self.option("stem") {
            told if told == small => Ok(Stem::Small),
            told if told == large => Ok(Stem::ImageNet),
            other => Err(Error::invalid(OPERATION, "no such stem")
                .expected(format!("{small} or {large}"))
                .got(other)),
        }
    }

    /// The side of the images, which are square.
    fn side(&self) -> Result<usize> {
        if self.input.height != self.input.width {
            let message = format!("{} takes square images", self.entry.name);
            return Err(Error::invalid(OPERATION, message)
                .expected("as many rows as columns")
                .got(self.input));
        }
        Ok(self.input.height)
    }
}

impl Entry {
    /// The network of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(name: &str) -> Result<&'static Self> {
        MODELS
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| {
                let names: Vec<&str> = MODELS.iter().map(|entry| entry.name).collect();
                Error::invalid("parse_model", "unknown network")
                    .expected(names.join(", "))
                    .got(format!("'{name}'"))
            })
    }
}

/// A network by its name, before it is made.
///
/// ```
/// use forgeling::nn::catalog::ModelConfig;
///
/// let mut config = ModelConfig::new("resnet18")?;
/// config.classes = 10;
/// assert_eq!(config.graph()?.trained_values(), 11_173_962);
/// config.options.insert("width".into(), 16);
/// assert!(config.graph()?.trained_values() < 1_000_000);
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Its name in [`MODELS`].
    pub model: String,
    /// The images that it takes.
    pub input: ImageShape,
    /// Classes to tell apart.
    pub classes: usize,
    /// What differs from the defaults of [`Entry::options`].
    #[serde(default)]
    pub options: BTreeMap<String, usize>,
}

impl ModelConfig {
    /// With its usual input, ten classes and default options.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn new(model: &str) -> Result<Self> {
        let entry = Entry::find(model)?;
        Ok(Self {
            model: entry.name.into(),
            input: entry.input,
            classes: 10,
            options: BTreeMap::new(),
        })
    }

    /// Its graph.
    ///
    /// # Errors
    /// When there is no such network or option, when something is out of its range, and when the images do not suit it.
    pub fn graph(&self) -> Result<Graph> {
        /// More than any image that these networks are made for.
        const MOST_SIDE: usize = 4096;
        /// The most classes of the networks.
        const MOST_CLASSES: usize = 1 << 16;
        let entry = Entry::find(&self.model)?;
        for (name, &value) in &self.options {
            let option = entry.options.iter().find(|option| option.name == name);
            let Some(option) = option else {
                let names: Vec<&str> = entry.options.iter().map(|option| option.name).collect();
                return Err(Error::invalid(
                    OPERATION,
                    format!("{} has no such option", entry.name),
                )
                .expected(names.join(", "))
                .got(format!("'{name}'")));
            };
            in_range(name, value, option.least..=option.most)?;
        }
        in_range("input height", self.input.height, 1..=MOST_SIDE)?;
        in_range("input width", self.input.width, 1..=MOST_SIDE)?;
        in_range("classes", self.classes, 1..=MOST_CLASSES)?;
        (entry.graph)(&Asked {
            entry,
            input: self.input,
            classes: self.classes,
            options: &self.options,
        })
    }
}

fn in_range(name: &str, value: usize, range: std::ops::RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(OPERATION, format!("{name} is out of range"))
        .expected(format!("{} to {}", range.start(), range.end()))
        .got(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_the_papers_and_of_pytorch() {
        let count = |model: &str, classes, stem: Option<usize>| {
            let config = ModelConfig {
                classes,
                input: if stem.is_some() {
                    ImageShape::new(3, 224, 224)
                } else {
                    ImageShape::new(3, 32, 32)
                },
                options: stem
                    .map(|stem| ("stem".to_string(), stem))
                    .into_iter()
                    .collect(),
                ..ModelConfig::new(model).unwrap()
            };
            config.graph().unwrap()
        };
        for (model, values) in [
            ("resnet18", 11_689_512),
            ("resnet34", 21_797_672),
            ("resnet50", 25_557_032),
        ] {
            assert_eq!(
                count(model, 1000, Some(7)).trained_values(),
                values,
                "{model}"
            );
        }
        // Without biases and norms, as torchvision and fvcore count: 1.814, 3.664 and 4.089 thousand millions.
        let operations = ["resnet18", "resnet34", "resnet50"]
            .map(|model| count(model, 1000, Some(7)).multiply_adds());
        assert_eq!(operations, [1_814_073_344, 3_663_761_408, 4_089_184_256]);
        for (model, values) in [
            ("resnet20", 272_474),
            ("resnet32", 466_906),
            ("resnet44", 661_338),
            ("resnet56", 855_770),
        ] {
            assert_eq!(count(model, 10, None).trained_values(), values, "{model}");
        }
        let small = count("resnet18", 10, None);
        assert_eq!(
            (small.trained_values(), small.buffer_values()),
            (11_173_962, 9_600)
        );
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let usual = ModelConfig::new("conv4").unwrap();
        let with = |name: &str, value| ModelConfig {
            options: BTreeMap::from([(name.to_string(), value)]),
            ..usual.clone()
        };
        let input = |input| ModelConfig {
            input,
            ..usual.clone()
        };
        for (named, wrong) in [
            ("width", with("width", 0)),
            ("colour", with("colour", 3)),
            (
                "classes",
                ModelConfig {
                    classes: 0,
                    ..usual.clone()
                },
            ),
            ("image", input(ImageShape::new(1, 8, 8))),
            (
                "square",
                ModelConfig {
                    input: ImageShape::new(3, 32, 48),
                    ..ModelConfig::new("vit_tiny").unwrap()
                },
            ),
            ("channels", input(ImageShape::new(0, 28, 28))),
            (
                "vgg",
                ModelConfig {
                    model: "vgg".into(),
                    ..usual.clone()
                },
            ),
        ] {
            let error = wrong.graph().unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(named),
                "{error}"
            );
        }
        assert!(ModelConfig::new("vgg").is_err());
        for entry in &MODELS {
            let graph = ModelConfig::new(entry.name).unwrap().graph().unwrap();
            assert_eq!(graph.output_shape().len(), 10, "{}", entry.name);
        }
    }
}
