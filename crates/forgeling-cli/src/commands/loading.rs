//! Reading model files, each by the commands that it is for.

use std::path::Path;

use forgeling::meta::Learner;
use forgeling::train::{ModelDescription, SavedNetwork, model_file};
use forgeling::{Device, Error, Result};
use sha2::{Digest, Sha256};

const LOAD: &str = "load_model";

/// A model of `forgeling train`.
pub fn load_network(path: &Path, device: &Device) -> Result<SavedNetwork> {
    let bytes = classifier(path)?;
    SavedNetwork::from_bytes(&bytes, device).map_err(|error| error.path(path))
}

/// A model of `forgeling fewshot train`, or of `forgeling train` or `forgeling import` as a frozen encoder.
pub fn load_learner(path: &Path, device: &Device) -> Result<Learner> {
    Learner::load(path, device)
}

/// What a model of `forgeling train` or `forgeling import` says of itself.
pub fn describe(path: &Path) -> Result<ModelDescription> {
    let bytes = classifier(path)?;
    ModelDescription::from_bytes(&bytes).map_err(|error| error.path(path))
}

/// The SHA-256 of a model file.
pub fn digest(path: &Path) -> Result<String> {
    Ok(hex(&Sha256::digest(model_file::read(path)?)))
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a model file, which are refused where they are of a few-shot model.
fn classifier(path: &Path) -> Result<Vec<u8>> {
    let bytes = model_file::read(path)?;
    let found = model_file::architecture(&bytes).map_err(|error| error.path(path))?;
    if found != Learner::ARCHITECTURE {
        return Ok(bytes);
    }
    let message = "the file holds a few-shot model, which forgeling fewshot classify and forgeling fewshot eval take";
    Err(Error::bad_data(LOAD, message).path(path))
}
