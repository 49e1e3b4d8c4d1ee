//! What training has in common, whichever method and command.

use std::collections::BTreeSet;

use forgeling::data::classes::listed;
use forgeling::data::{
    Dataset, EpisodeSampler, ImageShape, InChannels, PictureKind, Preparation, Queries,
    RandomAffine, Shots, Split, Ways,
};
use forgeling::meta::{
    FitConfig, FitRun, FitSummary, Learner, LearnerConfig, LearnerOptions, Method,
};
use forgeling::train::{HalvingSchedule, HardwareConfig, StepEvent, TrainEvent};
use forgeling::{Device, Error, Result};

use super::super::{ending, open, unless_interrupted};
use super::episode;
use crate::args::{Common, LearningArgs};
use crate::data::{DataSource, GLYPH_CLASSES, Loaded, Wanted};
use crate::output::{Output, Progress};

const DEFAULT_EPISODES: usize = 1000;
/// Classes of one step of plain classification.
const CLASSES_AT_ONCE: usize = 32;
/// Images of each of these.
const IMAGES_AT_ONCE: usize = 2;

pub type Data = Box<dyn Dataset>;

/// Training and test images, and how the former became inputs.
pub struct Sets {
    pub train: Data,
    /// Without the groups of the training images, as is what is validated on.
    pub test: Option<Data>,
    pub validation: Option<Data>,
    pub preparation: Preparation,
    /// The classes trained on, where their names tell them from others.
    pub classes: Vec<String>,
}

/// Loads them and says what is to be said of that.
pub fn load(args: &LearningArgs, validation: Option<&DataSource>, output: &Output) -> Result<Sets> {
    let wanted = Wanted {
        split: Split::Train,
        size: args.side(),
        channels: args.wanted_channels(),
        glyphs: GLYPH_CLASSES,
        pictures: &args.pictures,
        model: None,
    };
    let Loaded {
        images,
        preparation,
        notes,
    } = args.data.load(wanted)?;
    notes.iter().for_each(|note| output.line(note));
    let channels = args.channels.or(Some(images.shape().channels));
    let mut classes = Vec::new();
    if args.data != DataSource::Glyphs {
        classes = images.class_names();
    }
    let unseen = |source: &DataSource, what: &str| {
        let wanted = Wanted {
            split: Split::Test,
            channels,
            model: Some(preparation),
            ..wanted
        };
        let found = source.load(wanted)?;
        found.notes.iter().for_each(|note| output.line(note));
        let (found, dropped) = found.images.without_groups_of(&images);
        if dropped > 0 {
            output.line(format_args!(
                "Left out {dropped} {what} classes whose alphabets are trained on."
            ));
        }
        warn_of_shared(source, &classes, &found.class_names(), output);
        in_channels(found.into_dataset(false)?, channels)
    };
    let test = args.test_data.as_ref();
    let test = test.map(|source| unseen(source, "test"));
    let validation = validation.map(|source| unseen(source, "validation"));
    let (test, validation) = (test.transpose()?, validation.transpose()?);
    Ok(Sets {
        train: in_channels(images.into_dataset(args.rotations)?, channels)?,
        test,
        validation,
        preparation,
        classes,
    })
}

/// Says which classes that are to be unseen have been trained on.
pub fn warn_of_shared(source: &DataSource, trained: &[String], tested: &[String], output: &Output) {
    let trained: BTreeSet<&String> = trained.iter().collect();
    let shared: Vec<&String> = tested
        .iter()
        .filter(|name| trained.contains(name))
        .collect();
    if shared.is_empty() || *source == DataSource::Glyphs {
        return;
    }
    output.line(format_args!(
        "Test classes are training classes, by their names: {} of {} ({}). The accuracy is not that of unseen classes.",
        shared.len(),
        tested.len(),
        listed(&shared)
    ));
}

/// The images in as many channels as the network takes.
pub fn in_channels(data: Data, channels: Option<usize>) -> Result<Data> {
    match channels {
        Some(channels) if channels != data.image_shape().channels => {
            Ok(Box::new(InChannels::new(data, channels)?))
        }
        _ => Ok(data),
    }
}

/// Whether all episodes can be drawn: before an hour of training rather than after it.
pub fn check(args: &LearningArgs, data: &dyn Dataset) -> Result<()> {
    let (ways, shots, queries) = episode(args.episode)?;
    EpisodeSampler::new(ways, shots, queries, 0).check(data)
}

fn options(args: &LearningArgs, shape: ImageShape) -> LearnerOptions {
    LearnerOptions {
        channels: shape.channels,
        model: args.model.architecture.clone(),
        filters: args.filters,
        size: shape.height,
        ways: args.episode.ways,
        distance: args.method.distance.into(),
        inner_steps: args.method.inner_steps,
        test_steps: args.method.test_steps,
        inner_rate: args.method.inner_rate,
        lambda: args.method.lambda,
        transductive: args.method.transductive,
        ..Default::default()
    }
}

/// The model to be trained on these images.
pub fn learner(
    args: &LearningArgs,
    method: Method,
    seed: u64,
    data: &dyn Dataset,
) -> Result<LearnerConfig> {
    let options = LearnerOptions {
        method,
        seed,
        classes: data.class_count(),
        ..options(args, data.image_shape())
    };
    options.config()
}

/// How it is trained. Drawings are augmented unless asked otherwise.
pub fn fit(
    args: &LearningArgs,
    method: Method,
    seed: u64,
    classes: usize,
    kind: PictureKind,
) -> Result<FitConfig> {
    let augmented = args.augment || (kind == PictureKind::Drawings && !args.no_augment);
    let (mut ways, mut shots, mut queries) = episode(args.episode)?;
    if method == Method::SimpleShot {
        // It is a classifier that is trained, and wants many classes in a step.
        ways = Ways::new(classes.clamp(1, CLASSES_AT_ONCE))?;
        shots = Shots::new(IMAGES_AT_ONCE)?;
        queries = Queries::new(IMAGES_AT_ONCE)?;
    } else if let (false, Some(count)) = (method.adapts(), args.train_ways) {
        ways = super::ways(count)?;
    }
    let seconds = match args.minutes {
        None => None,
        Some(minutes) if minutes.is_finite() && minutes > 0.0 => Some(minutes * 60.0),
        Some(minutes) => {
            return Err(Error::invalid("fit", "--minutes is out of range")
                .expected("a positive number")
                .got(minutes));
        }
    };
    let (batch, halve) = if method.adapts() {
        (8, 20_000)
    } else {
        (1, 2000)
    };
    Ok(FitConfig {
        ways,
        shots,
        queries,
        batch_episodes: args.batch_episodes.unwrap_or(batch),
        episodes: match (args.episodes, seconds) {
            (None, None) => Some(DEFAULT_EPISODES),
            (episodes, _) => episodes,
        },
        seconds,
        schedule: HalvingSchedule {
            initial: args.learning_rate,
            every: args.halve_every.unwrap_or(halve),
        },
        augment: augmented.then(RandomAffine::default),
        hardware: HardwareConfig {
            devices: args.devices.clone(),
            ..args.hardware.config()
        },
        seed,
        ..Default::default()
    })
}

/// The device of a run, or the first of several.
pub async fn device(args: &LearningArgs, common: &Common, output: &Output) -> Result<Device> {
    match &args.devices {
        Some(list) => Device::open(list.choices()[0]).await,
        None => open(common, output).await,
    }
}

/// Trains with progress on standard error; Ctrl-C stops after the step.
pub async fn train(
    model: &mut Learner,
    run: FitRun<'_>,
    fit: FitConfig,
    output: &Output,
    mut on_event: impl FnMut(&TrainEvent),
) -> Result<FitSummary> {
    let progress = Progress::new(model.method(), fit.episodes, fit.seconds);
    let interrupted = unless_interrupted();
    let line = |text: std::fmt::Arguments<'_>| progress.aside(|| output.line(text));
    let summary = model
        .fit_run(run, fit, |event| {
            match event {
                TrainEvent::Step(step) => progress.update(&StepEvent::from(step)),
                TrainEvent::Validated {
                    step, validation, ..
                } => line(format_args!(
                    "Step {step}: validation loss {:.3}, {}",
                    validation.loss,
                    ending::accuracies(validation)
                )),
                TrainEvent::Resumed { step, damaged, .. } => {
                    for problem in damaged {
                        line(format_args!("Not used: {problem}"));
                    }
                    line(format_args!("Going on after step {step}."));
                }
                TrainEvent::DeviceDropped {
                    name,
                    reason,
                    remaining,
                    ..
                } => line(format_args!(
                    "{name} failed and is left out, {remaining} go on: {reason}"
                )),
                _ => {}
            }
            on_event(event);
            interrupted()
        })
        .await;
    progress.finish();
    summary
}
