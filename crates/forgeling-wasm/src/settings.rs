//! The options of a classifier's training, read once and checked.

use forgeling::Error;
use forgeling::data::{LoaderConfig, RandomAffine};
use forgeling::nn::graph::Graph;
use forgeling::train::{HardwareConfig, Preset, Schedule, TrainerConfig};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

use crate::architecture::classifier;
use crate::convert::{JsResult, failure, parse, tree};

/// Epochs where no limit is given.
const USUAL_EPOCHS: usize = 10;

/// All that is said when a trainer is made.
#[derive(Clone)]
pub struct Settings {
    /// What the network is called.
    pub model: String,
    pub network: Graph,
    /// Of its first weights.
    pub seed: u64,
    pub classes: Vec<String>,
    pub loader: LoaderConfig,
    /// The share of each class's examples that is held out, or 0.
    pub validation: f64,
    pub trainer: TrainerConfig,
    pub hardware: HardwareConfig,
}

impl Settings {
    /// Reads an options object; what is not named here is an option of [`TrainerConfig`].
    pub fn read(value: &JsValue) -> JsResult<Self> {
        let mut given = tree(value)?;
        let classes: Vec<String> = take(&mut given, "classes")?.unwrap_or_default();
        let seed = take(&mut given, "seed")?.unwrap_or(0);
        let model = given.remove("model");
        let (model, network) = classifier(model, classes.len()).map_err(failure)?;
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
            model,
            network,
            seed,
            classes,
            loader,
            validation,
            trainer,
            hardware,
        })
    }
}

pub fn take<T: serde::de::DeserializeOwned>(
    given: &mut Map<String, Value>,
    name: &str,
) -> JsResult<Option<T>> {
    given.remove(name).map(parse).transpose()
}

/// A preset, by default the one for pages, and what is said beside it. The device is open already.
pub fn hardware(mut given: Map<String, Value>) -> JsResult<HardwareConfig> {
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
