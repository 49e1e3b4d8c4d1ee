//! Sounds as inputs, and how inputs of either kind were made.

use std::path::Path;

use forgeling::data::sound::{self, SoundFolder};
use forgeling::data::{
    ImageSet, ImageShape, Preparation, SoundOptions, SoundPreparation, Split, folder,
};
use forgeling::{Error, Result};
use serde::Serialize;

use crate::data::DataSource;

const OPERATION: &str = "load_sounds";

/// How inputs were made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prepared {
    Pictures(Preparation),
    Sounds(SoundPreparation),
}

impl Prepared {
    /// How a model's were, to make others in the same way.
    ///
    /// # Errors
    /// When the source holds sounds and the model was trained on something else, or the other way round.
    pub fn of(
        (sounds, pictures): (Option<SoundPreparation>, Option<Preparation>),
        source: &DataSource,
    ) -> Result<Option<Self>> {
        let known = match (sounds, pictures) {
            (Some(sounds), _) => Some(Self::Sounds(sounds)),
            (None, pictures) => pictures.map(Self::Pictures),
        };
        let sounds = matches!(source, DataSource::Sounds(_));
        if sounds && known.is_none() {
            return Err(other(source).expected("a model that was trained on sounds"));
        }
        check(known, source)?;
        Ok(known)
    }

    pub fn pictures(self) -> Option<Preparation> {
        match self {
            Self::Pictures(preparation) => Some(preparation),
            Self::Sounds(_) => None,
        }
    }

    pub fn sounds(self) -> Option<SoundPreparation> {
        match self {
            Self::Pictures(_) => None,
            Self::Sounds(preparation) => Some(preparation),
        }
    }
}

fn other(source: &DataSource) -> Error {
    Error::invalid(OPERATION, "the model takes another kind of data").got(source)
}

/// Whether a source is of the kind that a model knows.
pub fn check(model: Option<Prepared>, source: &DataSource) -> Result<()> {
    let sounds = matches!(source, DataSource::Sounds(_));
    match model {
        Some(Prepared::Pictures(_)) if sounds => Err(other(source).expected("images")),
        Some(Prepared::Sounds(_)) if !sounds => Err(other(source).expected("sounds:DIR")),
        _ => Ok(()),
    }
}

/// Spectrograms, how they were made, and what is to be said of that.
pub struct Loaded {
    pub set: ImageSet,
    pub preparation: SoundPreparation,
    pub notes: Vec<String>,
}

/// Loads the sounds of a folder: as the model's own, otherwise as the shape says.
pub fn load(
    dir: &Path,
    split: Split,
    model: Option<SoundPreparation>,
    shape: Option<ImageShape>,
    skip_broken: bool,
) -> Result<Loaded> {
    let usual = || shape.map_or(Ok(Default::default()), SoundPreparation::for_input);
    let preparation = model.map_or_else(usual, Ok)?;
    let part = folder::part(dir, split)?;
    let mut notes = Vec::new();
    if part != dir {
        notes.push(format!("Reading {}.", part.display()));
    }
    let options = SoundOptions {
        preparation,
        skip_broken,
        ..Default::default()
    };
    let SoundFolder {
        set,
        heard,
        left_out,
    } = sound::load(&part, &options)?;
    notes.push(told(&preparation, &heard));
    if !left_out.is_empty() {
        notes.push(format!("{left_out}."));
    }
    Ok(Loaded {
        set,
        preparation,
        notes,
    })
}

/// For example `Listened to 1.00 s of each sound, in 40 bands at 16000 Hz: 3 padded with silence.`
pub fn told(preparation: &SoundPreparation, heard: &sound::Heard) -> String {
    let (seconds, config) = (preparation.seconds(), preparation.log_mel);
    let (mels, rate) = (config.mels, config.sample_rate);
    let done = heard.to_string();
    let between = if done.is_empty() { "" } else { ": " };
    format!(
        "Listened to {seconds:.2} s of each sound, in {mels} bands at {rate} Hz{between}{done}."
    )
}
