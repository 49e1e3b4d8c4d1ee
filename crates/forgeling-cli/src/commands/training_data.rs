//! What `forgeling train` trains and validates on.

use forgeling::data::{
    Dataset as _, ImageShape, Missing, Split, Standardization, folder, imbalance, shared_images,
};
use forgeling::{Error, Result};

use super::supervised::{self, Examples, Loaded, Wanted};
use crate::args::{NormalizeKind, Settings, Train};
use crate::data::DataSource;
use crate::output::Output;
use crate::sounds::Prepared;

const OPERATION: &str = "train";

/// Whatever the seed: runs that differ in it are validated on the same images.
const SPLIT_SEED: u64 = 0;

/// What is trained and validated on.
pub struct Data {
    pub train: Examples,
    pub validation: Option<Examples>,
    pub preparation: Prepared,
    /// How their channels are standardised, if they are.
    pub normalization: Option<Standardization>,
    pub shape: ImageShape,
    pub classes: Vec<String>,
    /// How many are trained on.
    pub images: usize,
    /// How many are validated on.
    pub held_out: usize,
}

impl Data {
    /// Loads it, and says what is to be said of that.
    pub fn load(args: &Train, settings: &Settings, output: &Output) -> Result<Self> {
        if !(0.0..1.0).contains(&args.validation) {
            return Err(Error::invalid(OPERATION, "--validation is out of range")
                .expected("0 to below 1")
                .got(args.validation));
        }
        let trained = settings.network.model.trained.as_ref();
        let wanted = Wanted {
            shape: supervised::wanted_shape(args.data.input, &settings.network, &args.data.data)?,
            glyphs: args.data.classes,
            per_class: args.data.per_class,
            pictures: &args.data.pictures,
            model: match trained {
                Some(file) => {
                    Prepared::of((file.about.sounds, file.about.pictures), &args.data.data)?
                }
                None => None,
            },
        };
        let Loaded {
            data: all,
            preparation,
        } = wanted.load_classes(&args.data.data, Split::Train, output)?;
        let (shape, classes) = (all.image_shape(), supervised::class_names(&all));
        let (train, validation) = match Self::other_source(args)? {
            Some(source) => {
                let wanted = Wanted {
                    shape: Some(shape),
                    model: Some(preparation),
                    ..wanted
                };
                let known = (&classes[..], Missing::Refused);
                let others = supervised::load_known(wanted, &source, Split::Test, known, output)?;
                warn_of_shared(&all, &others, output)?;
                (all, Some(others))
            }
            None if args.validation > 0.0 => {
                let (train, held_out) = all.split(args.validation, SPLIT_SEED)?;
                (train, Some(held_out))
            }
            None => (all, None),
        };
        let validation = validation.filter(|examples| supervised::image_count(examples) > 0);
        if validation.is_none() && args.patience.is_some() {
            let problem = Error::invalid(OPERATION, "--patience needs images to validate on");
            return Err(problem.expected("--validation above 0, or --validation-data"));
        }
        let normalization = match settings.normalize {
            NormalizeKind::Data => Some(Standardization::of_images(&train)?),
            NormalizeKind::Imagenet => Some(Standardization::imagenet()),
            NormalizeKind::Model => trained.and_then(|trained| trained.about.normalization.clone()),
            NormalizeKind::None => None,
        };
        if let Some(constants) = &normalization {
            constants.check_channels(shape)?;
        }
        let train = balanced(args, train, output)?;
        Ok(Self {
            images: supervised::image_count(&train),
            held_out: validation.as_ref().map_or(0, supervised::image_count),
            train,
            validation,
            preparation,
            normalization,
            shape,
            classes,
        })
    }

    /// Where the images to validate on come from, if not from those to train on: what was named, or the part of a folder
    /// that is called so.
    fn other_source(args: &Train) -> Result<Option<DataSource>> {
        match (&args.validation_data, &args.data.data) {
            (Some(source), _) => Ok(Some(source.clone())),
            (None, DataSource::Folder(dir)) if args.validation > 0.0 => {
                let parts = folder::validation_parts(dir)?;
                Ok(parts.map(|(_, held_out)| DataSource::Folder(held_out)))
            }
            (None, DataSource::Sounds(dir)) if args.validation > 0.0 => {
                let parts = folder::validation_parts(dir)?;
                Ok(parts.map(|(_, held_out)| DataSource::Sounds(held_out)))
            }
            _ => Ok(None),
        }
    }
}

fn warn_of_shared(train: &Examples, others: &Examples, output: &Output) -> Result<()> {
    match shared_images(train, others)? {
        Some(0) | None => {}
        Some(shared) => output.line(format_args!(
            "{shared} of the {} images to validate on are trained on too: their accuracy is not that of new images.",
            supervised::image_count(others)
        )),
    }
    Ok(())
}

/// The images with each class as often as the largest, if asked for; a word on classes that are not, otherwise.
fn balanced(args: &Train, train: Examples, output: &Output) -> Result<Examples> {
    let Some(found) = imbalance(&train) else {
        return Ok(train);
    };
    let ((most, many), (least, few)) = (&found.largest, &found.smallest);
    if args.balance {
        output.line(format_args!(
            "Balanced: images of smaller classes are repeated until each has {many}, as '{most}' has ('{least}': {few})."
        ));
        return train.balanced(SPLIT_SEED);
    }
    output.line(format_args!(
        "Imbalance: '{most}' has {many} images to train on, '{least}' {few}. --balance shows all classes as often; look at \
         the balanced accuracy."
    ));
    Ok(train)
}
