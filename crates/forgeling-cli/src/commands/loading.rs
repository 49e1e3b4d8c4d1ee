//! Reading model files, each by the commands that it is for.

use std::path::Path;

use forgeling::meta::Learner;
use forgeling::train::{ModelDescription, SavedNetwork, model_file};
use forgeling::{Device, Error, Result};

const LOAD: &str = "load_model";

/// A model of `forgeling train`.
pub fn load_network(path: &Path, device: &Device) -> Result<SavedNetwork> {
    let bytes = of_kind(path, SavedNetwork::ARCHITECTURE)?;
    SavedNetwork::from_bytes(&bytes, device).map_err(|error| error.path(path))
}

/// A model of `forgeling fewshot train`.
pub fn load_learner(path: &Path, device: &Device) -> Result<Learner> {
    let bytes = of_kind(path, Learner::ARCHITECTURE)?;
    Learner::from_bytes(&bytes, device).map_err(|error| error.path(path))
}

/// What a model of `forgeling train` or `forgeling import` says of itself.
pub fn describe(path: &Path) -> Result<ModelDescription> {
    let bytes = of_kind(path, SavedNetwork::ARCHITECTURE)?;
    ModelDescription::from_bytes(&bytes).map_err(|error| error.path(path))
}

/// The bytes of a model file, which are refused where they are of a model for other commands.
fn of_kind(path: &Path, wanted: &str) -> Result<Vec<u8>> {
    let bytes = model_file::read(path)?;
    let found = model_file::architecture(&bytes).map_err(|error| error.path(path))?;
    let (kind, commands) = match found.as_str() {
        SavedNetwork::ARCHITECTURE => ("a classifier", "forgeling predict and forgeling eval"),
        Learner::ARCHITECTURE => (
            "a few-shot model",
            "forgeling fewshot classify and forgeling fewshot eval",
        ),
        _ => return Ok(bytes),
    };
    if found == wanted {
        return Ok(bytes);
    }
    let message = format!("the file holds {kind}, which {commands} take");
    Err(Error::bad_data(LOAD, message).path(path))
}
