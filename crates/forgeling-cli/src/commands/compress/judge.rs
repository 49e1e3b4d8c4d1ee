//! What models are measured on.

use forgeling::data::{LoaderConfig, Missing, Split, Standardization};
use forgeling::nn::Network;
use forgeling::train::{
    CrossEntropy, Epochs, HardwareConfig, HardwareManager, SavedNetwork, Trainer, TrainerConfig,
    Validation,
};
use forgeling::{Device, Error, Result};

use super::OPERATION;
use crate::args::Compress;
use crate::commands::supervised::{self, Examples, Wanted};
use crate::output::Output;
use crate::sounds::Prepared;

/// Whatever the seed: runs that differ in it are measured on the same images.
const SPLIT_SEED: u64 = 0;

/// What is trained on, and what accuracy is measured on.
pub fn load(
    args: &Compress,
    saved: &SavedNetwork,
    output: &Output,
) -> Result<(Examples, Examples)> {
    let named = args.validation_data.is_some();
    let part = args.validation > 0.0 && args.validation < 1.0;
    if !(named || part) {
        return Err(Error::invalid(OPERATION, "--validation is out of range")
            .expected("above 0 and below 1, or --validation-data")
            .got(args.validation));
    }
    let wanted = |source| -> Result<Wanted<'_>> {
        Ok(Wanted {
            shape: Some(saved.input()),
            glyphs: saved.classes.len(),
            per_class: args.per_class,
            pictures: &args.pictures,
            model: Prepared::of((saved.sounds, saved.pictures), source)?,
        })
    };
    let load = |source, split| {
        let known = (&saved.classes[..], Missing::Refused);
        supervised::load_known(wanted(source)?, source, split, known, output)
    };
    let all = load(&args.data, Split::Train)?;
    let (train, held_out) = match &args.validation_data {
        Some(source) => (all, load(source, Split::Test)?),
        None => all.split(args.validation, SPLIT_SEED)?,
    };
    if supervised::image_count(&held_out) == 0 {
        return Err(
            Error::invalid(OPERATION, "no images to measure accuracy on")
                .expected("a larger --validation, or --validation-data"),
        );
    }
    Ok((train, held_out))
}

/// What accuracy is measured with.
pub struct Judge<'a> {
    pub device: &'a Device,
    pub hardware: HardwareConfig,
    pub held_out: &'a Examples,
    pub batch: usize,
    pub normalization: Option<&'a Standardization>,
}

impl Judge<'_> {
    /// How a network does.
    pub async fn validate(&self, network: &Network) -> Result<Validation> {
        let manager = HardwareManager::on(self.device.clone(), self.hardware.clone())?;
        let trainer = Trainer::new(TrainerConfig::default(), manager)?;
        let in_order = LoaderConfig::validation(self.batch);
        let loader = supervised::loader(self.held_out.clone(), in_order, self.normalization)?;
        trainer
            .validate(network, &CrossEntropy, &mut Epochs::of(loader))
            .await
    }
}
