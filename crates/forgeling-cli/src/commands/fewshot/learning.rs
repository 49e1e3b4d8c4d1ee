//! What training has in common, whichever method and command.

use forgeling::data::{Dataset, EpisodeSampler, Queries, RandomAffine, Shots, Split, Ways};
use forgeling::meta::{FitConfig, FitSummary, Learner, LearnerConfig, LearnerOptions, Method};
use forgeling::train::{HalvingSchedule, HardwareConfig, StepEvent};
use forgeling::{Device, Error, Result};

use super::super::{open, unless_interrupted};
use super::episode;
use crate::args::{Common, LearningArgs};
use crate::data::GLYPH_CLASSES;
use crate::output::{Output, Progress};

const DEFAULT_EPISODES: usize = 1000;
/// Classes of one step of plain classification.
const CLASSES_AT_ONCE: usize = 32;
/// Images of each of these.
const IMAGES_AT_ONCE: usize = 2;

pub type Data = Box<dyn Dataset>;

/// Training and test images; the latter without the groups of the former.
pub fn load(args: &LearningArgs, output: &Output) -> Result<(Data, Option<Data>)> {
    let shape = options(args).image_shape();
    let train = args.data.load(Split::Train, shape, GLYPH_CLASSES)?;
    let test = match &args.test_data {
        None => None,
        Some(source) => {
            let test = source.load(Split::Test, shape, GLYPH_CLASSES)?;
            let (test, dropped) = test.without_groups_of(&train);
            if dropped > 0 {
                output.line(format_args!(
                    "Left out {dropped} test classes whose alphabets are trained on."
                ));
            }
            Some(test.into_dataset(false)?)
        }
    };
    Ok((train.into_dataset(args.rotations)?, test))
}

/// Whether all episodes can be drawn: before an hour of training rather than after it.
pub fn check(args: &LearningArgs, data: &dyn Dataset) -> Result<()> {
    let (ways, shots, queries) = episode(args.episode)?;
    EpisodeSampler::new(ways, shots, queries, 0).check(data)
}

fn options(args: &LearningArgs) -> LearnerOptions {
    LearnerOptions {
        channels: args.channels,
        filters: args.filters,
        size: args.size,
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

/// The model to be trained; `classes` are those of the training images.
pub fn learner(
    args: &LearningArgs,
    method: Method,
    seed: u64,
    classes: usize,
) -> Result<LearnerConfig> {
    let options = LearnerOptions {
        method,
        seed,
        classes,
        ..options(args)
    };
    options.config()
}

/// How it is trained.
pub fn fit(args: &LearningArgs, method: Method, seed: u64, classes: usize) -> Result<FitConfig> {
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
        augment: args.augment.then(RandomAffine::default),
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
    data: &dyn Dataset,
    fit: FitConfig,
    mut on_event: impl FnMut(&StepEvent),
) -> Result<FitSummary> {
    let progress = Progress::new(model.method(), fit.episodes, fit.seconds);
    let interrupted = unless_interrupted();
    let summary = model
        .fit(data, fit, |event| {
            progress.update(event);
            on_event(event);
            interrupted()
        })
        .await;
    progress.finish();
    summary
}
