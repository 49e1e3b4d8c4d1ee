//! `forgeling fewshot train`

use forgeling::data::{Dataset, EpisodeSampler, RandomAffine, Split};
use forgeling::meta::{EvaluateConfig, Evaluation, FitConfig, FitSummary, Learner};
use forgeling::nn::Conv4Config;
use forgeling::train::{HalvingSchedule, HardwareConfig};
use forgeling::{Device, Error, Result};
use serde_json::json;

use super::super::{open, unless_interrupted};
use super::{describe, episode};
use crate::args::{Common, FewshotTrain};
use crate::data::GLYPH_CLASSES;
use crate::output::{Output, Progress};

const DEFAULT_EPISODES: usize = 1000;

pub async fn run(args: &FewshotTrain, common: &Common, output: &Output) -> Result<()> {
    let config = Conv4Config {
        channels: args.channels,
        filters: args.filters,
        size: args.size,
        seed: common.seed,
        ..Default::default()
    };
    config.validate()?;
    let fit = fit_config(args, common.seed)?;
    let (data, test) = load(args, &config, output)?;

    // Before an hour of training rather than after it.
    let sampler = EpisodeSampler::new(fit.ways, fit.shots, fit.queries, 0);
    sampler.check(&*data)?;
    if let Some(test) = &test {
        sampler.check(&**test)?;
    }

    let device = match &args.devices {
        Some(list) => Device::open(list.choices()[0]).await?,
        None => open(common, output).await?,
    };
    let mut model = Learner::protonet(&config, &device)?;
    output.line(format_args!(
        "Training on {} classes: {}-way {}-shot, {} parameters. Ctrl-C stops and saves.",
        data.class_count(),
        fit.ways,
        fit.shots,
        model.parameter_count()
    ));
    let progress = Progress::new(fit.episodes, fit.seconds);
    let interrupted = unless_interrupted();
    let summary = model
        .fit(&*data, fit.clone(), |event| {
            progress.update(event);
            interrupted()
        })
        .await;
    progress.finish();
    let summary = summary?;
    model.save(&args.out).await?;
    output.line(format_args!(
        "{} episodes in {:.0} s ({:.1}/s){}: loss {:.3}, accuracy {:.1} % on the training classes.",
        summary.episodes,
        summary.seconds,
        summary.episodes_per_second,
        if summary.stopped { ", stopped" } else { "" },
        summary.loss,
        100.0 * summary.accuracy
    ));
    output.line(format_args!("Saved {}", args.out.display()));

    let mut test_evaluation = None;
    if let Some(test) = test {
        let config = EvaluateConfig {
            ways: fit.ways,
            shots: fit.shots,
            queries: fit.queries,
            seed: common.seed,
            ..Default::default()
        };
        let evaluation = model.evaluate(&*test, config).await?;
        output.line(format_args!(
            "Test classes ({}): {}",
            test.class_count(),
            describe(&evaluation)
        ));
        test_evaluation = Some(evaluation);
    }
    output.object(
        "fewshot train",
        &device,
        common.seed,
        object(args, &summary, test_evaluation.as_ref()),
    );
    Ok(())
}

fn fit_config(args: &FewshotTrain, seed: u64) -> Result<FitConfig> {
    let (ways, shots, queries) = episode(args.episode)?;
    let seconds = match args.minutes {
        None => None,
        Some(minutes) if minutes.is_finite() && minutes > 0.0 => Some(minutes * 60.0),
        Some(minutes) => {
            return Err(Error::invalid("fit", "--minutes is out of range")
                .expected("a positive number")
                .got(minutes));
        }
    };
    Ok(FitConfig {
        ways,
        shots,
        queries,
        batch_episodes: args.batch_episodes,
        episodes: match (args.episodes, seconds) {
            (None, None) => Some(DEFAULT_EPISODES),
            (episodes, _) => episodes,
        },
        seconds,
        schedule: HalvingSchedule {
            initial: args.learning_rate,
            every: args.halve_every,
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

type Data = Box<dyn Dataset>;

/// Training and test images; the latter without the groups of the former.
fn load(
    args: &FewshotTrain,
    config: &Conv4Config,
    output: &Output,
) -> Result<(Data, Option<Data>)> {
    let train = args
        .data
        .load(Split::Train, config.image_shape(), GLYPH_CLASSES)?;
    let test = match &args.test_data {
        None => None,
        Some(source) => {
            let test = source.load(Split::Test, config.image_shape(), GLYPH_CLASSES)?;
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

fn object(
    args: &FewshotTrain,
    summary: &FitSummary,
    test: Option<&Evaluation>,
) -> serde_json::Value {
    let mut object = json!({
        "method": "protonet",
        "ways": args.episode.ways,
        "shots": args.episode.shots,
        "queries": args.episode.queries,
        "episodes": summary.episodes,
        "loss": summary.loss,
        "accuracy": summary.accuracy,
        "episodes_per_second": summary.episodes_per_second,
        "seconds": summary.seconds,
        "stopped": summary.stopped,
        "model": args.out.display().to_string(),
    });
    if let Some(test) = test {
        object["test"] = json!(test);
    }
    object
}
