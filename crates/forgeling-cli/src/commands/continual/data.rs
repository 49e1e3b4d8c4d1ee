//! What is learned and tested on.

use forgeling::continual::{Kind, Preset, Scenario, ScenarioConfig};
use forgeling::data::{Dataset as _, ImageShape, Missing, Split, folder, shared_images};
use forgeling::{Error, Result};

use super::super::supervised::{self, Examples, Loaded, Wanted};
use crate::args::{ClassOrder, ContinualArgs, ScenarioArgs, ScenarioKind};
use crate::data::DataSource;
use crate::output::Output;
use crate::sounds::Prepared;

/// Of files that have no images to test on of their own, this part of each class; the same whatever the seed.
const HELD_OUT: f64 = 0.2;
const SPLIT_SEED: u64 = 0;
/// Between contexts of rotated, unless asked for otherwise.
const DEGREES: f32 = 15.0;
const OVERLAP: f64 = 0.5;
/// Rows and columns of zeros on each side of permuted images in van de Ven's benchmark.
const PADDING: usize = 2;

/// What is learned and tested on.
pub struct Data {
    pub train: Examples,
    pub test: Examples,
    pub preparation: Prepared,
    pub classes: Vec<String>,
    /// Where the latter come from.
    pub tested: String,
}

impl Data {
    /// Loads it, and says what is to be said of that. `input` is the shape that a network of the user's takes, and `model`
    /// how a model's own sounds were read.
    pub fn load(
        args: &ContinualArgs,
        input: Option<ImageShape>,
        model: Option<Prepared>,
        output: &Output,
    ) -> Result<Self> {
        let source = &args.data.data;
        let wanted = Wanted {
            shape: args.data.input.map(|input| input.0).or(input),
            glyphs: args.data.classes,
            per_class: args.data.per_class,
            pictures: &args.data.pictures,
            model,
        };
        let Loaded {
            data: train,
            preparation,
        } = wanted.load_classes(source, Split::Train, output)?;
        let classes = supervised::class_names(&train);
        let known = |source: &DataSource| {
            let wanted = Wanted {
                shape: Some(train.image_shape()),
                // Fewer to train on are not fewer to test on, where these are other files.
                per_class: wanted.per_class.filter(|_| *source == DataSource::Glyphs),
                model: Some(preparation),
                ..wanted
            };
            let known = (&classes[..], Missing::Refused);
            supervised::load_known(wanted, source, Split::Test, known, output)
        };
        let (train, test, tested) = match other_source(args)? {
            Some(source) => {
                let test = known(&source)?;
                // The others have test images that are known to be others.
                if args.test_data.is_some()
                    || matches!(source, DataSource::Folder(_) | DataSource::Sounds(_))
                {
                    warn_of_shared(&train, &test, output)?;
                }
                (train, test, source.to_string())
            }
            None => {
                let part = args.validation.unwrap_or(HELD_OUT);
                let (train, test) = train.split(part, SPLIT_SEED)?;
                let percent = 100.0 * part;
                (train, test, format!("{percent} % of {source}"))
            }
        };
        output.line(format_args!(
            "{} images of {} classes to learn ({}), {} to test on ({tested}).",
            supervised::image_count(&train),
            classes.len(),
            supervised::sides(train.image_shape()),
            supervised::image_count(&test),
        ));
        Ok(Self {
            train,
            test,
            preparation,
            classes,
            tested,
        })
    }

    /// The contexts of a run.
    pub fn scenario(&self, args: &ScenarioArgs, preset: Preset, seed: u64) -> Result<Scenario> {
        let config = ScenarioConfig {
            kind: kind(args, preset, self.classes.len(), seed)?,
            setting: args.setting(),
            class_order: match args.class_order {
                ClassOrder::Shuffled => Some(seed),
                ClassOrder::Data => None,
            },
        };
        Scenario::new(self.train.clone(), self.test.clone(), config)
    }
}

/// Where the images to test on come from, if they are not a part of those to train on.
fn other_source(args: &ContinualArgs) -> Result<Option<DataSource>> {
    let source = &args.data.data;
    if args.validation.is_some() {
        return Ok(None);
    }
    if let Some(other) = &args.test_data {
        return Ok(Some(other.clone()));
    }
    Ok(match source {
        DataSource::Glyphs | DataSource::Idx(_) | DataSource::Cifar(_) => Some(source.clone()),
        DataSource::Folder(dir) | DataSource::Sounds(dir) => {
            folder::parts(dir)?.map(|_| source.clone())
        }
        DataSource::Omniglot(_) => None,
    })
}

fn warn_of_shared(train: &Examples, test: &Examples, output: &Output) -> Result<()> {
    if let Some(shared @ 1..) = shared_images(train, test)? {
        output.line(format_args!(
            "{shared} of the {} images to test on are learned too: their accuracy is not that of new images.",
            supervised::image_count(test)
        ));
    }
    Ok(())
}

fn kind(args: &ScenarioArgs, preset: Preset, classes: usize, seed: u64) -> Result<Kind> {
    let scenario = args.scenario;
    let has_sizes = matches!(scenario, ScenarioKind::Split | ScenarioKind::Blurred);
    for (option, typed, fits) in [
        ("--sizes", args.sizes.is_some(), has_sizes),
        (
            "--overlap",
            args.overlap.is_some(),
            scenario == ScenarioKind::Blurred,
        ),
        (
            "--degrees",
            args.degrees.is_some(),
            scenario == ScenarioKind::Rotated,
        ),
    ] {
        if typed && !fits {
            let message = format!("{option} is not for the scenario that was asked for");
            return Err(Error::invalid("continual", message).got(format!("{scenario:?}")));
        }
    }
    let sizes = || match &args.sizes {
        Some(sizes) => Ok(sizes.clone()),
        None => match Kind::split_evenly(classes, args.contexts)? {
            Kind::Split { sizes } => Ok(sizes),
            _ => Ok(Vec::new()),
        },
    };
    Ok(match scenario {
        ScenarioKind::Split => Kind::Split { sizes: sizes()? },
        ScenarioKind::Blurred => Kind::Blurred {
            sizes: sizes()?,
            overlap: args.overlap.unwrap_or(OVERLAP),
        },
        ScenarioKind::Permuted => Kind::Permuted {
            contexts: args.contexts,
            padding: match preset {
                Preset::VanDeVen => PADDING,
                Preset::Mammoth => 0,
            },
            seed,
        },
        ScenarioKind::Rotated => Kind::Rotated {
            degrees: match &args.degrees {
                Some(degrees) => degrees.clone(),
                None => (0..args.contexts)
                    .map(|turn| DEGREES * turn as f32)
                    .collect(),
            },
        },
    })
}
