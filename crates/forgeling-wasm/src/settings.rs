//! The options of a classifier's training, read once and checked.

use forgeling::Error;
use forgeling::data::{ImageShape, LoaderConfig, RandomAffine};
use forgeling::train::{
    HardwareConfig, NetworkConfig, NetworkKind, Preset, Schedule, TrainerConfig,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

use crate::convert::{JsResult, failure, parse, tree};

/// Epochs where no limit is given.
const USUAL_EPOCHS: usize = 10;

/// All that is said when a trainer is made.
#[derive(Clone)]
pub struct Settings {
    pub network: NetworkConfig,
    pub classes: Vec<String>,
    pub loader: LoaderConfig,
    /// The share of each class's examples that is held out, or 0.
    pub validation: f64,
    pub trainer: TrainerConfig,
    pub hardware: HardwareConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelOptions {
    kind: NetworkKind,
    inputs: Option<usize>,
    channels: Option<usize>,
    size: Option<usize>,
    hidden: Option<usize>,
    filters: Option<usize>,
    width: Option<usize>,
}

impl ModelOptions {
    fn config(self, classes: usize, seed: u64) -> JsResult<NetworkConfig> {
        let kind = self.kind;
        // What belongs to another kind would be without effect.
        let foreign = match kind {
            NetworkKind::Mlp => [("filters", self.filters), ("width", self.width), ("", None)],
            NetworkKind::Conv4 => [
                ("hidden", self.hidden),
                ("width", self.width),
                ("inputs", self.inputs),
            ],
            NetworkKind::ResNet18 => [
                ("hidden", self.hidden),
                ("filters", self.filters),
                ("inputs", self.inputs),
            ],
        };
        if let Some((name, _)) = foreign.iter().find(|(_, given)| given.is_some()) {
            let message = format!("{kind} has no '{name}'");
            return Err(failure(Error::invalid("network_config", message)));
        }
        let usual = kind.usual_input();
        let input = match self.inputs {
            Some(_) if self.size.or(self.channels).is_some() => {
                let message = "inputs are given twice";
                return Err(failure(
                    Error::invalid("network_config", message)
                        .expected("either inputs, or size and channels"),
                ));
            }
            Some(inputs) => ImageShape::new(1, 1, inputs),
            None => {
                let size = self.size.unwrap_or(usual.height);
                ImageShape::new(self.channels.unwrap_or(usual.channels), size, size)
            }
        };
        let width = self.hidden.or(self.filters).or(self.width);
        let config = NetworkConfig {
            width: width.unwrap_or(kind.usual_width()),
            seed,
            ..NetworkConfig::new(kind, input, classes)
        };
        config.validate().map_err(failure)?;
        Ok(config)
    }
}

impl Settings {
    /// Reads an options object; what is not named here is an option of [`TrainerConfig`].
    pub fn read(value: &JsValue) -> JsResult<Self> {
        let mut given = tree(value)?;
        let classes: Vec<String> = take(&mut given, "classes")?.unwrap_or_default();
        let seed = take(&mut given, "seed")?.unwrap_or(0);
        let model: Option<ModelOptions> = take(&mut given, "model")?;
        let model = model.ok_or_else(|| {
            failure(
                Error::invalid("network_config", "no model is chosen")
                    .expected("model: {kind: 'mlp', 'conv4' or 'resnet18'}"),
            )
        })?;
        let loader = LoaderConfig {
            batch_size: take(&mut given, "batch_size")?
                .unwrap_or(LoaderConfig::default().batch_size),
            augment: take(&mut given, "augment")?
                .unwrap_or(false)
                .then(RandomAffine::default),
            seed,
            ..Default::default()
        };
        loader.validate().map_err(failure)?;
        let validation: f64 = take(&mut given, "validation")?.unwrap_or(0.0);
        if !(0.0..1.0).contains(&validation) {
            return Err(failure(
                Error::invalid("split_examples", "the share is out of range")
                    .expected("0 to below 1")
                    .got(validation),
            ));
        }
        let hardware = hardware(take(&mut given, "hardware")?.unwrap_or_default())?;
        let rate: Option<f64> = take(&mut given, "learning_rate")?;
        let both = rate.is_some() && given.contains_key("schedule");
        let mut trainer: TrainerConfig = parse(Value::Object(given))?;
        if both {
            return Err(failure(
                Error::invalid("trainer_config", "the learning rate is given twice")
                    .expected("either learningRate or schedule"),
            ));
        }
        if let Some(rate) = rate {
            trainer.schedule = Schedule::Constant { rate };
        }
        if !trainer.is_limited() {
            trainer.epochs = Some(USUAL_EPOCHS);
        }
        trainer.validate().map_err(failure)?;
        if trainer.early_stopping.is_some() && validation == 0.0 {
            return Err(failure(
                Error::invalid(
                    "trainer_config",
                    "early stopping needs examples to validate on",
                )
                .expected("validation above 0"),
            ));
        }
        Ok(Self {
            network: model.config(classes.len(), seed)?,
            classes,
            loader,
            validation,
            trainer,
            hardware,
        })
    }
}

fn take<T: serde::de::DeserializeOwned>(
    given: &mut Map<String, Value>,
    name: &str,
) -> JsResult<Option<T>> {
    given.remove(name).map(parse).transpose()
}

/// A preset, by default the one for pages, and what is said beside it. The device is open already.
fn hardware(mut given: Map<String, Value>) -> JsResult<HardwareConfig> {
    let preset: Preset = take(&mut given, "preset")?.unwrap_or(Preset::Browser);
    for elsewhere in ["device", "devices"] {
        if given.contains_key(elsewhere) {
            let message = format!("{elsewhere} is chosen when the device is opened");
            return Err(failure(Error::invalid("hardware_config", message)));
        }
    }
    let preset = serde_json::to_value(HardwareConfig::from(preset));
    let Ok(Value::Object(mut all)) = preset else {
        return Err(failure(Error::invalid(
            "hardware_config",
            "no configuration",
        )));
    };
    all.extend(given);
    let config: HardwareConfig = parse(Value::Object(all))?;
    config.validate().map_err(failure)?;
    Ok(config)
}
