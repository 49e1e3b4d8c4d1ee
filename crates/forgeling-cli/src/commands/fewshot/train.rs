//! `forgeling fewshot train`

use forgeling::Result;
use forgeling::data::{Dataset, Preparation};
use forgeling::meta::{EvaluateConfig, Evaluation, FitConfig, FitRun, FitSummary, Learner};
use forgeling::train::{EarlyStoppingConfig, EmaConfig, HardwareManager, TrainEvent};
use serde_json::{Value, json};

use super::super::same_run::SameRun;
use super::super::saving;
use super::super::supervised::sides;
use super::learning::{self, Sets};
use super::{describe, episode};
use crate::args::{Common, FewshotTrain};
use crate::output::{Output, TestProgress};

pub async fn run(args: &FewshotTrain, common: &Common, output: &Output) -> Result<()> {
    let (method, seed) = (args.method, common.seed);
    let Sets {
        train: data,
        test,
        validation,
        preparation,
        classes: names,
    } = learning::load(&args.learning, args.validation_data.as_ref(), output)?;
    let classes = data.class_count();
    let fit = FitConfig {
        ema: args.ema.map(|decay| EmaConfig {
            decay,
            // Short runs would mostly average what the weights were at first.
            warm_up: true,
        }),
        validate_every: args.validate_every,
        early_stopping: args.patience.map(|patience| EarlyStoppingConfig {
            patience,
            ..Default::default()
        }),
        checkpoint_every: args.checkpoint_every,
        ..learning::fit(&args.learning, method, seed, classes, preparation.kind)?
    };
    let config = learning::learner(&args.learning, method, seed, &*data)?;
    learning::check(&args.learning, &*data)?;
    if let Some(test) = &test {
        learning::check(&args.learning, &**test)?;
    }

    let device = learning::device(&args.learning, common, output).await?;
    let mut model = Learner::new(&config, &device)?;
    model.set_pictures(preparation);
    let values = model.counts().all();
    saving::try_model(&args.out, values)?;
    let identity = identity(args, &fit, &model, &*data, preparation)?;
    let folder = args.checkpoint_dir.as_ref();
    let mut checkpoints = folder
        .map(|folder| SameRun::open(folder, identity))
        .transpose()?;
    if let Some(folder) = folder {
        // The model, two moments, an average and the best so far.
        let copies = 3 + u64::from(args.ema.is_some()) + u64::from(args.patience.is_some());
        saving::try_model(&folder.join("checkpoint-trial"), copies * values)?;
    }
    let aside = match &mut checkpoints {
        Some(checkpoints) if args.restart => checkpoints.set_aside()?,
        _ => None,
    };
    if let Some(aside) = &aside {
        output.line(format_args!(
            "Moved the earlier checkpoints to {}",
            aside.display()
        ));
    }
    output.line(format_args!(
        "Training {method} on {classes} classes of {} images{}: {}-way {}-shot, {} values. Ctrl-C stops and saves.",
        sides(data.image_shape()),
        if fit.augment.is_some() { ", augmented" } else { "" },
        fit.ways,
        fit.shots,
        values
    ));
    let mut run = FitRun::on(&*data);
    if let Some(validation) = &validation {
        run = run.validated_on("held out", &**validation, args.validation_episodes);
    }
    if let Some(checkpoints) = &mut checkpoints {
        run = run.saved_in(checkpoints);
    }
    let mut resumed_from = None;
    let summary = learning::train(&mut model, run, fit, output, |event| {
        if let TrainEvent::Resumed { step, .. } = event {
            resumed_from = Some(*step);
        }
    })
    .await?;
    model.set_classes(names);
    saving::save_model(&args.out, &model.to_bytes().await?)?;
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
        let (ways, shots, queries) = episode(args.learning.episode)?;
        let config = EvaluateConfig {
            ways,
            shots,
            queries,
            seed,
            ..Default::default()
        };
        let progress = TestProgress::new(config.episodes);
        let evaluation = model
            .evaluate_watched(&*test, config, |done| progress.update(done))
            .await;
        progress.finish();
        let evaluation = evaluation?;
        output.line(format_args!(
            "Test classes ({}): {}",
            test.class_count(),
            describe(&evaluation, model.config())
        ));
        test_evaluation = Some(evaluation);
    }
    let mut object = object(args, &summary, test_evaluation.as_ref());
    object["resumed_from"] = json!(resumed_from);
    object["moved_checkpoints"] = json!(aside.map(|aside| aside.display().to_string()));
    output.object("fewshot train", &device, seed, object);
    Ok(())
}

/// All that must be the same for a run to go on from a checkpoint.
fn identity(
    args: &FewshotTrain,
    fit: &FitConfig,
    model: &Learner,
    data: &dyn Dataset,
    preparation: Preparation,
) -> Result<Value> {
    let hardware = HardwareManager::on(model.device().clone(), fit.hardware.clone())?;
    let precision = hardware.precision();
    let images: usize = (0..data.class_count())
        .map(|class| data.class_len(class))
        .sum();
    Ok(json!({
        "model": model.config(),
        "classes": data.class_count(),
        "number of images": images,
        "reading of pictures": preparation,
        "ways": fit.ways,
        "shots": fit.shots,
        "queries": fit.queries,
        "episodes of a step": fit.batch_episodes,
        "augmentation": fit.augment,
        "seed": fit.seed,
        "optimizer": fit.optimizer,
        "learning rate schedule": fit.schedule,
        "average": fit.ema,
        "validation": [json!(args.validation_episodes), json!(fit.validate_every)],
        "patience": args.patience,
        "precision": [json!(precision.compute), json!(precision.storage.to_string())],
    }))
}

fn object(
    args: &FewshotTrain,
    summary: &FitSummary,
    test: Option<&Evaluation>,
) -> serde_json::Value {
    let episode = args.learning.episode;
    let mut object = json!({
        "method": args.method,
        "ways": episode.ways,
        "shots": episode.shots,
        "queries": episode.queries,
        "episodes": summary.episodes,
        "loss": summary.loss,
        "accuracy": summary.accuracy,
        "episodes_per_second": summary.episodes_per_second,
        "seconds": summary.seconds,
        "steps": summary.steps,
        "validation_loss": summary.validation.map(|found| found.loss),
        "validation_accuracy": summary.validation.and_then(|found| found.accuracy),
        "stopped": summary.stopped,
        "model": args.out.display().to_string(),
    });
    if let Some(test) = test {
        object["test"] = json!(test);
    }
    object
}
