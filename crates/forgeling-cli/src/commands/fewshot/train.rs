//! `forgeling fewshot train`

use forgeling::Result;
use forgeling::meta::{EvaluateConfig, Evaluation, FitSummary, Learner};
use serde_json::json;

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
        preparation,
        classes: names,
    } = learning::load(&args.learning, output)?;
    let classes = data.class_count();
    let fit = learning::fit(&args.learning, method, seed, classes, preparation.kind)?;
    let config = learning::learner(&args.learning, method, seed, &*data)?;
    learning::check(&args.learning, &*data)?;
    if let Some(test) = &test {
        learning::check(&args.learning, &**test)?;
    }

    let device = learning::device(&args.learning, common, output).await?;
    let mut model = Learner::new(&config, &device)?;
    model.set_pictures(preparation);
    saving::try_model(&args.out, model.counts().all())?;
    output.line(format_args!(
        "Training {method} on {classes} classes of {} images{}: {}-way {}-shot, {} values. Ctrl-C stops and saves.",
        sides(data.image_shape()),
        if fit.augment.is_some() { ", augmented" } else { "" },
        fit.ways,
        fit.shots,
        model.counts().all()
    ));
    let summary = learning::train(&mut model, &*data, fit, |_| ()).await?;
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
    output.object(
        "fewshot train",
        &device,
        seed,
        object(args, &summary, test_evaluation.as_ref()),
    );
    Ok(())
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
        "stopped": summary.stopped,
        "model": args.out.display().to_string(),
    });
    if let Some(test) = test {
        object["test"] = json!(test);
    }
    object
}
