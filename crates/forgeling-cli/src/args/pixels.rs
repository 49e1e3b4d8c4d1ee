//! What is done with images between reading them and the network.

use std::path::Path;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use forgeling::data::Augmentation;
use forgeling::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::small_file::read_small;

/// What is done with the images.
#[derive(Args, Clone)]
#[command(next_help_heading = "Pixels")]
pub struct PixelArgs {
    /// Standardise each channel, as eval, predict and pages then do with this model [default: the model file's, else the
    /// recipe's, otherwise none]
    #[arg(long, value_enum, value_name = "BY")]
    pub normalize: Option<NormalizeKind>,
    /// Change training images at random, step by step: affine, flip, crop=PADDING, resized_crop, colour, cutout=SIZE,
    /// erase=PROBABILITY, mixup=ALPHA or cutmix=ALPHA, between commas; a file with a list of steps and all their numbers;
    /// or none [default: the recipe's, otherwise none]
    #[arg(long, value_name = "STEPS|FILE.json")]
    pub augment: Option<AugmentChoice>,
    /// Share of each label that goes to all classes alike in training, from 0 to below 1 [default: the recipe's,
    /// otherwise 0]
    #[arg(long, value_name = "SHARE")]
    pub label_smoothing: Option<f32>,
}

/// By what channels are standardised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormalizeKind {
    /// Mean and standard deviation of the images to train on
    Data,
    /// Mean and standard deviation of ImageNet, in red, green and blue
    Imagenet,
    /// What the model file says whose training goes on
    Model,
    /// Nothing: values stay within 0 and 1
    #[default]
    None,
}

/// Changes of training images, as typed or from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct AugmentChoice(pub Augmentation);

/// The number of a step that may be typed with its name.
const NUMBERS: [(&str, &str); 5] = [
    ("crop", "padding"),
    ("cutout", "size"),
    ("erase", "probability"),
    ("mixup", "alpha"),
    ("cutmix", "alpha"),
];

impl FromStr for AugmentChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if path.extension().is_some_and(|ending| ending == "json") {
            return read(path).map(Self);
        }
        let steps: Vec<Value> = match text {
            "none" => Vec::new(),
            _ => text.split(',').map(step).collect::<Result<_>>()?,
        };
        let wrong = |error: serde_json::Error| unknown(text).got(format!("'{text}': {error}"));
        serde_json::from_value(json!(steps))
            .map(Self)
            .map_err(wrong)
    }
}

fn unknown(text: &str) -> Error {
    Error::invalid("parse_augment", "not steps that change images")
        .expected("names between commas, such as crop=4,flip,cutout=8, a file that ends in .json, or none")
        .got(format!("'{text}'"))
}

fn step(text: &str) -> Result<Value> {
    let (name, number) = match text.split_once('=') {
        None => (text, None),
        Some((name, number)) => (name, Some(number)),
    };
    let mut step = Map::from_iter([("kind".to_owned(), json!(name))]);
    if let Some(number) = number {
        let option = NUMBERS.iter().find(|(kind, _)| *kind == name);
        let parsed = serde_json::from_str::<Value>(number).ok();
        let parsed = parsed.filter(Value::is_number);
        let (Some((_, option)), Some(number)) = (option, parsed) else {
            return Err(unknown(text));
        };
        step.insert((*option).to_owned(), number);
    }
    Ok(Value::Object(step))
}

fn read(path: &Path) -> Result<Augmentation> {
    const OPERATION: &str = "read_augmentation";
    let bytes = read_small(OPERATION, path, "a list of steps", 1 << 20)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::bad_data(OPERATION, "not a list of steps")
            .got(error)
            .path(path)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use forgeling::data::augment::Step;
    use forgeling::data::{Crop, Cutmix, Flip};

    #[test]
    fn steps_are_read_from_words_and_from_files() {
        let typed = |text: &str| text.parse::<AugmentChoice>();
        let wanted = vec![
            Step::Crop(Crop {
                padding: 2,
                ..Default::default()
            }),
            Step::Flip(Flip::default()),
            Step::Cutmix(Cutmix {
                alpha: 0.5,
                ..Default::default()
            }),
        ];
        let found = typed("crop=2,flip,cutmix=0.5").unwrap();
        assert_eq!(found.0.steps, wanted);
        assert!(typed("none").unwrap().0.steps.is_empty());
        for wrong in [
            "",
            "spin",
            "flip=0.5",
            "crop=",
            "crop=two",
            "crop=4;flip",
            "cutout=-1",
        ] {
            let error = typed(wrong).unwrap_err();
            assert!(
                error.to_string().contains("crop=4,flip,cutout=8"),
                "{wrong}: {error}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps.json");
        let typed = || path.to_str().unwrap().parse::<AugmentChoice>();
        assert!(typed().unwrap_err().to_string().contains("steps.json"));
        fs::write(&path, serde_json::to_string(&found.0).unwrap()).unwrap();
        assert_eq!(typed().unwrap(), found);
        fs::write(&path, "[{\"kind\": \"crop\", \"size\": 3}]").unwrap();
        let error = typed().unwrap_err().to_string();
        assert!(
            error.contains("size") && error.contains("steps.json"),
            "{error}"
        );
    }
}
